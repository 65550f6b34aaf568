//! A thread at its worker: begins and ends polls there, one inside another too.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::compiler_fence;
use std::task::Waker;

use crate::record::clock::Ticks;
use crate::record::flight_recorder::PastPoll;
use crate::record::kinds::KindId;
use crate::record::long_events::LongEvent;
use crate::record::recorder::Recorder;
use crate::record::slot::ActivePoll;
use crate::record::worker::Worker;

/// Who began a poll, and so who ends it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PollSource {
    /// No poll is in progress.
    Nobody,
    /// The hooks of one call of `watch`.
    #[cfg_attr(not(tokio_unstable), allow(dead_code))]
    Hook(u32),
    /// A named future itself.
    Future,
    /// The thread's own hooks, where no hook sees the polls: what runs from its
    /// unpark to its park.
    Thread,
}

/// Which waker: one that will wake the same task has the same id.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct WakerId {
    data: usize,
    vtable: usize,
}

impl WakerId {
    #[inline]
    pub(crate) fn of(waker: &Waker) -> Self {
        Self { data: waker.data().addr(), vtable: std::ptr::from_ref(waker.vtable()).addr() }
    }
}

/// Polls inside one another that are told apart: a runtime in a
/// `block_in_place`, a `LocalSet` in a root future. What is deeper counts as
/// part of the innermost.
const DEPTH: usize = 4;

/// A poll that stands still while one inside it goes on.
#[derive(Debug, Clone, Copy)]
struct SuspendedPoll {
    poll: ActivePoll,
    began: Ticks,
    by: PollSource,
}

/// Ties a thread to its worker; dropped as the thread ends.
pub(crate) struct PollStack {
    pub(crate) recorder: Arc<Recorder>,
    pub(crate) worker: Arc<Worker>,
    runtime: Option<tokio::runtime::Id>,
    by: Cell<PollSource>,
    /// What the innermost named future is polled with.
    pub(crate) polled_with: Cell<WakerId>,
    /// When the poll in progress began. Its slot may have a later start: the
    /// watchdog is to see only the time since the last poll inside it.
    began: Cell<Ticks>,
    outer: [Cell<Option<SuspendedPoll>>; DEPTH],
    depth: Cell<usize>,
    /// Polls in progress that are too deep.
    uncounted: Cell<u32>,
}

/// A poll that has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct EndedPoll {
    pub(crate) kind: KindId,
    pub(crate) nanos: u64,
}

impl PollStack {
    pub(crate) fn new(
        recorder: Arc<Recorder>,
        worker: Arc<Worker>,
        runtime: Option<tokio::runtime::Id>,
    ) -> Self {
        Self {
            recorder,
            worker,
            runtime,
            by: Cell::new(PollSource::Nobody),
            polled_with: Cell::default(),
            began: Cell::new(0),
            outer: Default::default(),
            depth: Cell::new(0),
            uncounted: Cell::new(0),
        }
    }

    /// Who began the poll in progress.
    #[inline]
    pub(crate) fn by(&self) -> PollSource {
        self.by.get()
    }

    /// Begins a poll, inside the one in progress if there is one.
    #[inline]
    pub(crate) fn begin(&self, now: Ticks, task: u64, kind: KindId, by: PollSource) {
        if self.by.get() != PollSource::Nobody && !self.nest() {
            return;
        }
        self.by.set(by);
        self.began.set(now);
        self.worker.slot.begin(now, task, kind);
    }

    /// Puts the poll in progress aside, unless that is too deep.
    #[cold]
    fn nest(&self) -> bool {
        let depth = self.depth.get();
        if depth == DEPTH {
            self.uncounted.set(self.uncounted.get().saturating_add(1));
            return false;
        }
        let poll = self.worker.slot.end();
        self.outer[depth].set(Some(SuspendedPoll { poll, began: self.began.get(), by: self.by.get() }));
        self.depth.set(depth + 1);
        true
    }

    /// Ends the poll in progress and records it, if it is `by` that began it.
    #[inline]
    pub(crate) fn end(&self, by: PollSource) -> Option<EndedPoll> {
        if self.uncounted.get() > 0 {
            self.uncounted_ends();
            return None;
        }
        if self.by.get() != by {
            return None;
        }
        let worker = &*self.worker;
        let clock = &self.recorder.clock;
        let now = clock.ticks();
        // A worker that went on elsewhere was held for only so long.
        let end = worker.handed_over_at().unwrap_or(now);
        let poll = worker.slot.end();
        let nanos = clock.nanos(self.began.get(), end);
        worker.cell(poll.kind).poll_time.record(nanos, &worker.carried);
        worker.polls.add(1);
        if nanos >= self.recorder.notable_nanos {
            self.notable_poll(poll, end);
        }
        self.by.set(PollSource::Nobody);
        if self.depth.get() == 0 {
            worker.busy_nanos.add(nanos);
        } else {
            self.unnest(now);
        }
        Some(EndedPoll { kind: poll.kind, nanos })
    }

    /// Ends what [`PollSource::Thread`] began: it was no poll, so nothing is recorded.
    pub(crate) fn abandon(&self, by: PollSource) {
        if self.by.get() == by {
            self.worker.slot.end();
            self.by.set(PollSource::Nobody);
            if self.depth.get() > 0 {
                self.unnest(self.recorder.clock.ticks());
            }
        }
    }

    #[cold]
    fn uncounted_ends(&self) {
        self.uncounted.set(self.uncounted.get() - 1);
    }

    /// Goes on with the poll that was put aside last.
    #[cold]
    fn unnest(&self, now: Ticks) {
        let depth = self.depth.get() - 1;
        self.depth.set(depth);
        if let Some(SuspendedPoll { poll, began, by }) = self.outer[depth].take() {
            self.worker.slot.resume(now, poll);
            self.by.set(by);
            self.began.set(began);
        }
    }

    /// When the poll in progress began, and of which task it is.
    #[inline]
    pub(crate) fn poll_began(&self) -> (Ticks, u64) {
        (self.began.get(), self.worker.slot.task())
    }

    /// How long the poll in progress has lasted.
    pub(crate) fn poll_nanos(&self) -> u64 {
        self.recorder.clock.nanos(self.began.get(), self.recorder.clock.ticks())
    }

    /// Wakes the watchdog if it sleeps, from a thread that no hook tells awake.
    /// The poll has begun in the slot; that the watchdog sees it, or this
    /// thread the flag, is the watchdog's care: see `Doze`.
    #[inline]
    pub(crate) fn wakes_watchdog(&self) {
        compiler_fence(SeqCst);
        self.recorder.idle_park.wake();
    }

    /// A poll to be kept; long if its own part, since the last poll inside it,
    /// was long.
    #[cold]
    fn notable_poll(&self, poll: ActivePoll, end: Ticks) {
        let ActivePoll { seq, start, task, kind, .. } = poll;
        self.worker.flight.push(PastPoll { start: self.began.get(), end, kind });
        if self.recorder.clock.nanos(start, end) >= self.recorder.threshold_nanos {
            self.worker.events.push(LongEvent::Poll { seq, start, end, task, kind });
        }
    }

    /// Records that a ready task waited for the poll that begins at `now`.
    #[inline]
    pub(crate) fn waited(&self, nanos: u64, now: Ticks, task: u64, kind: KindId) {
        let worker = &*self.worker;
        worker.cell(kind).schedule_delay.record(nanos, &worker.carried);
        if nanos >= self.recorder.threshold_nanos {
            worker.events.push(LongEvent::Wait { nanos, end: now, task });
        }
    }
}

impl Drop for PollStack {
    fn drop(&mut self) {
        self.recorder.retire(Arc::clone(&self.worker));
        if let Some(runtime) = self.runtime {
            self.recorder.runtimes.leave(runtime);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::record::runtimes::WorkerLabel;

    fn polls(threshold: Duration) -> PollStack {
        let recorder = Arc::new(Recorder::new(threshold));
        let worker = recorder.register(WorkerLabel { runtime: String::new(), worker: "0".to_owned() }, false);
        PollStack::new(recorder, worker, None)
    }

    fn events(polls: &PollStack) -> Vec<LongEvent> {
        polls.worker.events.drain().collect()
    }

    #[test]
    fn a_poll_is_recorded_under_its_kind_and_a_long_one_is_an_event() {
        let quick = polls(Duration::from_secs(60));
        let kind = KindId::from_u32(3);
        quick.begin(quick.recorder.clock.ticks(), 7, kind, PollSource::Hook(1));
        assert_eq!(quick.end(PollSource::Hook(2)), None, "somebody else's");
        assert_eq!(quick.end(PollSource::Hook(1)).map(|ended| ended.kind), Some(kind));
        assert_eq!(quick.end(PollSource::Hook(1)), None, "has ended");
        assert!(events(&quick).is_empty());
        let slow = polls(Duration::ZERO);
        slow.begin(slow.recorder.clock.ticks(), 8, kind, PollSource::Future);
        slow.end(PollSource::Future);
        assert!(matches!(events(&slow)[..], [LongEvent::Poll { task: 8, .. }]));
        assert_eq!(slow.worker.polls.get(), 1);
    }

    #[test]
    fn a_poll_inside_a_poll_is_its_own_and_its_time_is_busy_once() {
        let polls = polls(Duration::ZERO);
        let [root, task] = [1, 2].map(KindId::from_u32);
        let spin = |nanos| {
            let clock = &polls.recorder.clock;
            let begin = clock.ticks();
            while clock.nanos(begin, clock.ticks()) < nanos {}
        };
        polls.begin(polls.recorder.clock.ticks(), 1, root, PollSource::Future);
        let first = polls.worker.slot.active().unwrap();
        spin(200_000);
        polls.begin(polls.recorder.clock.ticks(), 2, task, PollSource::Future);
        assert_eq!(polls.worker.slot.active().unwrap().kind, task);
        spin(200_000);
        let inner = polls.end(PollSource::Future).unwrap();
        let resumed = polls.worker.slot.active().unwrap();
        assert_eq!((resumed.kind, resumed.task), (root, 1));
        assert!(resumed.seq != first.seq && resumed.start > first.start);
        let outer = polls.end(PollSource::Future).unwrap();
        assert_eq!((inner.kind, outer.kind), (task, root));
        assert!(outer.nanos >= inner.nanos + 200_000, "all of it");
        assert_eq!(polls.worker.busy_nanos.get(), outer.nanos);
        let starts: Vec<_> = events(&polls)
            .into_iter()
            .map(|event| match event {
                LongEvent::Poll { start, .. } => start,
                LongEvent::Wait { .. } => unreachable!(),
            })
            .collect();
        assert_eq!(starts[1], resumed.start, "the outer one only for its own part");
    }

    #[test]
    fn what_is_too_deep_is_part_of_the_innermost() {
        let polls = polls(Duration::from_secs(60));
        for depth in 0..10_u32 {
            polls.begin(polls.recorder.clock.ticks(), 0, KindId::from_u32(depth + 1), PollSource::Future);
        }
        let ended: Vec<_> =
            (0..10).filter_map(|_| polls.end(PollSource::Future)).map(|e| e.kind.as_u32()).collect();
        assert_eq!(ended, [5, 4, 3, 2, 1]);
        assert_eq!(polls.by(), PollSource::Nobody);
        assert_eq!(polls.worker.slot.active(), None);
    }

    #[test]
    fn a_poll_that_left_its_worker_ends_there() {
        let polls = polls(Duration::from_secs(60));
        let clock = &polls.recorder.clock;
        let begin = clock.ticks();
        polls.begin(begin, 1, KindId::OTHER, PollSource::Hook(1));
        let taken = clock.ticks();
        polls.worker.hand_over(taken);
        assert_eq!(polls.worker.active(), None);
        while clock.nanos(taken, clock.ticks()) < 1_000_000 {}
        assert_eq!(polls.end(PollSource::Hook(1)).unwrap().nanos, clock.nanos(begin, taken));
    }
}
