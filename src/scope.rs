//! What an application holds while it is watched.

use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::runtime::Runtime;

#[cfg(feature = "telemetry")]
use crate::export::telemetry::{self, Telemetry};
use crate::reader::Source;
use crate::record::current;
use crate::reporter::Reporter;
use crate::state::State;
use crate::watchdog::outbox::Outbox;
use crate::watchdog::{Manner, Watchdog};
use crate::{
    Builder, Canary, FindingsDocument, Hooks, Instrumented, Snapshot, StallsDocument, StartError, watch,
};

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
    state: Arc<State>,
    // The order in which they stop: first who reads, then who writes.
    #[cfg(feature = "telemetry")]
    telemetry: Option<Telemetry>,
    watchdog: Option<Watchdog>,
    reporter: Option<Reporter>,
}

impl Scope {
    /// A scope with the default settings, to be changed and started.
    pub fn builder() -> Builder {
        Builder::default()
    }

    pub(crate) fn start(builder: Builder) -> Result<Self, StartError> {
        let settings = builder.settings.with_environment()?;
        let state = Arc::new(State::new(&settings));
        if settings.off {
            state.recorder.end();
            return Ok(Self {
                state,
                #[cfg(feature = "telemetry")]
                telemetry: None,
                watchdog: None,
                reporter: None,
            });
        }
        #[cfg(feature = "telemetry")]
        let telemetry = match settings.telemetry {
            Some(address) => {
                Some(telemetry::start(address, Arc::clone(&state) as Arc<dyn Source>, builder.registry)?)
            }
            None => None,
        };
        #[cfg(not(feature = "telemetry"))]
        Builder::refuse_telemetry(settings.telemetry)?;
        let (outbox, messages) = Outbox::new();
        let failed = |name| move |source| StartError::Thread { name, source };
        let reporter = Reporter::start(Arc::clone(&state), messages, settings.terminal, builder.on_finding)
            .map_err(failed("loopscope-report"))?;
        let (recorder, meter) = (Arc::clone(&state.recorder), Arc::clone(&state.meter));
        let watchdog = Watchdog::start(recorder, meter, outbox, Manner::of(&settings))
            .map_err(failed("loopscope-watch"))?;
        current::set_default(&state.recorder);
        Ok(Self {
            state,
            #[cfg(feature = "telemetry")]
            telemetry,
            watchdog: Some(watchdog),
            reporter: Some(reporter),
        })
    }

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
            watch::install(builder, &self.state.recorder, Hooks::new());
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
        watch::install(builder, &self.state.recorder, hooks);
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
        let nanos = |since: SystemTime| since.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        self.state.stalls(since.map(|since| u64::try_from(nanos(since)).unwrap_or(u64::MAX)))
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
            crate::export::facade::describe();
        }
        crate::export::facade::publish(&self.state.snapshot(), &self.state.findings());
    }

    /// Loopscope's metrics for the application's own registry.
    #[cfg(feature = "prometheus")]
    #[must_use]
    pub fn collector(&self) -> crate::Collector {
        crate::Collector::new(Arc::clone(&self.state) as Arc<dyn Source>)
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

/// Runs a future on a watched multi-thread runtime with the default settings
/// and all of Tokio's drivers: loopscope in one line.
///
/// Should loopscope be unable to start, it says so on stderr and the future
/// runs unwatched.
///
/// # Panics
/// If the runtime cannot be built, or the future panics.
///
/// ```
/// let sum = loopscope::run(async {
///     tokio::spawn(async { 1 + 1 }).await
/// });
/// assert_eq!(sum.unwrap(), 2);
/// ```
pub fn run<F: Future>(future: F) -> F::Output {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.enable_all();
    match Scope::builder().start() {
        Ok(scope) => {
            let runtime = scope.watch(&mut builder).build().expect("failed to build the runtime");
            scope.block_on(&runtime, future)
        }
        Err(error) => {
            eprintln!("{error}; running unwatched");
            builder.build().expect("failed to build the runtime").block_on(future)
        }
    }
}
