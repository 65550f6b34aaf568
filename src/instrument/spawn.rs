//! Spawning tasks and blocking calls with a name.

use std::future::Future;
use std::sync::Arc;

use tokio::task::JoinHandle;

use crate::instrument::future::Named;
use crate::record::clock::Ticks;
use crate::record::current;
use crate::record::recorder::Recorder;

/// Spawns a task of the kind `name`, as [`tokio::spawn`] does.
///
/// With the feature `console`, tokio-console also shows the name. Conversely,
/// loopscope does not know the name that a `tokio::task::Builder` gives to a
/// task: Tokio has it only in a `tracing` span, not in the hooks. Spawn a
/// [named](Named::named) future with that builder instead.
///
/// # Panics
///
/// Panics outside a Tokio runtime, as `tokio::spawn` does.
///
/// # Examples
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
        tokio::task::Builder::new().name(name).spawn(future).expect("not in a Tokio runtime")
    }
    #[cfg(not(all(tokio_unstable, feature = "console")))]
    tokio::spawn(future)
}

/// Spawns a local task of the kind `name`, as [`tokio::task::spawn_local`]
/// does.
///
/// Tokio calls no hook for a task of a `LocalSet`. The name is what makes
/// loopscope record its poll times and its schedule delay.
///
/// # Panics
///
/// Panics outside a `LocalSet` or `LocalRuntime`, as `tokio::task::spawn_local`
/// does.
///
/// # Examples
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
        tokio::task::Builder::new().name(name).spawn_local(future).expect("not in a `LocalSet`")
    }
    #[cfg(not(all(tokio_unstable, feature = "console")))]
    tokio::task::spawn_local(future)
}

/// Runs a call on the blocking pool under a name, as
/// [`tokio::task::spawn_blocking`] does.
///
/// loopscope records how long the calls of each name wait for a thread of the
/// pool, and how long they use it: see
/// [`Snapshot::blocking_calls`](crate::Snapshot::blocking_calls). A call that
/// is aborted before it begins is not recorded. With the feature `console`,
/// tokio-console also shows the name.
///
/// The blocking pool is the right place for a call that blocks, so no finding
/// is ever reported for it.
///
/// # Panics
///
/// Panics outside a Tokio runtime, as `tokio::task::spawn_blocking` does.
///
/// # Examples
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
        let _running_call = queued.map(QueuedCall::start);
        f()
    };
    #[cfg(all(tokio_unstable, feature = "console"))]
    {
        tokio::task::Builder::new()
            .name(name)
            .spawn_blocking(f)
            .expect("the runtime cannot start a thread for the call")
    }
    #[cfg(not(all(tokio_unstable, feature = "console")))]
    tokio::task::spawn_blocking(f)
}

/// A call that waits for a thread of the blocking pool.
struct QueuedCall {
    name: &'static str,
    recorder: Arc<Recorder>,
    queued_at: Ticks,
}

/// A call that runs. This value is dropped when the call returns or panics, and
/// then records the call's times.
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
        if recorder.liveness.is_in_child() {
            return;
        }
        let clock = &recorder.clock;
        recorder.blocking_calls.record(
            name,
            clock.nanos(*queued_at, self.started_at),
            clock.nanos(self.started_at, clock.ticks()),
        );
    }
}
