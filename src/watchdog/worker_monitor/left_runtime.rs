//! Finds threads that have left the runtime that they drove.
//!
//! No hook tells that a thread leaves `block_on`. A thread in `block_on` parks
//! or polls. If it does neither for some time, it has left, or the root future,
//! which no hook reports, keeps it. In both cases the handle of the runtime is
//! released; the next park takes it again.

use std::time::{Duration, Instant};

use crate::record::recorder::Recorder;
use crate::record::runtimes::Membership;
use crate::record::worker::Worker;

/// A thread that neither parks nor polls for this time has left its runtime.
/// The watchdog does not sleep before: see [`QuietTime::is_undecided`].
const LEFT_AFTER: Duration = Duration::from_millis(500);

/// The time in which a thread has neither parked nor polled.
#[derive(Debug, Default)]
pub(super) struct QuietTime {
    /// The counts of polls and unparks, which do not change in this time.
    counts: (u64, u64),
    since: Option<Instant>,
    is_undecided: bool,
}

impl QuietTime {
    /// Returns whether later passes must find out whether the thread has left.
    pub(super) fn is_undecided(&self) -> bool {
        self.is_undecided
    }

    /// Adds what this pass has found. Releases the runtime of a thread that has
    /// left it.
    pub(super) fn update(&mut self, worker: &Worker, is_polling: bool, recorder: &Recorder) {
        self.is_undecided = false;
        let of_block_on = worker.runtime.as_ref().filter(|known| known.membership == Membership::BlockOn);
        let Some(runtime) = of_block_on.filter(|known| known.is_inside()) else { return };
        let counts = (worker.totals().polls, worker.counters.unparks.get());
        if is_polling || worker.slot.is_idle() || counts != self.counts {
            *self = Self { counts, since: None, is_undecided: !worker.slot.is_idle() };
            return;
        }
        self.is_undecided = true;
        let now = Instant::now();
        if now.duration_since(*self.since.get_or_insert(now)) >= LEFT_AFTER {
            self.since = None;
            self.is_undecided = false;
            drop(recorder.runtimes.leave(runtime));
        }
    }
}
