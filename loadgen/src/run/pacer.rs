//! The thread that sends on schedule and never waits for the server.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use tokio::sync::oneshot;

use crate::outlet::{Outlet, SendOutcome};
use crate::plan::{Action, Due};
use crate::record::{Bins, RunState, count, histogram};

/// The longest sleep without a check whether the pacer must halt.
const MAX_SLEEP_BETWEEN_HALT_CHECKS: Duration = Duration::from_millis(20);

/// Counts of commands.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct SendCounts {
    /// Commands that became due.
    pub(crate) planned: u64,
    /// Commands that were sent.
    pub(crate) sent: u64,
    /// Commands that were not sent: the connection was closed, or its outbox
    /// was full.
    pub(crate) skipped: u64,
}

impl SendCounts {
    const fn add(self, other: Self) -> Self {
        Self {
            planned: self.planned + other.planned,
            sent: self.sent + other.sent,
            skipped: self.skipped + other.skipped,
        }
    }
}

/// The send lag and the counts that the pacer records.
#[derive(Debug)]
pub(crate) struct PacerFigures {
    /// The send lag of each command, in nanoseconds.
    pub(crate) lag_ns: Histogram<u64>,
    /// By action, in the order of [`Action::ALL`].
    pub(crate) by_action: [SendCounts; Action::ALL.len()],
    /// By stage of the plan.
    pub(crate) stages: Vec<SendCounts>,
    /// By bin of the run.
    pub(crate) timeline: Vec<SendCounts>,
    bins: Bins,
}

impl PacerFigures {
    /// Returns the figures of a run without commands.
    pub(crate) fn none(state: &RunState) -> Self {
        let stages = vec![SendCounts::default(); state.plan.stages.all().len()];
        let bins = Bins::new(state.plan.duration());
        let timeline = vec![SendCounts::default(); bins.count()];
        Self {
            lag_ns: histogram(),
            by_action: [SendCounts::default(); Action::ALL.len()],
            stages,
            timeline,
            bins,
        }
    }

    /// Returns the counts of all commands together.
    pub(crate) fn total(&self) -> SendCounts {
        self.stages.iter().fold(SendCounts::default(), |sum, &counts| sum.add(counts))
    }
}

/// Starts the pacer on a separate thread, where neither the resolution of the
/// runtime's timers nor received messages delay it. It ends with the schedule,
/// or when `halt` is set.
pub(crate) fn start(
    state: &Arc<RunState>,
    outlet: impl Outlet,
    halt: Arc<AtomicBool>,
) -> std::io::Result<oneshot::Receiver<PacerFigures>> {
    let (done, result) = oneshot::channel();
    let pacer = Pacer { state: Arc::clone(state), outlet, pace: PacerFigures::none(state) };
    thread::Builder::new().name("pacer".into()).spawn(move || {
        let _ = done.send(pacer.run(&halt));
    })?;
    Ok(result)
}

struct Pacer<O> {
    state: Arc<RunState>,
    outlet: O,
    pace: PacerFigures,
}

impl<O: Outlet> Pacer<O> {
    fn run(mut self, halt: &AtomicBool) -> PacerFigures {
        let start = self.state.begin();
        for due in self.state.plan.schedule(self.outlet.senders()) {
            if !sleep_until(start + Duration::from_nanos(due.at_ns), halt) {
                break;
            }
            self.send(&due);
        }
        self.pace
    }

    fn send(&mut self, due: &Due) {
        count(&self.state.live.planned, 1);
        let lag = self.state.since_start(Instant::now()).saturating_sub(due.at_ns);
        if self.outlet.sends_at_once() {
            self.pace.lag_ns.saturating_record(lag.max(1));
        }
        let counts = match self.outlet.send(&self.state, due, lag) {
            SendOutcome::Written | SendOutcome::Queued => {
                count(&self.state.live.sent, 1);
                SendCounts { planned: 1, sent: 1, skipped: 0 }
            }
            SendOutcome::Skipped | SendOutcome::Closed => SendCounts { planned: 1, sent: 0, skipped: 1 },
        };
        for sum in [
            &mut self.pace.by_action[due.action.index()],
            &mut self.pace.timeline[self.pace.bins.index(due.at_ns)],
            &mut self.pace.stages[self.state.plan.stages.index_at(due.at_ns)],
        ] {
            *sum = sum.add(counts);
        }
    }
}

/// Sleeps until `instant`. Returns whether it was reached before a halt.
fn sleep_until(instant: Instant, halt: &AtomicBool) -> bool {
    loop {
        if halt.load(Ordering::Relaxed) {
            return false;
        }
        let left = instant.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return true;
        }
        thread::sleep(left.min(MAX_SLEEP_BETWEEN_HALT_CHECKS));
    }
}
