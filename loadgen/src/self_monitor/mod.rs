//! The generator watches itself: what it does late, it must not blame on the
//! server.

mod receive_lag;

use std::net::SocketAddr;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use loopscope::Scope;
use tokio::runtime::{Builder, Runtime};

use crate::metrics;
use crate::report::{Blocking, Generator, Timing};
use receive_lag::ReceiveLagProbe;

/// The one scope of this process: a runtime's hooks are for its whole life.
static SCOPE: OnceLock<Scope> = OnceLock::new();

/// The runtime that receives, watched by loopscope; `metrics` is where that
/// serves its telemetry, the run's own figures among it, from a thread of its
/// own.
///
/// # Errors
///
/// If there can be no runtime, or `LOOPSCOPE_…` of the environment is wrong.
pub(crate) fn runtime(threads: usize, metrics: Option<SocketAddr>) -> anyhow::Result<Runtime> {
    let mut scope = Scope::builder().terminal(loopscope::Terminal::Never);
    if let Some(address) = metrics {
        let registry = metrics::registry().context("--metrics cannot be served")?;
        scope = scope.telemetry(address).registry(registry);
    }
    let scope = scope.start().context("the generator cannot watch its own loop")?;
    if let Some(address) = scope.telemetry_address() {
        eprintln!("metrics: http://{address}/metrics");
    }
    let scope = SCOPE.get_or_init(|| scope);
    let mut builder = Builder::new_multi_thread();
    scope.watch(builder.worker_threads(threads).enable_all());
    builder.build().context("the runtime cannot be started")
}

/// A moment, and how late the receiving loop was since.
#[derive(Debug)]
pub(crate) struct SelfMonitor {
    at: SystemTime,
    probe: Option<ReceiveLagProbe>,
    starved: Duration,
    cpu: Option<Duration>,
}

impl SelfMonitor {
    /// Now; from now on the receiving loop is asked how late it is.
    pub(crate) fn start() -> Self {
        Self { at: SystemTime::now(), probe: ReceiveLagProbe::start(), starved: starved(), cpu: cpu() }
    }

    /// What the generator did since.
    pub(crate) fn figures(&self) -> Generator {
        let cpu = cpu().zip(self.cpu).map(|(now, then)| now.saturating_sub(then).as_secs_f64());
        Generator {
            receive_lag: self.probe.as_ref().and_then(|probe| Timing::from_histogram(&probe.lag())),
            blocking: self.blocking(),
            starved_seconds: starved().saturating_sub(self.starved).as_secs_f64(),
            cpu_seconds: cpu,
        }
    }

    /// The generator's own stalls since.
    fn blocking(&self) -> Blocking {
        let Some(scope) = SCOPE.get() else { return Blocking::default() };
        let stalls = scope.stalls(Some(self.at)).stalls;
        let seconds = |stall: &loopscope::Stall| {
            let end = stall.end_unix_ns.unwrap_or(stall.start_unix_ns);
            Duration::from_nanos(end.saturating_sub(stall.start_unix_ns)).as_secs_f64()
        };
        let seconds: Vec<f64> = stalls.iter().filter(|stall| stall.finding.is_some()).map(seconds).collect();
        let worst = scope.findings().findings.into_iter().next();
        let site = worst.filter(|_| !seconds.is_empty()).and_then(|finding| finding.site);
        Blocking {
            events: seconds.len() as u64,
            seconds: seconds.iter().sum(),
            longest_seconds: seconds.iter().copied().fold(0.0, f64::max),
            worst_site: site.map(|site| site.function),
        }
    }
}

fn starved() -> Duration {
    SCOPE.get().map(|scope| scope.snapshot().starved).unwrap_or_default()
}

/// CPU time of this process.
#[cfg(unix)]
fn cpu() -> Option<Duration> {
    use rustix::time::{ClockId, clock_gettime};
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Some(Duration::new(u64::try_from(time.tv_sec).ok()?, u32::try_from(time.tv_nsec).ok()?))
}

#[cfg(not(unix))]
const fn cpu() -> Option<Duration> {
    None
}
