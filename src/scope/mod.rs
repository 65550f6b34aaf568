//! What an application holds while it is watched.

pub(crate) mod builder;
pub(crate) mod run;
pub(crate) mod state;

use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::SystemTime;

use tokio::runtime::Runtime;

#[cfg(feature = "telemetry")]
use crate::export::http::Telemetry;
use crate::export::source::Source;
use crate::finding::{FindingsDocument, StallsDocument};
use crate::instrument::canary::Canary;
use crate::instrument::future::Instrumented;
use crate::instrument::hooks::Hooks;
use crate::instrument::install;
use crate::report::thread::Reporter;
use crate::scope::state::ScopeState;
use crate::snapshot::Snapshot;
use crate::watchdog::Watchdog;

/// Watches runtimes and futures for as long as it lives.
///
/// Dropping it stops its threads and joins them at once; the hooks in watched
/// runtimes stay and do nothing any more. With `LOOPSCOPE=off` in the
/// environment it does nothing from the start.
///
/// ```
/// use std::time::Duration;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let scope = loopscope::Scope::builder().blocking_threshold(Duration::from_millis(20)).start()?;
/// let mut builder = tokio::runtime::Builder::new_multi_thread();
/// scope.watch(builder.enable_all());
/// let runtime = builder.build()?;
/// scope.block_on(&runtime, async {
///     tokio::spawn(async { /* … */ }).await
/// })?;
/// assert!(scope.findings().findings.is_empty());
/// # Ok(())
/// # }
/// ```
pub struct Scope {
    state: Arc<ScopeState>,
    // The order in which they stop: first who reads, then who writes.
    #[cfg(feature = "telemetry")]
    telemetry: Option<Telemetry>,
    watchdog: Option<Watchdog>,
    reporter: Option<Reporter>,
}

impl Scope {
    /// Sets the hooks that record on a runtime that is to be built.
    ///
    /// With `--cfg tokio_unstable` every task of it is covered from then on.
    /// Without, only named futures are (see [`Named`](crate::Named)).
    ///
    /// Tokio keeps one callback a hook: those set on `builder` before are
    /// replaced, and those set after replace loopscope's, which it notices and
    /// says once. The application's own go to [`Self::watch_with`]. Used are
    /// `on_thread_start`, `on_thread_park`, `on_thread_unpark` and, with `tokio_unstable`,
    /// `on_task_spawn`, `on_before_task_poll`, `on_after_task_poll`,
    /// `on_task_terminate`.
    pub fn watch<'b>(&self, builder: &'b mut tokio::runtime::Builder) -> &'b mut tokio::runtime::Builder {
        if self.state.recorder.is_live() {
            install::install(builder, &self.state.recorder, Hooks::new());
        }
        builder
    }

    /// [`Self::watch`], with the application's own hooks beside loopscope's.
    /// They are set also where loopscope is switched off.
    pub fn watch_with<'b>(
        &self,
        builder: &'b mut tokio::runtime::Builder,
        hooks: Hooks,
    ) -> &'b mut tokio::runtime::Builder {
        install::install(builder, &self.state.recorder, hooks);
        builder
    }

    /// [`Runtime::block_on`], with the future recorded as the kind `main`: no
    /// hook of Tokio's sees that one.
    ///
    /// # Panics
    /// If the future panics, or within a runtime, as `Runtime::block_on` does.
    pub fn block_on<F: Future>(&self, runtime: &Runtime, future: F) -> F::Output {
        runtime.block_on(Instrumented::in_recorder(future, "main", Arc::clone(&self.state.recorder)))
    }

    /// A task that measures how late an event loop is, from a wake to its poll,
    /// for loops whose tasks no hook sees: a `LocalSet`, another executor, a
    /// runtime without `tokio_unstable`. Spawn it there. The watchdog wakes it
    /// every 100 ms, so a loop with a canary never sleeps for longer; it ends
    /// with the scope. Its figures are [`Snapshot::loop_lag`] and
    /// `loopscope_loop_lag_seconds`.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let scope = loopscope::Scope::builder().start()?;
    /// # let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    /// # runtime.block_on(async {
    /// let set = tokio::task::LocalSet::new();
    /// set.spawn_local(scope.canary("local set"));
    /// # });
    /// # Ok(())
    /// # }
    /// ```
    pub fn canary(&self, name: &'static str) -> Canary {
        Canary::new(&self.state.recorder, name)
    }

    /// Where the telemetry thread listens: the real port where 0 was asked for.
    #[must_use]
    pub fn telemetry_address(&self) -> Option<SocketAddr> {
        #[cfg(feature = "telemetry")]
        return self.telemetry.as_ref().map(Telemetry::address);
        #[cfg(not(feature = "telemetry"))]
        None
    }

    /// What was found so far.
    #[must_use]
    pub fn findings(&self) -> FindingsDocument {
        self.state.findings()
    }

    /// What was recorded so far.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        self.state.snapshot()
    }

    /// The most recent stalls, at most 4096, that had not ended by `since`.
    #[must_use]
    pub fn stalls(&self, since: Option<SystemTime>) -> StallsDocument {
        self.state.stalls(since)
    }

    /// Sets everything recorded in the recorder of the [`metrics`] crate, under the
    /// names of docs/metrics.md. Call it as often as your exporter is scraped,
    /// from a thread that no event loop can block.
    ///
    /// Totals of seconds are gauges, as that crate's counters are whole numbers,
    /// and histograms go out as counters `…_bucket` with a label `le`, a counter
    /// `…_count` and a gauge `…_sum`, which is what Prometheus makes of one.
    ///
    /// ```no_run
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let scope = std::sync::Arc::new(loopscope::Scope::builder().start()?);
    /// let of_thread = std::sync::Arc::downgrade(&scope);
    /// std::thread::spawn(move || {
    ///     while let Some(scope) = of_thread.upgrade() {
    ///         scope.publish_metrics();
    ///         drop(scope);
    ///         std::thread::sleep(std::time::Duration::from_secs(5));
    ///     }
    /// });
    /// # Ok(())
    /// # }
    /// ```
    #[cfg(feature = "metrics")]
    pub fn publish_metrics(&self) {
        use std::sync::atomic::AtomicBool;
        use std::sync::atomic::Ordering::Relaxed;
        static DESCRIBED: AtomicBool = AtomicBool::new(false);
        if !DESCRIBED.swap(true, Relaxed) {
            crate::export::metrics::facade::describe();
        }
        crate::export::metrics::facade::publish(&self.state.snapshot(), &self.state.findings());
    }

    /// Loopscope's metrics for the application's own registry.
    #[cfg(feature = "prometheus")]
    #[must_use]
    pub fn collector(&self) -> crate::export::metrics::prometheus::Collector {
        crate::export::metrics::prometheus::Collector::new(Arc::clone(&self.state) as Arc<dyn Source>)
    }
}

impl Drop for Scope {
    fn drop(&mut self) {
        #[cfg(feature = "telemetry")]
        drop(self.telemetry.take());
        drop(self.watchdog.take());
        drop(self.reporter.take());
        self.state.recorder.end();
    }
}

impl fmt::Debug for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scope").field("telemetry", &self.telemetry_address()).finish_non_exhaustive()
    }
}
