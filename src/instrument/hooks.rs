//! The application's own callbacks for Tokio's hooks.

use std::fmt;

#[cfg(tokio_unstable)]
use tokio::runtime::TaskMeta;

pub(crate) type OnThread = Box<dyn Fn() + Send + Sync>;
#[cfg(tokio_unstable)]
pub(crate) type OnTask = Box<dyn Fn(&TaskMeta<'_>) + Send + Sync>;

/// The application's own callbacks, for [`Scope::watch_with`]: Tokio keeps one
/// callback a hook, so they have to be given to the scope instead of to the
/// runtime's builder.
///
/// They are called as Tokio would call them, also once the scope is gone. What
/// they do before and after a poll is not counted as a part of it. A panic in
/// one of them is the application's, as without loopscope.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let scope = loopscope::Scope::builder().start()?;
/// let mut builder = tokio::runtime::Builder::new_multi_thread();
/// let hooks = loopscope::Hooks::new().on_thread_start(|| println!("one thread more"));
/// let runtime = scope.watch_with(&mut builder, hooks).build()?;
/// # drop(runtime);
/// # Ok(())
/// # }
/// ```
///
/// [`Scope::watch_with`]: crate::Scope::watch_with
#[derive(Default)]
#[must_use = "they are called once given to `Scope::watch_with`"]
pub struct Hooks {
    pub(crate) thread_start: Option<OnThread>,
    pub(crate) thread_stop: Option<OnThread>,
    pub(crate) thread_park: Option<OnThread>,
    pub(crate) thread_unpark: Option<OnThread>,
    #[cfg(tokio_unstable)]
    pub(crate) task_spawn: Option<OnTask>,
    #[cfg(tokio_unstable)]
    pub(crate) before_task_poll: Option<OnTask>,
    #[cfg(tokio_unstable)]
    pub(crate) after_task_poll: Option<OnTask>,
    #[cfg(tokio_unstable)]
    pub(crate) task_terminate: Option<OnTask>,
}

impl Hooks {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// See [`tokio::runtime::Builder::on_thread_start`].
    pub fn on_thread_start(mut self, f: impl Fn() + Send + Sync + 'static) -> Self {
        self.thread_start = Some(Box::new(f));
        self
    }

    /// See [`tokio::runtime::Builder::on_thread_stop`].
    pub fn on_thread_stop(mut self, f: impl Fn() + Send + Sync + 'static) -> Self {
        self.thread_stop = Some(Box::new(f));
        self
    }

    /// See [`tokio::runtime::Builder::on_thread_park`].
    pub fn on_thread_park(mut self, f: impl Fn() + Send + Sync + 'static) -> Self {
        self.thread_park = Some(Box::new(f));
        self
    }

    /// See [`tokio::runtime::Builder::on_thread_unpark`].
    pub fn on_thread_unpark(mut self, f: impl Fn() + Send + Sync + 'static) -> Self {
        self.thread_unpark = Some(Box::new(f));
        self
    }

    /// See `tokio::runtime::Builder::on_task_spawn` (`tokio_unstable` only).
    #[cfg(tokio_unstable)]
    pub fn on_task_spawn(mut self, f: impl Fn(&TaskMeta<'_>) + Send + Sync + 'static) -> Self {
        self.task_spawn = Some(Box::new(f));
        self
    }

    /// See `tokio::runtime::Builder::on_before_task_poll` (`tokio_unstable` only).
    #[cfg(tokio_unstable)]
    pub fn on_before_task_poll(mut self, f: impl Fn(&TaskMeta<'_>) + Send + Sync + 'static) -> Self {
        self.before_task_poll = Some(Box::new(f));
        self
    }

    /// See `tokio::runtime::Builder::on_after_task_poll` (`tokio_unstable` only).
    #[cfg(tokio_unstable)]
    pub fn on_after_task_poll(mut self, f: impl Fn(&TaskMeta<'_>) + Send + Sync + 'static) -> Self {
        self.after_task_poll = Some(Box::new(f));
        self
    }

    /// See `tokio::runtime::Builder::on_task_terminate` (`tokio_unstable` only).
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
