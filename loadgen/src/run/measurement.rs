//! What a run came to, as plain data.

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime};

use super::pacer::Pace;
use super::tally::reckon;
use crate::irc::Member;
use crate::plan::{Action, Plan};
use crate::record::{FailureKind, Inbox, Shared};
use crate::report::{CommandCount, Commands, Connections, Deliveries, Load, Timing};

/// The load figures, and what keeps them from being a verdict.
#[derive(Debug)]
pub(crate) struct Measurement {
    /// The figures.
    pub(crate) load: Load,
    /// When the measuring began.
    pub(crate) started: SystemTime,
    /// Whether it was ended early by a signal.
    pub(crate) interrupted: bool,
    /// Why the run is invalid; empty if it is valid.
    pub(crate) invalid: Vec<String>,
    /// What was asked for.
    pub(crate) plan: Plan,
}

impl Measurement {
    /// Of a run that could not begin.
    pub(super) fn impossible(shared: &Shared, reason: String) -> Self {
        let mut measurement = Self::new(shared, &[], &[], &Pace::none(), Instant::now(), false, false);
        measurement.invalid = vec![reason];
        measurement
    }

    /// Of a run that ended at `end`; `alone` if no connection was left by then.
    pub(super) fn new(
        shared: &Shared,
        members: &[Member],
        inboxes: &[Inbox],
        pace: &Pace,
        end: Instant,
        alone: bool,
        interrupted: bool,
    ) -> Self {
        let start = shared.begin();
        let ended = end.saturating_duration_since(start);
        let started = SystemTime::now().checked_sub(start.elapsed()).unwrap_or(SystemTime::UNIX_EPOCH);
        let load = load(shared, members, inboxes, pace, end);
        let mut invalid = Vec::new();
        if alone {
            invalid.push(all_gone(shared, ended));
        } else if load.commands.planned == 0 {
            invalid.push(not_begun(shared, members.len(), interrupted));
        }
        invalid.extend(too_late(&shared.plan, pace));
        Self { load, started, interrupted, invalid, plan: shared.plan.clone() }
    }
}

fn load(shared: &Shared, members: &[Member], inboxes: &[Inbox], pace: &Pace, end: Instant) -> Load {
    let mut received = shared.received();
    let end_ns = shared.since_start(end);
    let tally = reckon(shared, members, inboxes, pace.total().planned, end_ns, &mut received);
    let live = shared.live.view();
    Load {
        connections: Connections {
            asked: shared.plan.connections as u64,
            joined: members.len() as u64,
            lost: (members.len() as u64).saturating_sub(live.open),
        },
        measured_seconds: measured(shared, pace, end).as_secs_f64(),
        commands: commands(shared, pace, end, received.error_replies.clone()),
        deliveries: Deliveries {
            expected: tally.expected,
            delivered: received.delivered,
            lost: tally.lost,
            duplicated: received.duplicated,
            out_of_order: received.out_of_order,
        },
        latency: Timing::of(&received.latency),
        send_lag: Timing::of(&pace.lag),
        failures: FailureKind::ALL
            .into_iter()
            .map(|kind| (kind.as_str().to_owned(), shared.failures.of(kind)))
            .collect(),
        first_failure: shared.failures.main_reason(),
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of a run are far below 2^53")]
fn commands(shared: &Shared, pace: &Pace, end: Instant, errors: BTreeMap<u16, u64>) -> Commands {
    let total = pace.total();
    let seconds = measured(shared, pace, end).as_secs_f64();
    let by_kind = Action::ALL
        .into_iter()
        .filter(|&action| shared.plan.mix.contains(action))
        .map(|action| {
            let tried = pace.tried[action.index()];
            let count = CommandCount { planned: tried.planned, sent: tried.sent, skipped: tried.skipped };
            (action.as_str().to_owned(), count)
        })
        .collect();
    Commands {
        planned: total.planned,
        sent: total.sent,
        skipped: total.skipped,
        planned_per_second: shared.plan.rate,
        sent_per_second: if seconds > 0.0 { total.sent as f64 / seconds } else { 0.0 },
        by_kind,
        error_replies: errors,
    }
}

/// How long was measured: all of the plan's duration, unless it ended early.
fn measured(shared: &Shared, pace: &Pace, end: Instant) -> Duration {
    if pace.total().planned == 0 {
        return Duration::ZERO;
    }
    end.saturating_duration_since(shared.begin()).min(shared.plan.duration)
}

fn reason(shared: &Shared) -> String {
    shared.failures.main_reason().unwrap_or_else(|| "no reason is known".to_owned())
}

fn all_gone(shared: &Shared, after: Duration) -> String {
    let seconds = after.as_secs_f64();
    let target = &shared.plan.target;
    format!("{target}: every connection was gone {seconds:.1} s into the run: {}", reason(shared))
}

fn not_begun(shared: &Shared, joined: usize, interrupted: bool) -> String {
    if interrupted {
        return "interrupted before anything was measured".to_owned();
    }
    let (target, all) = (&shared.plan.target, shared.plan.connections);
    format!("{target}: only {joined} of {all} connections could be opened: {}", reason(shared))
}

/// Why the generator's own lateness spoils the run, if it does.
fn too_late(plan: &Plan, pace: &Pace) -> Option<String> {
    let lag = Duration::from_nanos(pace.lag.value_at_quantile(0.99));
    let budget = plan.max_send_lag;
    (lag > budget).then(|| {
        let (lag, budget) = (lag.as_secs_f64() * 1e3, budget.as_secs_f64() * 1e3);
        format!(
            "the generator was late, not the server: p99 of the send lag is {lag:.1} ms, \
             above the {budget:.1} ms allowed; use a lower --rate or a machine with more free CPU"
        )
    })
}
