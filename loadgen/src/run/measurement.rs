//! The result of a run, as plain data.

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime};

use hdrhistogram::Histogram;

use super::fleet::QUIT_TIMEOUT;
use super::pacer::{PacerFigures, SendCounts};
use crate::plan::{Action, Plan, nanoseconds};
use crate::record::{Bins, FailureKind, Recorder, RunState, SlowWaits};
use crate::report::text::units::duration;
use crate::report::{
    Blocking, CommandCount, Commands, Connections, Generator, Histograms, Load, LoadTimeline, Logins, Rooms,
    SpectrumPoint, StageLoad, TimelineBin, Timing, Visitors, encode,
};
use crate::self_monitor::SelfMonitor;

/// The load figures, and the reasons if the run is invalid.
#[derive(Debug)]
pub(crate) struct Measurement {
    /// The figures.
    pub(crate) load: Load,
    /// The generator's own lateness.
    pub(crate) generator: Generator,
    /// When the measurement began.
    pub(crate) started: SystemTime,
    /// Whether a signal ended it early.
    pub(crate) interrupted: bool,
    /// Why the run is invalid; empty if it is valid.
    pub(crate) invalid: Vec<String>,
    /// The plan.
    pub(crate) plan: Plan,
    /// The slow deliveries; `None` if nothing arrived.
    pub(crate) slow: Option<SlowWaits>,
    /// The slow logins; `None` if no connection was ready.
    pub(crate) slow_logins: Option<SlowWaits>,
}

/// What happened in a run.
#[derive(Debug)]
pub(super) struct RunRecord {
    /// Number of connections that were ready.
    pub(super) joined: usize,
    /// What was sent.
    pub(super) pace: PacerFigures,
    /// What was received and what was lost.
    pub(super) received: Recorder,
    /// Clients of which it is unknown what they lost.
    pub(super) unreported_clients: usize,
    /// When the waiting for deliveries ended.
    pub(super) end: Instant,
    /// The generator's own figures from the start of the measurement to `end`.
    pub(super) generator: Generator,
    /// Whether every connection was closed by then.
    pub(super) all_closed: bool,
    /// Whether a signal ended the run.
    pub(super) interrupted: bool,
}

impl RunRecord {
    /// Returns the record of a run in which nothing has happened.
    fn without_figures(state: &RunState) -> Self {
        Self {
            joined: 0,
            pace: PacerFigures::none(state),
            received: state.received(),
            unreported_clients: 0,
            end: Instant::now(),
            generator: SelfMonitor::start().figures(),
            all_closed: false,
            interrupted: false,
        }
    }
}

impl Measurement {
    /// Returns the measurement of a run that could not start.
    pub(super) fn without_figures(state: &RunState, reason: String) -> Self {
        let mut measurement = Self::new(state, RunRecord::without_figures(state));
        measurement.invalid = vec![reason];
        measurement
    }

    /// Returns the measurement of a run.
    pub(super) fn new(state: &RunState, record: RunRecord) -> Self {
        let start = state.begin();
        let ended = record.end.saturating_duration_since(start);
        let started = SystemTime::now().checked_sub(start.elapsed()).unwrap_or(SystemTime::UNIX_EPOCH);
        let load = load(state, &record);
        let mut invalid = Vec::new();
        if record.all_closed {
            invalid.push(all_closed_text(state, ended));
        } else if load.commands.planned == 0 {
            invalid.push(not_started_text(state, record.joined, record.interrupted));
        }
        invalid.extend(unreported_text(record.unreported_clients, record.joined));
        invalid.extend(too_late(&state.plan, &load, &record.generator));
        let slow = slow(state, &record, start);
        let slow_logins = state.logins.slow(record.end);
        let (generator, interrupted) = (record.generator, record.interrupted);
        Self { load, generator, started, interrupted, invalid, plan: state.plan.clone(), slow, slow_logins }
    }
}

/// Returns the deliveries above the tightest latency objective. Without an
/// objective, returns those above the p99 of the deliveries that arrived.
fn slow(state: &RunState, record: &RunRecord, start: Instant) -> Option<SlowWaits> {
    let received = &record.received;
    let lost = received.counts().lost;
    let arrived = received.latency.len().checked_sub(lost).filter(|&arrived| arrived > 0)?;
    let (threshold, threshold_ns) = match state.plan.tightest_latency_objective() {
        Some((objective, limit)) => (objective, nanoseconds(limit)),
        None => ("p99".to_owned(), p99_of_arrived(&received.latency, arrived)),
    };
    let longer = received.latency.len() - received.latency.count_between(0, threshold_ns);
    Some(SlowWaits {
        start,
        measured_ns: nanoseconds(record.end.saturating_duration_since(start)),
        threshold_ns,
        threshold,
        count: longer.saturating_sub(lost),
        kept: received.slow.longer_than(threshold_ns),
        weight: received.slow.weight(),
    })
}

/// Returns the p99 of the deliveries that arrived. The histogram also contains
/// the lost deliveries. Their samples are at least the drain time, so they are
/// above all samples of received deliveries, except in a run that ended early.
#[expect(clippy::cast_precision_loss, reason = "counts of a run are far below 2^53")]
fn p99_of_arrived(latency: &Histogram<u64>, arrived: u64) -> u64 {
    latency.value_at_quantile(0.99 * arrived as f64 / latency.len() as f64)
}

fn load(state: &RunState, record: &RunRecord) -> Load {
    let RunRecord { joined, pace, received, end, .. } = record;
    let mut send_lag = pace.lag_ns.clone();
    // Adding cannot fail, because the bounds are equal.
    let _ = send_lag.add(&received.send_lag);
    let live = state.live.view();
    Load {
        connections: Connections {
            asked: state.plan.connections as u64,
            joined: *joined as u64,
            lost: (*joined as u64).saturating_sub(live.open),
        },
        measured_seconds: measured_duration(state, pace, *end).as_secs_f64(),
        commands: commands(state, pace, &send_lag, *end, received.error_replies.clone()),
        deliveries: received.counts().into(),
        latency: Timing::from_histogram(&received.latency),
        service: Timing::from_histogram(&received.service),
        send_lag: Timing::from_histogram(&send_lag),
        stages: stages(state, pace, received),
        rooms: Rooms::from_counts(&received.channels),
        logins: Logins::from_record(&state.logins, state.plan.storm_clients),
        visitors: Visitors::from_counts(received.visits, &received.visitors),
        spectrum: spectrum(&received.latency),
        histograms: Histograms {
            latency: encode(&received.latency),
            service: encode(&received.service),
            send_lag: encode(&send_lag),
            latency_slices: received.slices.latency().iter().map(encode).collect(),
        },
        timeline: timeline(state, pace, received),
        failures: FailureKind::ALL
            .into_iter()
            .map(|kind| (kind.as_str().to_owned(), state.failures.count_of(kind)))
            .collect(),
        first_failure: state.failures.main_reason(),
    }
}

/// Returns points of the distribution. The share of the samples above a point
/// halves every five points, so the points get closer towards the maximum.
pub(crate) fn spectrum(latency: &Histogram<u64>) -> Vec<SpectrumPoint> {
    let points = latency.iter_quantiles(5);
    points
        .map(|point| SpectrumPoint {
            quantile: point.quantile_iterated_to(),
            seconds: Duration::from_nanos(point.value_iterated_to()).as_secs_f64(),
        })
        .collect()
}

fn timeline(state: &RunState, pace: &PacerFigures, received: &Recorder) -> LoadTimeline {
    let width = Bins::new(state.plan.duration()).width();
    let timeline = &received.timeline;
    let seconds = |nanoseconds: u64| Duration::from_nanos(nanoseconds).as_secs_f64();
    let storms = state.logins.storms();
    let bin = |(bin, counts): (usize, &SendCounts)| {
        let logins = storms.timeline[bin];
        let latency = &timeline.latency[bin];
        let longest = timeline.longest_ns[bin];
        let quantile = |q| (!latency.is_empty()).then(|| seconds(latency.value_at_quantile(q).min(longest)));
        TimelineBin {
            planned: counts.planned,
            sent: counts.sent,
            delivered: timeline.delivered[bin],
            p50_seconds: quantile(0.5),
            p99_seconds: quantile(0.99),
            max_seconds: quantile(1.0).map(|_| seconds(longest)),
            logins_due: logins.due,
            login_max_seconds: (logins.due > 0).then(|| seconds(logins.longest_ns)),
        }
    };
    let bins = pace.timeline.iter().enumerate().map(bin).collect();
    LoadTimeline { bin_seconds: width.as_secs_f64(), bins }
}

/// Returns the figures of each stage.
fn stages(state: &RunState, pace: &PacerFigures, received: &Recorder) -> Vec<StageLoad> {
    let planned = state.plan.stages.all().iter();
    let outcome = pace.stages.iter().zip(&received.stages);
    planned
        .zip(outcome)
        .map(|(stage, (counts, record))| StageLoad {
            from_rate: stage.from,
            to_rate: stage.to,
            seconds: stage.duration.as_secs_f64(),
            commands: (*counts).into(),
            deliveries: record.counts.into(),
            latency: Timing::from_histogram(&record.latency),
        })
        .collect()
}

impl From<SendCounts> for CommandCount {
    fn from(counts: SendCounts) -> Self {
        Self { planned: counts.planned, sent: counts.sent, skipped: counts.skipped }
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of a run are far below 2^53")]
fn commands(
    state: &RunState,
    pace: &PacerFigures,
    send_lag: &Histogram<u64>,
    end: Instant,
    errors: BTreeMap<u16, u64>,
) -> Commands {
    let total = pace.total();
    let seconds = sending_duration(state, pace, end).as_secs_f64();
    let by_kind = Action::ALL
        .into_iter()
        .filter(|&action| state.plan.mix.contains(action))
        .map(|action| (action.as_str().to_owned(), pace.by_action[action.index()].into()))
        .collect();
    Commands {
        planned: total.planned,
        sent: total.sent,
        skipped: total.skipped,
        late: later_than(send_lag, state.plan.max_send_lag),
        planned_per_second: state.plan.stages.mean_rate(),
        sent_per_second: if seconds > 0.0 { total.sent as f64 / seconds } else { 0.0 },
        by_kind,
        error_replies: errors,
    }
}

/// Returns how many of the samples are above `limit`.
fn later_than(lag: &Histogram<u64>, limit: Duration) -> u64 {
    lag.len() - lag.count_between(0, nanoseconds(limit))
}

/// Returns the duration of the measurement: the plan's duration, unless the run
/// ended early.
fn measured_duration(state: &RunState, pace: &PacerFigures, end: Instant) -> Duration {
    if pace.total().planned == 0 {
        return Duration::ZERO;
    }
    end.saturating_duration_since(state.begin()).min(state.plan.duration())
}

/// Returns the time in which the commands were sent: the duration of the
/// measurement, unless the last command was sent after it.
fn sending_duration(state: &RunState, pace: &PacerFigures, end: Instant) -> Duration {
    measured_duration(state, pace, end).max(Duration::from_nanos(pace.last_ns))
}

fn reason(state: &RunState) -> String {
    state.failures.main_reason().unwrap_or_else(|| "the reason is unknown".to_owned())
}

fn all_closed_text(state: &RunState, after: Duration) -> String {
    let seconds = after.as_secs_f64();
    let target = &state.plan.target;
    format!(
        "{target}: every connection was closed {seconds:.1} s after the measurement began: {}",
        reason(state)
    )
}

fn not_started_text(state: &RunState, joined: usize, interrupted: bool) -> String {
    if interrupted {
        return "interrupted before anything was measured".to_owned();
    }
    let (target, all) = (&state.plan.target, state.plan.connections);
    format!("{target}: only {joined} of {all} connections could be opened: {}", reason(state))
}

/// Returns why the run is invalid if some of its clients did not report.
fn unreported_text(clients: usize, all: usize) -> Option<String> {
    (clients > 0).then(|| {
        format!(
            "{clients} of {all} clients did not report what they had received within {} after the run, so it is unknown \
             what they lost; use fewer --connections or more --threads",
            duration(QUIT_TIMEOUT.as_secs_f64())
        )
    })
}

/// The largest share of the measured time that the generator's own stalls may
/// take.
const MAX_OWN_BLOCKING_SHARE: f64 = 0.01;

/// Returns why the generator's own lateness makes the run invalid, if it does.
fn too_late(plan: &Plan, load: &Load, generator: &Generator) -> Option<String> {
    let late = |what: &str, timing: &Option<Timing>, budget: Duration| {
        let (lag, budget) = (timing.as_ref()?.p99_seconds, budget.as_secs_f64());
        (lag > budget).then(|| {
            format!(
                "the generator was late, not the server: p99 of the {what} lag is {}, above the limit of {}; \
                 use a lower --rate or a machine with more free CPU",
                duration(lag),
                duration(budget),
            )
        })
    };
    late("send", &load.send_lag, plan.max_send_lag)
        .or_else(|| late("receive", &generator.receive_lag, plan.max_receive_lag))
        .or_else(|| blocked(plan, load, &generator.blocking))
}

/// Returns an error text if the generator's own stalls took more than
/// [`MAX_OWN_BLOCKING_SHARE`] of the measured time.
fn blocked(plan: &Plan, load: &Load, blocking: &Blocking) -> Option<String> {
    let share = blocking.seconds / load.measured_seconds.max(f64::MIN_POSITIVE);
    let is_long = blocking.longest_seconds > plan.max_receive_lag.as_secs_f64();
    (share > MAX_OWN_BLOCKING_SHARE && is_long).then(|| {
        let site = blocking.worst_site.as_deref().unwrap_or("an unknown function");
        let seconds = duration(blocking.seconds);
        format!("the generator's own event loop was blocked for {seconds} in all, mostly in {site}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_late_does_not_raise_the_rate() {
        let state = RunState::new(Plan::from_flags(&["--rate", "10", "--duration", "1s"]));
        let end = state.begin() + Duration::from_secs(60);
        let mut pace = PacerFigures::none(&state);
        pace.stages[0] = SendCounts { planned: 10, sent: 10, skipped: 0 };
        let mut rate = |last_ns| {
            pace.last_ns = last_ns;
            let lag = crate::record::histogram();
            commands(&state, &pace, &lag, end, BTreeMap::new()).sent_per_second
        };
        assert!((rate(900_000_000) - 10.0).abs() < 1e-9);
        assert!((rate(4_000_000_000) - 2.5).abs() < 1e-9);
    }

    #[test]
    fn clients_that_did_not_report_make_the_run_invalid() {
        let flags = ["--connections", "4", "--rooms", "1"];
        let state = RunState::new(Plan::from_flags(&flags));
        let record = RunRecord { joined: 4, unreported_clients: 3, ..RunRecord::without_figures(&state) };
        let invalid = Measurement::new(&state, record).invalid.join("; ");
        assert!(
            invalid.contains("3 of 4 clients did not report what they had received within 2 s"),
            "{invalid}"
        );
    }
}
