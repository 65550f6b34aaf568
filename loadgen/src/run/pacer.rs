//! The thread that sends: on schedule, never waiting for the server.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use tokio::sync::oneshot;

use crate::plan::{Action, Due};
use crate::record::{Bins, Shared, count, histogram};

/// The longest sleep at a stretch, so that a halt is soon seen.
const NAP: Duration = Duration::from_millis(20);

/// What became of a command whose time had come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sent {
    /// It is with the kernel, or with whoever sends it next.
    Now,
    /// The server is slow to read; it waits in the outbox.
    Queued,
    /// Too much waits already; it is skipped.
    Skipped,
    /// The connection is gone.
    Closed,
}

/// Where due commands go: one for each protocol.
pub(crate) trait Outlet: Send + 'static {
    /// How many there are to send from.
    fn senders(&self) -> usize;

    /// Sends what is due, now that it is `lag_ns` late, without waiting.
    fn send(&mut self, shared: &Shared, due: &Due, lag_ns: u64) -> Sent;

    /// Whether this is the moment of sending. If not, whoever sends records
    /// how late it was.
    fn sends_at_once(&self) -> bool {
        true
    }
}

/// How often one command was planned, and what became of it.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Tried {
    /// Its time had come.
    pub(crate) planned: u64,
    /// It was sent.
    pub(crate) sent: u64,
    /// It was not: the connection was gone, or its outbox full.
    pub(crate) skipped: u64,
}

impl Tried {
    const fn add(self, other: Self) -> Self {
        Self {
            planned: self.planned + other.planned,
            sent: self.sent + other.sent,
            skipped: self.skipped + other.skipped,
        }
    }
}

/// What the pacer did.
#[derive(Debug)]
pub(crate) struct Pace {
    /// How late each command was sent.
    pub(crate) lag: Histogram<u64>,
    /// By command, as in [`Action::ALL`].
    pub(crate) tried: [Tried; Action::ALL.len()],
    /// By stage of the plan.
    pub(crate) stages: Vec<Tried>,
    /// Over time.
    pub(crate) timeline: Vec<Tried>,
    bins: Bins,
}

impl Pace {
    /// Nothing sent.
    pub(crate) fn none(shared: &Shared) -> Self {
        let stages = vec![Tried::default(); shared.plan.stages.all().len()];
        let bins = Bins::of(shared.plan.duration());
        let timeline = vec![Tried::default(); bins.count()];
        Self { lag: histogram(), tried: [Tried::default(); Action::ALL.len()], stages, timeline, bins }
    }

    /// All commands together.
    pub(crate) fn total(&self) -> Tried {
        self.stages.iter().fold(Tried::default(), |sum, &tried| sum.add(tried))
    }
}

/// Starts the pacer on a thread of its own, where neither timers' ticks nor
/// received messages delay it. It ends with the schedule, or when halted.
pub(crate) fn start(
    shared: &Arc<Shared>,
    outlet: impl Outlet,
    halt: Arc<AtomicBool>,
) -> std::io::Result<oneshot::Receiver<Pace>> {
    let (done, result) = oneshot::channel();
    let pacer = Pacer { shared: Arc::clone(shared), outlet, pace: Pace::none(shared) };
    thread::Builder::new().name("pacer".into()).spawn(move || {
        let _ = done.send(pacer.run(&halt));
    })?;
    Ok(result)
}

struct Pacer<O> {
    shared: Arc<Shared>,
    outlet: O,
    pace: Pace,
}

impl<O: Outlet> Pacer<O> {
    fn run(mut self, halt: &AtomicBool) -> Pace {
        let start = self.shared.begin();
        for due in self.shared.plan.schedule(self.outlet.senders()) {
            if !sleep_until(start + Duration::from_nanos(due.at_ns), halt) {
                break;
            }
            self.send(&due);
        }
        self.pace
    }

    fn send(&mut self, due: &Due) {
        count(&self.shared.live.planned, 1);
        let lag = self.shared.since_start(Instant::now()).saturating_sub(due.at_ns);
        if self.outlet.sends_at_once() {
            self.pace.lag.saturating_record(lag.max(1));
        }
        let tried = match self.outlet.send(&self.shared, due, lag) {
            Sent::Now | Sent::Queued => {
                count(&self.shared.live.sent, 1);
                Tried { planned: 1, sent: 1, skipped: 0 }
            }
            Sent::Skipped | Sent::Closed => Tried { planned: 1, sent: 0, skipped: 1 },
        };
        for sum in [
            &mut self.pace.tried[due.action.index()],
            &mut self.pace.timeline[self.pace.bins.index(due.at_ns)],
            &mut self.pace.stages[self.shared.plan.stages.index_at(due.at_ns)],
        ] {
            *sum = sum.add(tried);
        }
    }
}

/// Whether `instant` was reached before a halt.
fn sleep_until(instant: Instant, halt: &AtomicBool) -> bool {
    loop {
        if halt.load(Ordering::Relaxed) {
            return false;
        }
        let left = instant.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return true;
        }
        thread::sleep(left.min(NAP));
    }
}
