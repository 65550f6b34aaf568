//! Spawning with a name.

use std::future::Future;

use tokio::task::JoinHandle;

use crate::Named;

/// [`tokio::spawn`], with a name for the task's kind, which tokio-console shows
/// too (feature `console`).
///
/// # Panics
/// Outside a Tokio runtime, as `tokio::spawn` does.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let answer = loopscope::spawn("session", async { 42 }).await;
/// assert_eq!(answer.unwrap(), 42);
/// # }
/// ```
#[track_caller]
pub fn spawn<F>(name: &'static str, future: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    let future = future.named(name);
    #[cfg(all(tokio_unstable, feature = "console"))]
    {
        tokio::task::Builder::new().name(name).spawn(future).expect("outside a Tokio runtime")
    }
    #[cfg(not(all(tokio_unstable, feature = "console")))]
    tokio::spawn(future)
}

/// [`tokio::task::spawn_blocking`], with a name for what it does, which
/// tokio-console shows (feature `console`).
///
/// The blocking pool is the right place for a call that blocks, so nothing in
/// it is ever a finding.
///
/// # Panics
/// Outside a Tokio runtime, as `tokio::task::spawn_blocking` does.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let sum = loopscope::spawn_blocking("sum", || (1..=10).sum::<u32>()).await;
/// assert_eq!(sum.unwrap(), 55);
/// # }
/// ```
#[track_caller]
pub fn spawn_blocking<F, R>(name: &'static str, f: F) -> JoinHandle<R>
where
    F: FnOnce() -> R + Send + 'static,
    R: Send + 'static,
{
    #[cfg(all(tokio_unstable, feature = "console"))]
    {
        tokio::task::Builder::new().name(name).spawn_blocking(f).expect("the runtime has no thread for it")
    }
    #[cfg(not(all(tokio_unstable, feature = "console")))]
    {
        let _ = name;
        tokio::task::spawn_blocking(f)
    }
}
