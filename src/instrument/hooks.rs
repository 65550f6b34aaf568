//! The application's own callbacks for Tokio's hooks.

use std::fmt;

#[cfg(tokio_unstable)]
use tokio::runtime::TaskMeta;

pub(crate) type ThreadCallback = Box<dyn Fn() + Send + Sync>;
#[cfg(tokio_unstable)]
pub(crate) type TaskCallback = Box<dyn Fn(&TaskMeta<'_>) + Send + Sync>;

/// The application's own callbacks, for [`Scope::watch_with`].
///
/// Tokio stores only one callback for each hook, and loopscope uses most hooks.
/// So the application passes its own callbacks to the scope instead of to the
/// runtime's builder.
///
/// loopscope calls them when Tokio would, even after the scope has ended. The
/// time that they take before and after a poll does not count as part of the
/// poll. loopscope does not catch a panic in a callback: it has the same effect
/// as without loopscope.
///
/// # Examples
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let scope = loopscope::Scope::builder().start()?;
/// let mut builder = tokio::runtime::Builder::new_multi_thread();
/// let hooks = loopscope::Hooks::new().on_thread_start(|| println!("a thread has started"));
/// let runtime = scope.watch_with(&mut builder, hooks).build()?;
/// # drop(runtime);
/// # Ok(())
/// # }
/// ```
///
/// [`Scope::watch_with`]: crate::Scope::watch_with
#[derive(Default)]
#[must_use = "hooks do nothing unless passed to `Scope::watch_with`"]
pub struct Hooks {
    pub(crate) thread_start: Option<ThreadCallback>,
    pub(crate) thread_stop: Option<ThreadCallback>,
    pub(crate) thread_park: Option<ThreadCallback>,
    pub(crate) thread_unpark: Option<ThreadCallback>,
    #[cfg(tokio_unstable)]
    pub(crate) task_spawn: Option<TaskCallback>,
    #[cfg(tokio_unstable)]
    pub(crate) before_task_poll: Option<TaskCallback>,
    #[cfg(tokio_unstable)]
    pub(crate) after_task_poll: Option<TaskCallback>,
    #[cfg(tokio_unstable)]
    pub(crate) task_terminate: Option<TaskCallback>,
}

impl Hooks {
    /// Creates an empty set of callbacks.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the callback for when a thread of the runtime starts: see
    /// [`tokio::runtime::Builder::on_thread_start`].
    pub fn on_thread_start(mut self, f: impl Fn() + Send + Sync + 'static) -> Self {
        self.thread_start = Some(Box::new(f));
        self
    }

    /// Sets the callback for when a thread of the runtime stops: see
    /// [`tokio::runtime::Builder::on_thread_stop`].
    pub fn on_thread_stop(mut self, f: impl Fn() + Send + Sync + 'static) -> Self {
        self.thread_stop = Some(Box::new(f));
        self
    }

    /// Sets the callback for when a worker is about to park: see
    /// [`tokio::runtime::Builder::on_thread_park`].
    pub fn on_thread_park(mut self, f: impl Fn() + Send + Sync + 'static) -> Self {
        self.thread_park = Some(Box::new(f));
        self
    }

    /// Sets the callback for when a worker has unparked: see
    /// [`tokio::runtime::Builder::on_thread_unpark`].
    pub fn on_thread_unpark(mut self, f: impl Fn() + Send + Sync + 'static) -> Self {
        self.thread_unpark = Some(Box::new(f));
        self
    }

    /// Sets the callback for when a task is spawned: see
    /// `tokio::runtime::Builder::on_task_spawn`. Needs `tokio_unstable`.
    #[cfg(tokio_unstable)]
    pub fn on_task_spawn(mut self, f: impl Fn(&TaskMeta<'_>) + Send + Sync + 'static) -> Self {
        self.task_spawn = Some(Box::new(f));
        self
    }

    /// Sets the callback for when a task is about to be polled: see
    /// `tokio::runtime::Builder::on_before_task_poll`. Needs `tokio_unstable`.
    #[cfg(tokio_unstable)]
    pub fn on_before_task_poll(mut self, f: impl Fn(&TaskMeta<'_>) + Send + Sync + 'static) -> Self {
        self.before_task_poll = Some(Box::new(f));
        self
    }

    /// Sets the callback for when a task has been polled: see
    /// `tokio::runtime::Builder::on_after_task_poll`. Needs `tokio_unstable`.
    #[cfg(tokio_unstable)]
    pub fn on_after_task_poll(mut self, f: impl Fn(&TaskMeta<'_>) + Send + Sync + 'static) -> Self {
        self.after_task_poll = Some(Box::new(f));
        self
    }

    /// Sets the callback for when a task has ended: see
    /// `tokio::runtime::Builder::on_task_terminate`. Needs `tokio_unstable`.
    #[cfg(tokio_unstable)]
    pub fn on_task_terminate(mut self, f: impl Fn(&TaskMeta<'_>) + Send + Sync + 'static) -> Self {
        self.task_terminate = Some(Box::new(f));
        self
    }
}

impl fmt::Debug for Hooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut set = f.debug_struct("Hooks");
        set.field("thread_start", &self.thread_start.is_some())
            .field("thread_stop", &self.thread_stop.is_some())
            .field("thread_park", &self.thread_park.is_some())
            .field("thread_unpark", &self.thread_unpark.is_some());
        #[cfg(tokio_unstable)]
        set.field("task_spawn", &self.task_spawn.is_some())
            .field("before_task_poll", &self.before_task_poll.is_some())
            .field("after_task_poll", &self.after_task_poll.is_some())
            .field("task_terminate", &self.task_terminate.is_some());
        set.finish()
    }
}
