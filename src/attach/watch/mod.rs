//! Watches a process from outside: finds what blocks its event loops.

mod guard_pause;
mod observed_poll;
mod place;
mod poll_frame;
mod sampler;
mod source;
mod thread;
mod tools;

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::attach::access;
use crate::attach::error::AttachError;
use crate::attach::watch::sampler::{Sampler, SamplerState};
use crate::attach::watch::source::ProcessSource;
use crate::error::StartError;
#[cfg(feature = "telemetry")]
use crate::export::http::{self, Telemetry};
use crate::export::source::Source;
use crate::finding::{Finding, FindingsDocument, StallsDocument};
use crate::outbox::SendingEnd;
use crate::process::Process;
use crate::report::coverage::StartNotice;
use crate::report::thread::{OnFinding, Reporter};
use crate::scope::state::ScopeState;
use crate::settings::{Settings, Terminal};
use crate::threads::registers;

/// The settings of a [`Watch`].
pub struct WatchBuilder {
    pid: i32,
    settings: Settings,
    on_finding: Option<OnFinding>,
}

impl WatchBuilder {
    /// Sets how long a wait in a poll must last to be a stall. The default is
    /// 10 ms.
    #[must_use]
    pub fn blocking_threshold(mut self, threshold: Duration) -> Self {
        self.settings.threshold = threshold;
        self
    }

    /// Serves the live page, metrics and findings of the process at this
    /// address.
    #[cfg(feature = "telemetry")]
    #[must_use]
    pub fn telemetry(mut self, address: SocketAddr) -> Self {
        self.settings.telemetry = Some(address);
        self
    }

    /// Sets whether findings are printed to stderr. The default is
    /// [`Terminal::Auto`].
    #[must_use]
    pub fn terminal(mut self, terminal: Terminal) -> Self {
        self.settings.terminal = terminal;
        self
    }

    /// Calls `callback` with each finding that is reported, on a thread of
    /// loopscope.
    #[must_use]
    pub fn on_finding(mut self, callback: impl Fn(&Finding) + Send + Sync + 'static) -> Self {
        self.on_finding = Some(Box::new(callback));
        self
    }

    /// Begins to watch.
    ///
    /// # Errors
    ///
    /// If the process must not be read, a setting is out of range, the
    /// telemetry address cannot be bound, or a thread cannot be started.
    pub fn start(self) -> Result<Watch, WatchError> {
        access::check(self.pid)?;
        let process = Process::Other(self.pid);
        access::check_tokio(process)?;
        let settings = self.settings.checked()?;
        let state = Arc::new(ScopeState::new(&settings));
        let source = Arc::new(ProcessSource::new(process, Arc::clone(&state)));
        #[cfg(feature = "telemetry")]
        let telemetry = match settings.telemetry {
            Some(address) => Some(http::start(address, Arc::clone(&source) as Arc<dyn Source>, None)?),
            None => None,
        };
        #[cfg(feature = "telemetry")]
        let address = telemetry.as_ref().map(Telemetry::address);
        #[cfg(not(feature = "telemetry"))]
        let address = None;
        let start_notice = Arc::new(StartNotice::new(settings.threshold, settings.terminal, address));
        let failed = |name| move |source| StartError::Thread { name, source };
        let symbols = Reporter::symbols(process, settings.max_debug_info_memory);
        let reporter = Reporter::start(
            process,
            &state.recorder,
            &state.self_metrics,
            &state.findings,
            &state.outbox,
            &start_notice,
            &symbols,
            self.on_finding,
        )
        .map_err(failed("loopscope-report"))?;
        let sampler_state = Arc::<SamplerState>::default();
        let sampler = Sampler::start(
            process,
            Arc::clone(&state.recorder),
            Arc::clone(&state.self_metrics),
            SendingEnd(Arc::clone(&state.outbox)),
            symbols,
            settings.max_debug_info_memory,
            Arc::clone(&sampler_state),
        )
        .map_err(failed("loopscope-watch"))?;
        Ok(Watch {
            source,
            sampler_state,
            period: sampler::period(settings.threshold),
            #[cfg(feature = "telemetry")]
            telemetry,
            sampler: Some(sampler),
            reporter: Some(reporter),
        })
    }
}

/// Why a [`Watch`] cannot begin. The `Display` text is one sentence.
#[derive(Debug)]
#[non_exhaustive]
pub enum WatchError {
    /// The process cannot be read.
    Attach(AttachError),
    /// A setting is out of range, the telemetry address cannot be bound, or a
    /// thread cannot be started.
    Start(StartError),
}

impl From<AttachError> for WatchError {
    fn from(error: AttachError) -> Self {
        Self::Attach(error)
    }
}

impl From<StartError> for WatchError {
    fn from(error: StartError) -> Self {
        Self::Start(error)
    }
}

impl fmt::Display for WatchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Attach(error) => error.fmt(f),
            Self::Start(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for WatchError {}

impl fmt::Debug for WatchBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WatchBuilder").field("pid", &self.pid).finish_non_exhaustive()
    }
}

/// Watches the event loops of another process until it is dropped.
///
/// It looks at each thread of a runtime four times in a threshold, at
/// intervals of 1 ms to 50 ms. A stall is a poll that lasts for the threshold.
/// That it is one poll is certain: the thread has waited in one system call and
/// not run in between, or it has not written to the frame in which each poll
/// begins. Its duration is a lower bound, too short by three looks at most.
/// Shorter stalls are not seen.
#[must_use = "a watch stops when it is dropped"]
pub struct Watch {
    source: Arc<ProcessSource>,
    sampler_state: Arc<SamplerState>,
    period: Duration,
    // They stop in this order.
    #[cfg(feature = "telemetry")]
    telemetry: Option<Telemetry>,
    sampler: Option<Sampler>,
    reporter: Option<Reporter>,
}

impl Watch {
    /// Returns a builder for a watch of the process with the id `pid`.
    #[must_use]
    pub fn builder(pid: i32) -> WatchBuilder {
        WatchBuilder { pid, settings: Settings::default(), on_finding: None }
    }

    /// Returns the time between two looks at a thread.
    #[must_use]
    pub fn period(&self) -> Duration {
        self.period
    }

    /// Returns whether the program has been read, and its threads are looked
    /// at. That takes a second for a large program.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        self.sampler_state.has_begun()
    }

    /// Returns whether the process has ended, or runs another program now.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.sampler_state.has_target_ended()
    }

    /// Returns the address on which telemetry is served.
    #[must_use]
    pub fn telemetry_address(&self) -> Option<SocketAddr> {
        #[cfg(feature = "telemetry")]
        return self.telemetry.as_ref().map(Telemetry::address);
        #[cfg(not(feature = "telemetry"))]
        None
    }

    /// Returns whether computations are found: the kernel lets this process
    /// sample threads that run. Where it does not, only waits are found.
    #[must_use]
    pub fn finds_computations(&self) -> bool {
        registers::can_sample()
    }

    /// Returns how many threads with an event loop were watched so far.
    #[must_use]
    pub fn loops_seen(&self) -> usize {
        self.sampler_state.loops_seen()
    }

    /// Returns the longest time between two looks so far. It is more than
    /// [`period`](Self::period) where the machine is busy.
    #[must_use]
    pub fn longest_pause(&self) -> Duration {
        self.sampler_state.longest_pause()
    }

    /// Returns all findings so far.
    #[must_use]
    pub fn findings(&self) -> FindingsDocument {
        self.source.findings()
    }

    /// Returns the stalls that had not ended at `since`, or all that are kept.
    #[must_use]
    pub fn stalls(&self, since: Option<SystemTime>) -> StallsDocument {
        self.source.stalls(since)
    }

    /// Ends the watch, and returns all findings. The threads that process them
    /// have ended then.
    #[must_use]
    pub fn finish(mut self) -> FindingsDocument {
        drop(self.sampler.take());
        drop(self.reporter.take());
        self.source.findings()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        #[cfg(feature = "telemetry")]
        drop(self.telemetry.take());
        drop(self.sampler.take());
        drop(self.reporter.take());
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").field("telemetry", &self.telemetry_address()).finish_non_exhaustive()
    }
}
