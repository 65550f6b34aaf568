//! Settings of a scope, up to its start.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::error::StartError;
#[cfg(feature = "telemetry")]
use crate::export::http;
#[cfg(feature = "telemetry")]
use crate::export::source::Source;
use crate::finding::Finding;
use crate::record::current;
use crate::report::thread::{OnFinding, Reporter};
use crate::scope::Scope;
use crate::scope::state::ScopeState;
use crate::settings::{Settings, Signals, Terminal};
use crate::watchdog::outbox::Outbox;
use crate::watchdog::{Watchdog, WatchdogConfig};

/// Sets up a [`Scope`]: see [`Scope::builder`].
#[must_use = "a builder does nothing until `start` is called"]
#[derive(Default)]
pub struct Builder {
    pub(crate) settings: Settings,
    pub(crate) on_finding: Option<OnFinding>,
    #[cfg(feature = "telemetry")]
    pub(crate) registry: Option<prometheus::Registry>,
}

impl Builder {
    /// A poll longer than this is a stall. Default: 10 ms. From 1 ms to 60 s.
    ///
    /// The watchdog looks twice as often, and only at atomics, until a poll has
    /// lasted for a quarter of it; from then on four times as often.
    pub fn blocking_threshold(mut self, threshold: Duration) -> Self {
        self.settings.threshold = threshold;
        self
    }

    /// Whether to record how long every task waits from its wake to its poll.
    /// Default: yes. It needs `--cfg tokio_unstable`, and costs two more clock
    /// readings a poll, Tokio's own.
    ///
    /// Without it, futures with a name still record their own delay, from their
    /// first wake, or the end of the poll it came in, to their next poll. That costs
    /// one reading of the time stamp counter, so where all tasks have names it is
    /// the cheaper way. A task's first poll has no delay then, as no waker led to
    /// it; of tasks without a name, findings cannot say that they waited.
    pub fn schedule_delay(mut self, record: bool) -> Self {
        self.settings.schedule_delay = record;
        self
    }

    /// Whether watched threads may be sent signals to get at their stacks.
    /// Default: [`Signals::Safe`], where the program cannot notice.
    pub fn signals(mut self, signals: Signals) -> Self {
        self.settings.signals = signals;
        self
    }

    /// How many stacks are captured a second at most, on average; a burst may
    /// take ten times as many. Default: 10. A stall beyond that still counts: to
    /// the finding that its kind of task has, if that is one, or else without a
    /// line.
    pub fn captures_per_second(mut self, captures: u32) -> Self {
        self.settings.captures_per_second = captures;
        self
    }

    /// Where reports are drawn for people. Default: on stderr, if that is a
    /// terminal (feature `diagnostic`).
    pub fn terminal(mut self, terminal: Terminal) -> Self {
        self.settings.terminal = terminal;
        self
    }

    /// Calls `callback` whenever a finding is reported: as it is new, each time
    /// its count has doubled, and when a stall has lasted for a second. It is
    /// called on loopscope's reporting thread, which waits for it; should it
    /// panic, the panic is caught.
    pub fn on_finding(mut self, callback: impl Fn(&Finding) + Send + Sync + 'static) -> Self {
        self.on_finding = Some(Box::new(callback));
        self
    }

    /// Serves `/metrics`, `/findings`, `/stalls` and `/healthz` over HTTP on
    /// this address, on a thread of loopscope's own: it answers while every
    /// worker is blocked. Default: not served. Read-only, but without any
    /// authentication: use a loopback address.
    #[cfg(feature = "telemetry")]
    pub fn telemetry(mut self, address: SocketAddr) -> Self {
        self.settings.telemetry = Some(address);
        self
    }

    /// The application's own metrics, which `/metrics` then shows too. To show
    /// loopscope's metrics in the application's own endpoint instead, register
    /// a [`Collector`](crate::Collector) there.
    #[cfg(feature = "telemetry")]
    pub fn registry(mut self, registry: prometheus::Registry) -> Self {
        self.registry = Some(registry);
        self
    }

    /// Starts the watchdog, the reporting thread and, if asked for, the
    /// telemetry thread. The variables `LOOPSCOPE` (`off`),
    /// `LOOPSCOPE_THRESHOLD` (`10ms`) and `LOOPSCOPE_TELEMETRY`
    /// (`127.0.0.1:9464`) override the settings.
    ///
    /// # Errors
    /// If a setting or variable is wrong, the telemetry address cannot be
    /// bound, or a thread cannot be started. Nothing runs then.
    pub fn start(self) -> Result<Scope, StartError> {
        Scope::start(self)
    }

    /// The telemetry address, for builds that cannot serve it.
    #[cfg(not(feature = "telemetry"))]
    pub(crate) fn refuse_telemetry(address: Option<SocketAddr>) -> Result<(), StartError> {
        match address {
            None => Ok(()),
            Some(address) => Err(StartError::Setting {
                name: "LOOPSCOPE_TELEMETRY",
                value: address.to_string(),
                expected: "unset, as this program was built without loopscope's feature `telemetry`",
            }),
        }
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Scope {
    /// A scope with the default settings, to be changed and started.
    pub fn builder() -> Builder {
        Builder::default()
    }

    pub(crate) fn start(builder: Builder) -> Result<Self, StartError> {
        let settings = builder.settings.with_environment()?;
        let state = Arc::new(ScopeState::new(&settings));
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
                Some(http::start(address, Arc::clone(&state) as Arc<dyn Source>, builder.registry)?)
            }
            None => None,
        };
        #[cfg(not(feature = "telemetry"))]
        Builder::refuse_telemetry(settings.telemetry)?;
        let (outbox, messages) = Outbox::new();
        let failed = |name| move |source| StartError::Thread { name, source };
        let reporter = Reporter::start(
            &state.recorder,
            &state.self_metrics,
            &state.findings,
            messages,
            settings.terminal,
            builder.on_finding,
        )
        .map_err(failed("loopscope-report"))?;
        let (recorder, self_metrics) = (Arc::clone(&state.recorder), Arc::clone(&state.self_metrics));
        let watchdog = Watchdog::start(recorder, self_metrics, outbox, WatchdogConfig::of(&settings))
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
}
