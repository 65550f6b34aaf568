//! The settings of a scope, and its start.

use std::fmt;
use std::net::SocketAddr;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::time::Duration;

use crate::error::StartError;
#[cfg(feature = "telemetry")]
use crate::export::http::{self, Telemetry};
#[cfg(feature = "telemetry")]
use crate::export::source::Source;
use crate::finding::Finding;
use crate::fork::WritingReport;
use crate::os;
use crate::outbox::SendingEnd;
use crate::process::Process;
use crate::record::{current, live_recorders};
use crate::recording::Recording;
use crate::report::coverage::StartNotice;
use crate::report::thread::{OnFinding, Reporter};
use crate::scope::Scope;
use crate::scope::state::ScopeState;
use crate::settings::{Settings, Signals, Terminal};
use crate::watchdog::{Watchdog, WatchdogConfig};

/// Sets up and starts a [`Scope`]: see [`Scope::builder`].
#[must_use = "a builder does nothing until `start` is called"]
#[derive(Default)]
pub struct ScopeBuilder {
    pub(crate) settings: Settings,
    pub(crate) on_finding: Option<OnFinding>,
    #[cfg(feature = "telemetry")]
    pub(crate) registry: Option<prometheus::Registry>,
}

impl ScopeBuilder {
    /// Sets the blocking threshold: a poll that takes at least this long is a
    /// stall. From 1 ms to 60 s; [`start`](Self::start) rejects other values.
    /// Default: 10 ms.
    ///
    /// The watchdog samples all workers twice per threshold, and four times per
    /// threshold while a poll is older than a quarter of the threshold. While
    /// all workers use little CPU time, once per threshold is enough with
    /// `--cfg tokio_unstable` and [`Recording::Full`]. A sample of a shorter
    /// poll reads atomics; in each pass, the watchdog also reads the CPU times
    /// of up to four workers.
    pub fn blocking_threshold(mut self, threshold: Duration) -> Self {
        self.settings.threshold = threshold;
        self
    }

    /// Sets how much is recorded of each poll. Default: [`Recording::Full`].
    /// [`Scope::set_recording`] changes it while the program runs.
    ///
    /// [`Recording::Detect`] costs a few nanoseconds a poll, and finds stalls
    /// only: nothing else is measured. A scope that starts with it does not
    /// make Tokio measure the [schedule delay](Self::schedule_delay).
    pub fn recording(mut self, recording: Recording) -> Self {
        self.settings.recording = recording;
        self
    }

    /// Sets whether Tokio measures the schedule delay of every task: how long
    /// it waits from its wake to its poll. Default: `true`. It needs
    /// `--cfg tokio_unstable`, and Tokio reads its clock twice more for each
    /// poll.
    ///
    /// With `false`, only named futures measure their delay. It lasts from
    /// their first wake, or from the end of the poll if the wake came during
    /// one, to their next poll. This takes one reading of the time stamp
    /// counter, so it costs less where all tasks have names. The first poll of
    /// a task then has no delay, because no wake led to it. Findings do not
    /// report the waits of tasks without a name.
    pub fn schedule_delay(mut self, record: bool) -> Self {
        self.settings.schedule_delay = record;
        self
    }

    /// Sets whether loopscope may send signals to watched threads to capture
    /// their stacks. Default: [`Signals::Safe`], only where the program cannot
    /// notice it.
    pub fn signals(mut self, signals: Signals) -> Self {
        self.settings.signals = signals;
        self
    }

    /// Sets how many stacks are captured per second on average. Default: 10. A
    /// burst may contain ten times as many. With 0, no stack is captured, so no
    /// finding has a source line.
    ///
    /// Stalls beyond the budget are still counted, under the only finding of
    /// the same task kind if there is exactly one, otherwise without a source
    /// line.
    pub fn captures_per_second(mut self, captures: u32) -> Self {
        self.settings.captures_per_second = captures;
        self
    }

    /// Sets how many bytes of memory compressed debug information may take
    /// while an address is looked up. Default: 64 MiB. Only the feature
    /// `compressed-debug-info` reads such information.
    ///
    /// Debug information that is not compressed is read from its file where it
    /// is needed, and takes a few megabytes whatever its size. If the linker
    /// has compressed it, for example with `--compress-debug-sections`, its
    /// sections must be in memory as a whole. Beyond this limit they are not
    /// read: findings then have functions but no lines, and
    /// [`Finding::lines_missing`] says so.
    pub fn max_debug_info_memory(mut self, bytes: u64) -> Self {
        self.settings.max_debug_info_memory = bytes;
        self
    }

    /// Sets whether tools may read this process from outside, such as the
    /// command `loopscope ps`. Default: `false`.
    ///
    /// Many Linux distributions let only the ancestors of a process read it
    /// (`kernel.yama.ptrace_scope` is 1). With `true`, [`start`](Self::start)
    /// calls `prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY)`: then every process
    /// of the same user may read the memory of this process, with all secrets
    /// in it, and may change it. The permission lasts until the process ends,
    /// also after the end of the scope. It does not extend to other users, and
    /// it has no effect where the kernel does not have this restriction, or has
    /// a stricter one.
    pub fn attachable(mut self, is_attachable: bool) -> Self {
        self.settings.is_attachable = is_attachable;
        self
    }

    /// Sets where reports for people are printed. Default: [`Terminal::Auto`],
    /// on stderr if no `tracing` subscriber takes their events. Without the
    /// feature `diagnostic`, a report is a single line. The module
    /// [`report`](crate::report) describes the rate limit and the `tracing`
    /// event, which is emitted in any case.
    pub fn terminal(mut self, terminal: Terminal) -> Self {
        self.settings.terminal = terminal;
        self
    }

    /// Sets a callback for each report of a finding. Default: none. A second
    /// callback replaces the first.
    ///
    /// A finding is reported at the end of its first stall, each time its
    /// number of stalls has doubled, and when a stall has lasted for one
    /// second, one minute, ten minutes and one hour. A stall of one second that
    /// ends before it is reported is reported at its end. A report does not
    /// include shorter stalls in progress: they follow when they have ended.
    /// The rate limit of log and terminal does not apply to the callback.
    ///
    /// loopscope's reporting thread calls it and waits for it to return. If it
    /// panics, the panic is caught. That thread blocks all signals, and the
    /// threads and processes that the callback starts inherit that.
    pub fn on_finding(mut self, callback: impl Fn(&Finding) + Send + Sync + 'static) -> Self {
        self.on_finding = Some(Box::new(callback));
        self
    }

    /// Serves the live page, `/metrics`, `/findings`, `/healthz` and more over
    /// HTTP on this address. Default: not served. Port 0 selects a free port:
    /// see [`Scope::telemetry_address`].
    ///
    /// A separate thread responds, also while every worker is blocked. Access
    /// is read-only and without authentication: use a loopback address.
    #[cfg(feature = "telemetry")]
    pub fn telemetry(mut self, address: SocketAddr) -> Self {
        self.settings.telemetry = Some(address);
        self
    }

    /// Adds the application's own metrics to `/metrics`. Default: none. Without
    /// [`telemetry`](Self::telemetry), it has no effect. To add loopscope's
    /// metrics to the application's endpoint instead, register a
    /// [`Collector`](crate::Collector) there.
    ///
    /// Their samples have the same names in both formats. Characters that are
    /// not valid in a name become `_`. A metric with the name of one of
    /// loopscope's is left out. If the collectors take longer than one second,
    /// the response does not contain the application's metrics. A warning in
    /// the log says what is left out, and so does a comment in the text format.
    #[cfg(feature = "telemetry")]
    pub fn registry(mut self, registry: prometheus::Registry) -> Self {
        self.registry = Some(registry);
        self
    }

    /// Starts the watchdog, the reporting thread and, if an address is set, the
    /// telemetry thread.
    ///
    /// These environment variables override the settings. An empty variable
    /// has no effect.
    ///
    /// | variable | value |
    /// |---|---|
    /// | `LOOPSCOPE` | `off` or `0`: no thread is started, and the scope records and reports nothing; `full` or `detect`: how much is recorded, as in [`Recording`]; `paused`: the scope begins [paused](Scope::pause); `on` or `1` (default): as the program has set |
    /// | `LOOPSCOPE_THRESHOLD` | the blocking threshold in `us`, `ms` or `s`, such as `10ms` or `1.5s` |
    /// | `LOOPSCOPE_TERMINAL` | where reports are printed: `auto`, `always` or `never`, as in [`Terminal`] |
    /// | `LOOPSCOPE_TELEMETRY` | the telemetry address, such as `127.0.0.1:9464`; needs the feature `telemetry` |
    ///
    /// # Errors
    ///
    /// Returns an error if a setting or variable is invalid, the telemetry
    /// address cannot be bound, or a thread cannot be started. No thread is
    /// left running in that case.
    pub fn start(self) -> Result<Scope, StartError> {
        Scope::start(self)
    }

    /// Rejects a telemetry address in a build without the feature `telemetry`.
    #[cfg(not(feature = "telemetry"))]
    pub(crate) fn refuse_telemetry(address: Option<SocketAddr>) -> Result<(), StartError> {
        match address {
            None => Ok(()),
            Some(address) => Err(StartError::Setting {
                name: "LOOPSCOPE_TELEMETRY",
                value: address.to_string(),
                expected: "unset, because this program was built without loopscope's feature `telemetry`",
            }),
        }
    }
}

impl fmt::Debug for ScopeBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScopeBuilder").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Scope {
    /// Returns a builder with the default settings.
    pub fn builder() -> ScopeBuilder {
        ScopeBuilder::default()
    }

    pub(crate) fn start(builder: ScopeBuilder) -> Result<Self, StartError> {
        let settings = builder.settings.with_environment()?;
        if settings.off {
            return Ok(Self::switched_off(&settings));
        }
        if settings.is_attachable {
            os::permit_readers();
        }
        let state = Arc::new(ScopeState::new(&settings));
        #[cfg(feature = "telemetry")]
        let telemetry = match settings.telemetry {
            Some(address) => {
                Some(http::start(address, Arc::clone(&state) as Arc<dyn Source>, builder.registry)?)
            }
            None => None,
        };
        #[cfg(not(feature = "telemetry"))]
        ScopeBuilder::refuse_telemetry(settings.telemetry)?;
        #[cfg(feature = "telemetry")]
        let address = telemetry.as_ref().map(Telemetry::address);
        #[cfg(not(feature = "telemetry"))]
        let address = None;
        let start_notice = Arc::new(StartNotice::new(settings.threshold, settings.terminal, address));
        let failed = |name| move |source| StartError::Thread { name, source };
        let reporter = Reporter::start(
            Process::Own,
            &state.recorder,
            &state.self_metrics,
            &state.findings,
            &state.outbox,
            &start_notice,
            &Reporter::symbols(Process::Own, settings.max_debug_info_memory),
            builder.on_finding,
        )
        .map_err(failed("loopscope-report"))?;
        let (recorder, self_metrics) = (Arc::clone(&state.recorder), Arc::clone(&state.self_metrics));
        let outbox = SendingEnd(Arc::clone(&state.outbox));
        let watchdog = Watchdog::start(recorder, self_metrics, outbox, WatchdogConfig::from(&settings))
            .map_err(failed("loopscope-watch"))?;
        current::set_default(&state.recorder);
        live_recorders::add(&state.recorder);
        let _writing = WritingReport::begin();
        let _ = panic::catch_unwind(AssertUnwindSafe(|| start_notice.emit()));
        Ok(Self {
            state,
            #[cfg(feature = "telemetry")]
            telemetry,
            watchdog: Some(watchdog),
            reporter: Some(reporter),
        })
    }

    /// Returns a scope without threads, which records and reports nothing.
    pub(crate) fn switched_off(settings: &Settings) -> Self {
        let state = Arc::new(ScopeState::new(settings));
        state.recorder.end();
        Self {
            state,
            #[cfg(feature = "telemetry")]
            telemetry: None,
            watchdog: None,
            reporter: None,
        }
    }
}
