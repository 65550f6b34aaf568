//! Monitors the generator itself, so that its own lateness is not attributed to
//! the server.

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

/// The loopscope of this process. It is never replaced, because the hooks of a
/// runtime stay installed for the lifetime of the runtime.
static SCOPE: OnceLock<Scope> = OnceLock::new();

/// Builds the runtime that runs the clients, monitored by loopscope. If
/// `metrics` is an address, loopscope's telemetry thread serves the metrics
/// there, including those of the run.
///
/// # Errors
///
/// If the runtime cannot be built, the metrics cannot be served, or a
/// `LOOPSCOPE_…` environment variable has an invalid value.
pub(crate) fn runtime(threads: usize, metrics: Option<SocketAddr>) -> anyhow::Result<Runtime> {
    let mut scope = Scope::builder().terminal(loopscope::Terminal::Never);
    if let Some(address) = metrics {
        let registry = metrics::registry().context("--metrics cannot be served")?;
        scope = scope.telemetry(address).registry(registry);
    }
    let scope = scope.start().context("the generator cannot monitor its own event loop")?;
    if let Some(address) = scope.telemetry_address() {
        eprintln!("metrics: http://{address}/metrics");
    }
    let scope = SCOPE.get_or_init(|| scope);
    let mut builder = Builder::new_multi_thread();
    scope.watch(builder.worker_threads(threads).enable_all());
    builder.build().context("the runtime cannot be started")
}

/// Collects the generator's own figures from a start time on.
#[derive(Debug)]
pub(crate) struct SelfMonitor {
    start: SystemTime,
    probe: Option<ReceiveLagProbe>,
    starved_at_start: Duration,
    cpu_at_start: Option<Duration>,
}

impl SelfMonitor {
    /// Starts now, with a probe of the receive lag.
    pub(crate) fn start() -> Self {
        Self {
            start: SystemTime::now(),
            probe: ReceiveLagProbe::start(),
            starved_at_start: starved(),
            cpu_at_start: cpu(),
        }
    }

    /// Returns the figures since the start.
    pub(crate) fn figures(&self) -> Generator {
        let cpu = cpu().zip(self.cpu_at_start).map(|(now, then)| now.saturating_sub(then).as_secs_f64());
        Generator {
            receive_lag: self.probe.as_ref().and_then(|probe| Timing::from_histogram(&probe.lag())),
            blocking: self.blocking(),
            starved_seconds: starved().saturating_sub(self.starved_at_start).as_secs_f64(),
            cpu_seconds: cpu,
        }
    }

    /// Returns the generator's own stalls since the start. The worst site is
    /// that of all stalls of this process, including those before the start.
    fn blocking(&self) -> Blocking {
        let Some(scope) = SCOPE.get() else { return Blocking::default() };
        let stalls = scope.stalls(Some(self.start)).stalls;
        let seconds = |stall: &loopscope::Stall| {
            let end = stall.end.unwrap_or(stall.start);
            end.duration_since(stall.start).unwrap_or_default().as_secs_f64()
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

/// Returns the CPU time of this process.
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
