//! Polls that are recorded only in part, because they read no clock, or not at
//! all, because the recorder was paused when they began.

use crate::record::clock::Ticks;
#[cfg(tokio_unstable)]
use crate::record::fast_poll;
use crate::record::flight_recorder::PastPoll;
use crate::record::long_events::LongEvent;
use crate::record::poll_stack::{EndedPoll, PollSource, PollStack};
use crate::record::slot::{ActivePoll, UNTIMED};

impl PollStack {
    /// Ends a poll that has read no clock. It reads the clock now only if the
    /// watchdog has found the poll in progress.
    #[inline]
    pub(super) fn end_untimed(&self) -> Option<EndedPoll> {
        let worker = &*self.worker;
        let ended = match worker.slot.own_poll_found_at() {
            None => {
                worker.slot.finish();
                None
            }
            Some(found_at) => Some(self.end_found(found_at)),
        };
        worker.counters.polls.add(1);
        self.source.set(PollSource::NoPoll);
        if self.is_nested.get() {
            self.resume_suspended(self.recorder.clock.ticks());
        }
        ended
    }

    /// Ends a poll that the watchdog has found. Its time is counted from then
    /// on, and it is kept only if that time passes the threshold.
    #[cold]
    fn end_found(&self, found_at: Ticks) -> EndedPoll {
        let now = self.recorder.clock.ticks();
        let taken_over_at = self.worker.taken_over_at();
        let end = taken_over_at.unwrap_or(now);
        let ActivePoll { seq, is_untimed, task, kind, .. } = self.worker.slot.end();
        let nanos = self.recorder.clock.nanos(found_at, end);
        if nanos >= self.recorder.threshold_nanos {
            self.worker.flight.push(PastPoll { start: found_at, end, kind });
            self.worker.events.push(LongEvent::Poll { seq, start: found_at, is_untimed, end, task, kind });
        }
        EndedPoll { kind, nanos, is_taken_over: taken_over_at.is_some() }
    }

    /// Takes over the poll in progress in the slot from
    /// [`fast_poll`](crate::record::fast_poll).
    #[cfg(tokio_unstable)]
    pub(super) fn adopt_fast_poll(&self) {
        let slot = self.worker.slot;
        slot.set_kind(self.recorder.with_kind(slot.own_poll()).kind);
        self.source.set(PollSource::Hook(self.hook_id.get()));
    }

    /// Makes the thread ready for fast polls of the hooks `hook_id`, if no poll
    /// is in progress here.
    #[cfg(tokio_unstable)]
    pub(crate) fn make_ready_for_fast_polls(&self, hook_id: u32) {
        let is_empty = self.source.get() == PollSource::NoPoll && self.unrecorded_polls.get() == 0;
        if is_empty && self.hook_id.get() == hook_id && self.worker.taken_over_at().is_none() {
            fast_poll::make_ready(hook_id, Some(self.worker.slot));
        }
    }

    /// Notes that a poll begins which is not recorded: the recorder is paused.
    /// Polls that begin inside it after the pause are recorded.
    #[inline]
    pub(crate) fn skip(&self) {
        if self.source.get() == PollSource::NoPoll {
            self.source.set(PollSource::Skipped);
        } else {
            self.nested_began_at.set(self.began_at());
            self.is_nested.set(true);
            self.unrecorded_polls.set(self.unrecorded_polls.get().saturating_add(1));
        }
    }

    /// Forgets the skipped poll in progress, and all inside it.
    pub(crate) fn forget_skipped(&self) {
        if self.source.get() == PollSource::Skipped {
            self.source.set(PollSource::NoPoll);
            self.unrecorded_polls.set(0);
            self.is_nested.set(false);
        }
    }

    /// Returns whether the innermost poll is recorded, if there is one.
    pub(crate) fn is_innermost_recorded(&self) -> bool {
        self.unrecorded_polls.get() == 0 && self.source.get() != PollSource::Skipped
    }

    /// Ends the innermost poll if it is not recorded.
    #[cold]
    pub(super) fn end_unrecorded(&self) {
        match self.unrecorded_polls.get() {
            0 => self.forget_skipped(),
            unrecorded => self.unrecorded_polls.set(unrecorded - 1),
        }
    }

    /// Ends the poll in progress in the slot, because a nested one begins at
    /// `now`. Its part until then counts as busy time.
    pub(super) fn end_before_nested(&self, now: Ticks) -> ActivePoll {
        if self.source() == PollSource::Skipped {
            return ActivePoll::default();
        }
        let poll = self.worker.slot.end();
        if self.is_in_poll() && !poll.is_untimed {
            let now = if now == UNTIMED { self.recorder.clock.ticks() } else { now };
            self.worker.counters.busy_nanos.add(self.recorder.clock.nanos(poll.start, now));
        }
        poll
    }
}
