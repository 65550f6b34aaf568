//! The handle of an application that is watched.

pub(crate) mod builder;
pub(crate) mod run;
pub(crate) mod state;
mod switch;

use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::runtime::Runtime;

#[cfg(feature = "telemetry")]
use crate::export::http::Telemetry;
use crate::export::source::Source;
use crate::finding::{FindingsDocument, StallsDocument};
use crate::instrument::canary::Canary;
use crate::instrument::future::NamedFuture;
use crate::instrument::hooks::Hooks;
use crate::instrument::install;
use crate::record::current;
use crate::report::thread::Reporter;
use crate::scope::state::ScopeState;
use crate::snapshot::Snapshot;
use crate::watchdog::Watchdog;

/// Watches runtimes and futures until it is dropped.
///
/// Dropping it stops its threads and waits for their end, but not for more than
/// 10 seconds each. Stalls that were detected before are still reported. The
/// hooks in watched runtimes stay installed, but no longer record anything. A
/// scope may be dropped anywhere. In its own callback, or in a `tracing`
/// subscriber that handles its events, a drop does not wait. With
/// `LOOPSCOPE=off` in the environment it records and reports nothing.
///
/// A scope watches the process that started it. In a forked child it warns
/// once, records nothing and has no findings; the child can start a scope of
/// its own.
///
/// # Examples
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
/// assert!(scope.flush(Duration::from_secs(10)));
/// assert!(scope.findings().findings.is_empty());
/// # Ok(())
/// # }
/// ```
#[must_use = "a scope stops when it is dropped"]
pub struct Scope {
    state: Arc<ScopeState>,
    // They stop in this order. The reporting thread is the last, because the
    // watchdog sends it messages until it stops.
    #[cfg(feature = "telemetry")]
    telemetry: Option<Telemetry>,
    watchdog: Option<Watchdog>,
    reporter: Option<Reporter>,
}

impl Scope {
    /// Sets loopscope's hooks on the builder of a runtime.
    ///
    /// With `--cfg tokio_unstable`, they record every task of the runtime.
    /// Without it, only named futures are recorded one by one: see
    /// [`Named`](crate::Named).
    ///
    /// Tokio stores only one callback for each hook. loopscope replaces the
    /// callbacks that were set on `builder` before. Callbacks that are set
    /// later replace loopscope's; it detects this and reports it once. Pass the
    /// application's own callbacks to [`Self::watch_with`] instead.
    ///
    /// loopscope uses `on_thread_start`, `on_thread_park` and
    /// `on_thread_unpark`, and with `tokio_unstable` also `on_task_spawn`,
    /// `on_before_task_poll`, `on_after_task_poll` and `on_task_terminate`.
    pub fn watch<'b>(&self, builder: &'b mut tokio::runtime::Builder) -> &'b mut tokio::runtime::Builder {
        if self.is_live() {
            install::install(builder, &self.state.recorder, Hooks::new());
        }
        builder
    }

    /// Sets loopscope's hooks as [`Self::watch`] does, together with `hooks`,
    /// the application's own callbacks. These are set even if loopscope is
    /// switched off.
    pub fn watch_with<'b>(
        &self,
        builder: &'b mut tokio::runtime::Builder,
        hooks: Hooks,
    ) -> &'b mut tokio::runtime::Builder {
        install::install(builder, &self.state.recorder, hooks);
        builder
    }

    /// Returns whether the scope records. Warns in a forked child.
    fn is_live(&self) -> bool {
        let is_live = self.state.recorder.is_live();
        if !is_live {
            self.state.recorder.liveness.warn();
        }
        is_live
    }

    /// Runs a root future as [`Runtime::block_on`] does, and records it as the
    /// kind `main`. Tokio calls no hook for the root future.
    ///
    /// # Panics
    ///
    /// Panics if the future panics or if called within a runtime, as
    /// `Runtime::block_on` does.
    pub fn block_on<F: Future>(&self, runtime: &Runtime, future: F) -> F::Output {
        if !self.is_live() {
            return runtime.block_on(future);
        }
        runtime.block_on(NamedFuture::in_recorder(future, "main", Arc::clone(&self.state.recorder)))
    }

    /// Returns a task that measures the lag of an event loop: the time from a
    /// wake to its poll. Spawn it on that loop.
    ///
    /// Use it where no hook reports the tasks: in a `LocalSet`, on another
    /// executor, on a runtime without `tokio_unstable`. The watchdog wakes it
    /// every 100 ms, so a loop with a canary never sleeps for longer. It ends
    /// when the scope is dropped. The results are in [`Snapshot::loop_lag`] and
    /// in the metric `loopscope_loop_lag_seconds`.
    ///
    /// # Examples
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

    /// Returns the address on which telemetry is served, with the actual port
    /// if port 0 was requested. Returns `None` if telemetry is not served.
    #[must_use]
    pub fn telemetry_address(&self) -> Option<SocketAddr> {
        #[cfg(feature = "telemetry")]
        return self.telemetry.as_ref().map(Telemetry::address);
        #[cfg(not(feature = "telemetry"))]
        None
    }

    /// Returns all findings so far, at most 500, the one with the most total
    /// time first.
    ///
    /// A stall that has just ended may not be among them: two threads process
    /// it first, which takes up to some seconds for the first stall of a
    /// program. [`FindingsDocument::pending`] says whether something is not
    /// processed yet. To judge a program at its end, for example in a test,
    /// call [`flush`](Self::flush) first.
    #[must_use]
    pub fn findings(&self) -> FindingsDocument {
        self.state.findings()
    }

    /// Waits until everything that the workers have recorded before this call
    /// is part of the [findings](Self::findings), and has been reported.
    /// Returns `false` if this takes longer than `timeout`: then the findings
    /// may be incomplete.
    ///
    /// It blocks the calling thread. Call it at the end of a test or program,
    /// not in a task: there it is a stall itself. The time includes that of the
    /// callback, the subscriber and the terminal for the reports that are due.
    /// Within the callback or subscriber it returns `false` at once, because
    /// the report that called it is not complete.
    ///
    /// A poll ends after the task's `JoinHandle` has its result. So the last
    /// poll of a task may still be in progress after the task was awaited. If
    /// this poll is a stall, the findings include it, perhaps as one in
    /// progress. An exception is a thread that gets no CPU: this call waits for
    /// its poll for 200 ms at the most.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let scope = loopscope::Scope::builder().start()?;
    /// # let runtime = scope.watch(&mut tokio::runtime::Builder::new_multi_thread()).build()?;
    /// scope.block_on(&runtime, async { std::thread::sleep(Duration::from_millis(50)) });
    /// assert!(scope.flush(Duration::from_secs(10)), "not everything was processed");
    /// # #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
    /// assert_eq!(scope.findings().findings.len(), 1);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use = "if it returns `false`, the findings may be incomplete"]
    pub fn flush(&self, timeout: Duration) -> bool {
        let (Some(watchdog), Some(reporter)) = (&self.watchdog, &self.reporter) else {
            return true;
        };
        // In a forked child, the lock of the queue may be held for ever.
        let is_in_child = self.state.recorder.liveness.is_in_child();
        !is_in_child && !reporter.is_current() && self.state.outbox.flush(timeout, || watchdog.wake())
    }

    /// Returns everything that was recorded so far.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> Result<(), loopscope::StartError> {
    /// # let scope = loopscope::Scope::builder().start()?;
    /// let snapshot = scope.snapshot();
    /// println!("oldest poll: {:?}", snapshot.longest_active_poll());
    /// for kind in &snapshot.kinds {
    ///     println!("{}: p99 of a poll {:?}", kind.name, kind.poll_time.quantile(0.99));
    /// }
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        current::drop_left_poll_stacks(&self.state.recorder);
        self.state.snapshot()
    }

    /// Returns all stalls in progress, and the most recent stalls that have
    /// ended, at most 4,096. With `since`, leaves out those that ended before.
    #[must_use]
    pub fn stalls(&self, since: Option<SystemTime>) -> StallsDocument {
        self.state.stalls(since)
    }

    /// Publishes everything that was recorded to the recorder of the
    /// [`metrics`] crate, under the names in `docs/metrics.md`. Call it as
    /// often as the exporter is scraped, from a thread that no event loop can
    /// block.
    ///
    /// Totals in seconds become gauges, because counters of the `metrics` crate
    /// are integers. A histogram becomes counters `…_bucket` with a label `le`,
    /// a counter `…_count` and a gauge `…_sum`: the series that Prometheus
    /// stores for a histogram.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let scope = std::sync::Arc::new(loopscope::Scope::builder().start()?);
    /// let weak_scope = std::sync::Arc::downgrade(&scope);
    /// std::thread::spawn(move || {
    ///     while let Some(scope) = weak_scope.upgrade() {
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
        crate::export::metrics::facade::publish(&self.state.snapshot(), &self.state.ended_findings());
    }

    /// Returns loopscope's metrics, for the application's own registry.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let scope = loopscope::Scope::builder().start()?;
    /// let registry = prometheus::Registry::new();
    /// registry.register(Box::new(scope.collector()))?;
    /// assert!(registry.gather().iter().any(|family| family.name() == "loopscope_build_info"));
    /// # Ok(())
    /// # }
    /// ```
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
        if !self.state.recorder.liveness.is_in_child() {
            self.state.recorder.end();
        }
    }
}

impl fmt::Debug for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scope").field("telemetry", &self.telemetry_address()).finish_non_exhaustive()
    }
}
