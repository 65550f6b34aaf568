//! Spawning with a name.

use std::future::Future;
use std::sync::Arc;

use tokio::task::JoinHandle;

use crate::instrument::future::Named;
use crate::record::clock::Ticks;
use crate::record::current;
use crate::record::recorder::Recorder;

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

/// [`tokio::task::spawn_local`], with a name for the task's kind: a task of its
/// own there, with poll times and scheduling delay, though no hook sees it.
///
/// # Panics
/// Outside a `LocalSet` or `LocalRuntime`, as `tokio::task::spawn_local` does.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let set = tokio::task::LocalSet::new();
/// let answer = set.run_until(async { loopscope::spawn_local("session", async { 42 }).await }).await;
/// assert_eq!(answer.unwrap(), 42);
/// # }
/// ```
#[track_caller]
pub fn spawn_local<F>(name: &'static str, future: F) -> JoinHandle<F::Output>
where
    F: Future + 'static,
    F::Output: 'static,
{
    let future = future.named(name);
    #[cfg(all(tokio_unstable, feature = "console"))]
    {
        tokio::task::Builder::new().name(name).spawn_local(future).expect("outside a `LocalSet`")
    }
    #[cfg(not(all(tokio_unstable, feature = "console")))]
    tokio::task::spawn_local(future)
}

/// [`tokio::task::spawn_blocking`], with a name under which is recorded how long
/// such calls wait for a thread of the blocking pool and how long they hold it
/// ([`Snapshot::blocking_calls`](crate::Snapshot::blocking_calls)), and which
/// tokio-console shows (feature `console`). One that is aborted before it begins
/// is not recorded.
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
    let queued =
        current::recorder().map(|recorder| QueuedCall { name, queued_at: recorder.clock.ticks(), recorder });
    let f = move || {
        let _running = queued.map(QueuedCall::start);
        f()
    };
    #[cfg(all(tokio_unstable, feature = "console"))]
    {
        tokio::task::Builder::new().name(name).spawn_blocking(f).expect("the runtime has no thread for it")
    }
    #[cfg(not(all(tokio_unstable, feature = "console")))]
    tokio::task::spawn_blocking(f)
}

/// A call that waits for a thread.
struct QueuedCall {
    name: &'static str,
    recorder: Arc<Recorder>,
    queued_at: Ticks,
}

/// A call that has one; over as it is dropped, also by a panic.
struct RunningCall {
    queued: QueuedCall,
    started_at: Ticks,
}

impl QueuedCall {
    fn start(self) -> RunningCall {
        RunningCall { started_at: self.recorder.clock.ticks(), queued: self }
    }
}

impl Drop for RunningCall {
    fn drop(&mut self) {
        let QueuedCall { name, recorder, queued_at } = &self.queued;
        let clock = &recorder.clock;
        recorder.blocking_calls.record(
            name,
            clock.nanos(*queued_at, self.started_at),
            clock.nanos(self.started_at, clock.ticks()),
        );
    }
}
