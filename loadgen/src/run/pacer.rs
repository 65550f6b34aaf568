//! Sends on schedule and never waits for the server.

use std::iter::Peekable;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use hdrhistogram::Histogram;
use tokio::sync::oneshot;

use super::alarm::Alarm;
use crate::outlet::{Outlet, SendOutcome};
use crate::plan::{Action, Due, Schedule};
use crate::record::{Bins, RunState, SentRequests, count, histogram};

/// The longest wait without a check whether the pacer must halt.
const MAX_WAIT_BETWEEN_HALT_CHECKS: Duration = Duration::from_millis(20);

/// The shortest wait of a pacer on the runtime: the commands that are due
/// within it are sent together. It costs them up to this much send lag, as the
/// timer slack of a thread does, and saves a timer and a wake for each of them.
const MIN_WAIT_ON_RUNTIME: Duration = Duration::from_micros(100);

/// Maximum number of commands that are sent without a wait. It lets the clients
/// run if the pacer on the runtime cannot keep up.
const MAX_BATCH: usize = 1000;

/// Counts of commands.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct SendCounts {
    /// Commands that became due.
    pub(crate) planned: u64,
    /// Commands that were sent. A request is sent when it is handed to a
    /// connection.
    pub(crate) sent: u64,
    /// Commands that were not sent: the connection was closed, its outbox was
    /// full, or no connection was free.
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
    /// When the last command was sent, in nanoseconds since the measurement
    /// began.
    pub(crate) last_ns: u64,
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
            last_ns: 0,
            bins,
        }
    }

    /// Adds the requests that connections sent. A request that was due and that
    /// no connection sent is skipped.
    pub(crate) fn add_requests(&mut self, sent: &SentRequests) {
        let add = |counts: &mut [SendCounts], sent: &[u64]| {
            for (counts, sent) in counts.iter_mut().zip(sent) {
                counts.sent += sent;
                counts.skipped = counts.planned.saturating_sub(counts.sent);
            }
        };
        add(&mut self.stages, &sent.by_stage);
        add(&mut self.timeline, &sent.by_bin);
        add(std::slice::from_mut(&mut self.by_action[Action::Get.index()]), &[sent.by_stage.iter().sum()]);
        self.last_ns = self.last_ns.max(sent.last_ns);
    }

    /// Returns the counts of all commands together.
    pub(crate) fn total(&self) -> SendCounts {
        self.stages.iter().fold(SendCounts::default(), |sum, &counts| sum.add(counts))
    }
}

/// Starts the pacer. It ends with the schedule, or when `halt` is set.
///
/// An outlet that sends at once has a separate thread, where neither the
/// resolution of the runtime's timers nor received messages delay it. Any other
/// outlet is fed on the runtime, where the clients that send run as well: a
/// wake from another thread would cost more than the request itself.
pub(crate) fn start(
    state: &Arc<RunState>,
    outlet: impl Outlet,
    halt: Arc<AtomicBool>,
) -> std::io::Result<oneshot::Receiver<PacerFigures>> {
    let (done, result) = oneshot::channel();
    let sends_at_once = outlet.sends_at_once();
    let pacer = Pacer::new(state, outlet);
    match Alarm::new() {
        Ok(alarm) if !sends_at_once => {
            tokio::spawn(async move {
                let _ = done.send(pacer.run_on_runtime(&alarm, &halt).await);
            });
        }
        _ => {
            thread::Builder::new().name("pacer".into()).spawn(move || {
                let _ = done.send(pacer.run_on_thread(&halt));
            })?;
        }
    }
    Ok(result)
}

struct Pacer<O> {
    state: Arc<RunState>,
    schedule: Peekable<Schedule>,
    outlet: O,
    pace: PacerFigures,
}

impl<O: Outlet> Pacer<O> {
    fn new(state: &Arc<RunState>, outlet: O) -> Self {
        let schedule = state.plan.schedule(outlet.senders()).peekable();
        Self { state: Arc::clone(state), schedule, outlet, pace: PacerFigures::none(state) }
    }

    fn run_on_thread(mut self, halt: &AtomicBool) -> PacerFigures {
        self.state.begin();
        while let Some(wait) = self.send_batch(halt) {
            thread::sleep(wait.min(MAX_WAIT_BETWEEN_HALT_CHECKS));
        }
        self.pace
    }

    async fn run_on_runtime(mut self, alarm: &Alarm, halt: &AtomicBool) -> PacerFigures {
        self.state.begin();
        while let Some(wait) = self.send_batch(halt) {
            let wait = wait.clamp(MIN_WAIT_ON_RUNTIME, MAX_WAIT_BETWEEN_HALT_CHECKS);
            if alarm.wait(wait).await.is_err() {
                tokio::time::sleep(wait).await;
            }
        }
        self.pace
    }

    /// Sends the commands that are due, up to [`MAX_BATCH`]. Returns the time
    /// until the next one; `None` after the last one and when `halt` is set.
    fn send_batch(&mut self, halt: &AtomicBool) -> Option<Duration> {
        for _ in 0..MAX_BATCH {
            let due = *self.schedule.peek().filter(|_| !halt.load(Ordering::Relaxed))?;
            let now_ns = self.state.now_ns();
            let left_ns = due.at_ns.saturating_sub(now_ns);
            if left_ns > 0 {
                return Some(Duration::from_nanos(left_ns));
            }
            self.schedule.next();
            self.send(&due, now_ns - due.at_ns);
        }
        Some(Duration::ZERO)
    }

    fn send(&mut self, due: &Due, lag: u64) {
        count(&self.state.live.planned, 1);
        if self.outlet.sends_at_once() {
            self.pace.lag_ns.saturating_record(lag.max(1));
        }
        self.pace.last_ns = due.at_ns + lag;
        let counts = match self.outlet.send(&self.state, due, lag) {
            // The connection that takes it from the queue counts it as sent.
            SendOutcome::Queued if !self.outlet.sends_at_once() => {
                SendCounts { planned: 1, sent: 0, skipped: 0 }
            }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Plan;

    /// A queue from which no connection has taken anything yet.
    struct Queue;

    impl Outlet for Queue {
        fn senders(&self) -> usize {
            1
        }

        fn send(&mut self, _state: &RunState, _due: &Due, _lag_ns: u64) -> SendOutcome {
            SendOutcome::Queued
        }

        fn sends_at_once(&self) -> bool {
            false
        }
    }

    #[test]
    fn a_request_is_sent_when_a_connection_takes_it() {
        let plan = Plan::from_flags(&["--rate", "1000", "--duration", "10ms", "--mix", "privmsg"]);
        let state = Arc::new(RunState::new(plan));
        let mut pace = Pacer::new(&state, Queue).run_on_thread(&AtomicBool::new(false));
        assert_eq!((pace.total().planned, pace.total().sent, state.live.view().sent), (10, 0, 0));
        state.on_send(0, 9_000_000, 70_000_000_000, 1);
        assert_eq!(state.live.view().sent, 1);
        pace.add_requests(&state.received().sent);
        assert_eq!((pace.total().sent, pace.total().skipped), (1, 9));
        assert_eq!(pace.last_ns, 70_000_000_000, "it was sent after the pacer had ended");
    }
}
