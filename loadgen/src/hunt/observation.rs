//! Observes what the server's own loopscope finds during a run.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use loopscope::{FindingsDocument, StallsDocument};

use super::clock::{Alignment, Exchange};
use super::collector::Collector;
use super::coverage::{self, TasksDocument};
use super::explain::explain;
use super::findings_delta;
use super::telemetry::Telemetry;
use crate::record::SlowWaits;
use crate::report::{Clock, Tail, TaskPolls};
use crate::unix_time;

/// Minimum time to wait for the server to add its last stalls to the findings.
/// The server adds its first stall only after it has read its debug
/// information.
const MIN_SETTLE_TIME: Duration = Duration::from_secs(1);

/// Time between two checks whether the findings still change.
const SETTLE_POLL_INTERVAL: Duration = Duration::from_millis(250);

/// Maximum time to wait. If the server has other clients as well, its findings
/// may change all the time.
const MAX_SETTLE_TIME: Duration = Duration::from_secs(4);

/// The result of an observation.
#[derive(Debug)]
pub(crate) struct ObservationResult {
    /// The blocking calls, the most harmful one first.
    pub(crate) findings: FindingsDocument,
    /// The stalls.
    pub(crate) stalls: StallsDocument,
    /// How long the observation lasted.
    pub(crate) seconds: f64,
    /// Which tasks were polled; `None` if the server does not report it.
    pub(crate) polled: Option<Vec<TaskPolls>>,
    /// The server's clock relative to this machine's.
    pub(crate) clock: Clock,
    /// What the slow deliveries waited for; `None` if no deliveries were
    /// measured.
    pub(crate) tail: Option<Tail>,
    /// What the slow logins waited for; `None` if no connection was ready.
    pub(crate) login_tail: Option<Tail>,
}

/// An observation in progress.
#[derive(Debug)]
pub(crate) struct Observation {
    telemetry: Telemetry,
    before: FindingsDocument,
    tasks: Option<TasksDocument>,
    first_exchange: Exchange,
    since: Instant,
    collector: Collector,
}

impl Observation {
    /// Starts an observation. Earlier findings do not count.
    pub(crate) async fn start(url: &str) -> anyhow::Result<Self> {
        let telemetry = Telemetry::from_url(url)?;
        let first_exchange = telemetry.time().await?;
        let before = telemetry.findings().await?;
        let tasks = telemetry.tasks().await;
        let collector =
            Collector::start(telemetry.clone(), unix_time::from_nanos(first_exchange.server_unix_ns))
                .context("the thread that collects stalls cannot be started")?;
        Ok(Self { telemetry, before, tasks, first_exchange, since: Instant::now(), collector })
    }

    /// Returns how many findings there are so far, about once a second.
    pub(crate) fn finding_count(&self) -> Arc<AtomicUsize> {
        self.collector.finding_count()
    }

    /// Returns the findings when they no longer change.
    async fn settled(&self) -> anyhow::Result<FindingsDocument> {
        let started = Instant::now();
        tokio::time::sleep(MIN_SETTLE_TIME).await;
        let mut findings = self.telemetry.findings().await?;
        while started.elapsed() < MAX_SETTLE_TIME {
            tokio::time::sleep(SETTLE_POLL_INTERVAL).await;
            let later = self.telemetry.findings().await?;
            let is_settled = is_settled(&findings, &later);
            findings = later;
            if is_settled {
                break;
            }
        }
        Ok(findings)
    }

    /// Ends the observation. Returns what was found since the start, and how it
    /// explains the slow deliveries and the slow logins.
    pub(crate) async fn finish(
        self,
        slow: Option<&SlowWaits>,
        slow_logins: Option<&SlowWaits>,
    ) -> anyhow::Result<ObservationResult> {
        let seconds = self.since.elapsed().as_secs_f64();
        let settled = self.settled().await?;
        let clock = Alignment::new(self.first_exchange, self.telemetry.time().await?);
        let mut findings = findings_delta::between(&self.before, settled, clock.has_restarted());
        let after = self.telemetry.tasks().await;
        let polled = self.tasks.zip(after).map(|(before, after)| coverage::polled(&before, &after));
        let mut collected = self.collector.stop().await;
        let mut stalls =
            self.telemetry.stalls(unix_time::from_nanos(self.first_exchange.server_unix_ns)).await?;
        collected.add(std::mem::take(&mut stalls.stalls), stalls.scope_start);
        stalls.stalls = collected.into_all();
        let explained = |slow| explain(slow, &stalls.stalls, &findings, &clock);
        let (tail, login_tail) = (slow.map(explained), slow_logins.map(explained));
        // The harm to deliveries counts first.
        for tail in login_tail.iter().chain(&tail) {
            sort_by_harm(&mut findings, tail);
        }
        let clock = Clock::from(&clock);
        Ok(ObservationResult { findings, stalls, seconds, polled, clock, tail, login_tail })
    }
}

/// Returns whether nothing was added between two samples.
fn is_settled(a: &FindingsDocument, b: &FindingsDocument) -> bool {
    let stalls = |document: &FindingsDocument| {
        let findings = document.findings.iter();
        (findings.map(|finding| finding.count).sum::<u64>(), document.dropped, document.starved.count)
    };
    stalls(a) == stalls(b)
}

/// Sorts the findings by their share of the time that the slow ones waited.
/// The order of findings with equal shares stays.
fn sort_by_harm(findings: &mut FindingsDocument, tail: &Tail) {
    let share = |id: &str| tail.findings.iter().find(|share| share.id == id).map_or(0.0, |share| share.share);
    findings.findings.sort_by(|a, b| share(&b.id).total_cmp(&share(&a.id)));
}
