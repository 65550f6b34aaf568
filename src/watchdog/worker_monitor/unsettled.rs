//! Finds a long poll of which no report and no event says anything yet.

use crate::record::clock::Ticks;
use crate::record::slot::ActivePoll;
use crate::record::worker::Worker;
use crate::watchdog::process_clock::ProcessClock;
use crate::watchdog::worker_monitor::context::MonitorContext;

/// A poll is unsettled for this time at the most. Some polls are never reported
/// and have no event, for example one that waits for a CPU.
const MAX_UNSETTLED_NANOS: u64 = 200_000_000;

/// What the passes know about the latest poll of a worker.
#[derive(Debug, Default)]
pub(super) struct LatestPoll {
    /// The poll of the latest event.
    event_seq: Option<u64>,
    /// The latest poll that a pass has found over, and whether it may have
    /// been long. Later passes do not know for how long it has been over.
    ended: Option<(u64, bool)>,
    unsettled: Option<UnsettledPoll>,
}

#[derive(Debug, Clone, Copy)]
struct UnsettledPoll {
    seq: u64,
    start: Ticks,
    found_at: Ticks,
}

impl LatestPoll {
    pub(super) fn add_event(&mut self, seq: u64) {
        self.event_seq = Some(seq);
    }

    /// Finds whether the latest poll is unsettled. It is called at the end of a
    /// pass. `unreported` is the poll in progress, unless it was reported.
    pub(super) fn update(
        &mut self,
        worker: &Worker,
        unreported: Option<ActivePoll>,
        context: &MonitorContext<'_>,
    ) {
        let is_long = |poll: &ActivePoll| {
            context.process_clock.wall_since(poll.start) >= context.recorder.threshold_nanos
        };
        let poll = if let Some(ended) = worker.slot.last_ended() {
            let known = self.ended.filter(|(seq, _)| *seq == ended.seq);
            let (_, was_long) = *self.ended.insert(known.unwrap_or_else(|| (ended.seq, is_long(&ended))));
            // A thread parks after it has pushed the event.
            let has_event = self.event_seq == Some(ended.seq) || worker.slot.is_idle();
            let is_unsettled = was_long && !has_event && !context.recorder.has_no_end_event(&ended);
            is_unsettled.then_some(ended)
        } else {
            unreported.filter(is_long)
        };
        let known = self.unsettled;
        self.unsettled = poll.map(|ActivePoll { seq, start, .. }| {
            let new = || UnsettledPoll { seq, start, found_at: context.recorder.clock.ticks() };
            known.filter(|known| known.seq == seq).unwrap_or_else(new)
        });
    }

    /// Returns whether a poll that may be long, and that began before `time`,
    /// is neither reported nor has an event.
    pub(super) fn is_unsettled(&self, time: Ticks, clock: &ProcessClock) -> bool {
        self.unsettled
            .is_some_and(|poll| poll.start < time && clock.wall_since(poll.found_at) < MAX_UNSETTLED_NANOS)
    }
}
