//! The polls in progress on one thread. A poll may run inside another one.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::compiler_fence;
use std::task::Waker;

use tokio::runtime::{Handle, Id};

use crate::record::clock::Ticks;
#[cfg(tokio_unstable)]
use crate::record::fast_poll;
use crate::record::flight_recorder::PastPoll;
use crate::record::kinds::KindId;
#[cfg(tokio_unstable)]
use crate::record::known_locations::KnownLocations;
use crate::record::long_events::LongEvent;
use crate::record::recorder::Recorder;
use crate::record::runtimes::{self, Membership};
use crate::record::slot::{ActivePoll, UNTIMED};
use crate::record::worker::Worker;

/// What began a poll. The same source must end it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PollSource {
    /// No poll is in progress.
    NoPoll,
    /// The hooks of one call of [`Scope::watch`](crate::Scope::watch), by the
    /// id of their [`HookStatus`](crate::record::hook_status::HookStatus).
    #[cfg_attr(not(tokio_unstable), allow(dead_code))]
    Hook(u32),
    /// A named future, which records its own polls.
    Future,
    /// The park hooks of the thread, where no hook reports polls: the time from
    /// an unpark to the next park.
    Thread,
    /// A poll that began while the recorder was paused. Its slot is between two
    /// polls.
    Skipped,
}

/// What wants to record a poll on the calling thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Poller {
    /// The hooks with this id.
    Hook(u32),
    /// A named future that is polled in this runtime, as far as is known.
    Future(Option<Id>),
}

/// Identifies a waker: wakers that wake the same task have the same id.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct WakerId {
    data: usize,
    vtable: usize,
}

impl WakerId {
    #[inline]
    pub(crate) fn new(waker: &Waker) -> Self {
        Self { data: waker.data().addr(), vtable: std::ptr::from_ref(waker.vtable()).addr() }
    }
}

/// How many polls can be suspended at the same time. Polls nest, for example,
/// in a runtime inside `block_in_place` and in a `LocalSet` inside a root
/// future. A poll that is nested more deeply counts as a part of the innermost
/// recorded one.
const MAX_SUSPENDED_POLLS: usize = 4;

/// A poll that has begun and waits for a poll inside it to end.
#[derive(Debug, Clone, Copy)]
struct SuspendedPoll {
    poll: ActivePoll,
    began_at: Ticks,
    source: PollSource,
}

/// The polls in progress on a thread for one scope and one runtime, and the
/// worker that records them. Dropped when the thread ends, or earlier.
///
/// Each poll writes to it, so it shares no cache line with what other threads
/// use.
#[repr(align(128))]
pub(crate) struct PollStack {
    pub(crate) recorder: Arc<Recorder>,
    pub(crate) worker: Arc<Worker>,
    /// The hooks that report polls of this runtime; zero if they are unknown.
    pub(super) hook_id: Cell<u32>,
    pub(super) source: Cell<PollSource>,
    #[cfg(tokio_unstable)]
    pub(crate) known_locations: KnownLocations,
    /// The waker with which the innermost named future is polled.
    pub(crate) innermost_waker: Cell<WakerId>,
    /// Whether the poll in progress was suspended, or polls inside it are not
    /// recorded, or it is itself inside another one.
    pub(super) is_nested: Cell<bool>,
    /// When the poll in progress began, if `is_nested`. Its slot may contain a
    /// later start, because the watchdog must see only the time since the last
    /// nested poll ended.
    pub(super) nested_began_at: Cell<Ticks>,
    suspended: [Cell<Option<SuspendedPoll>>; MAX_SUSPENDED_POLLS],
    pub(super) depth: Cell<usize>,
    /// How many polls in progress are part of the innermost recorded or skipped
    /// one, because they are nested too deeply or the recorder is paused.
    pub(super) unrecorded_polls: Cell<u32>,
}

/// A poll that has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct EndedPoll {
    pub(crate) kind: KindId,
    pub(crate) nanos: u64,
    /// Whether another thread has taken over the worker.
    #[cfg_attr(not(tokio_unstable), allow(dead_code))]
    pub(crate) is_taken_over: bool,
}

impl PollStack {
    pub(crate) fn new(recorder: Arc<Recorder>, worker: Arc<Worker>) -> Self {
        Self {
            recorder,
            worker,
            hook_id: Cell::new(0),
            source: Cell::new(PollSource::NoPoll),
            #[cfg(tokio_unstable)]
            known_locations: KnownLocations::new(),
            innermost_waker: Cell::default(),
            is_nested: Cell::new(false),
            nested_began_at: Cell::new(0),
            suspended: Default::default(),
            depth: Cell::new(0),
            unrecorded_polls: Cell::new(0),
        }
    }

    /// Returns what began the poll in progress.
    #[inline]
    pub(crate) fn source(&self) -> PollSource {
        self.source.get()
    }

    /// Returns whether it records for the scope of `recorder`.
    #[inline]
    pub(crate) fn records_for(&self, recorder: &Recorder) -> bool {
        std::ptr::eq(&*self.recorder, recorder)
    }

    /// Returns whether the polls of `poller` are recorded here: those of the
    /// same hooks or runtime, and all that are nested in a poll.
    #[inline]
    pub(crate) fn serves(&self, recorder: &Recorder, poller: Poller) -> bool {
        let is_same = || match poller {
            Poller::Hook(id) => self.hook_id.get() == id,
            Poller::Future(runtime) => self.worker.runtime_id() == runtime,
        };
        self.records_for(recorder) && (self.is_in_poll() || (is_same() && !self.is_taken_over()))
    }

    /// Returns whether a hook or a named future has begun a poll.
    #[inline]
    pub(crate) fn is_in_poll(&self) -> bool {
        matches!(self.source.get(), PollSource::Hook(_) | PollSource::Future | PollSource::Skipped)
    }

    /// Returns whether another thread has taken over the worker, and no poll is
    /// in progress.
    #[inline]
    pub(crate) fn is_taken_over(&self) -> bool {
        self.worker.taken_over_at().is_some() && self.source.get() == PollSource::NoPoll
    }

    /// Notes that `poller` uses this from now on.
    pub(crate) fn select(&self, poller: Poller) {
        if let Poller::Hook(id) = poller {
            self.hook_id.set(id);
        }
        if let Some(runtime) = &self.worker.runtime {
            self.recorder.runtimes.enter(runtime);
        }
    }

    /// Returns when the poll in progress began.
    #[inline]
    pub(crate) fn began_at(&self) -> Ticks {
        if self.is_nested.get() { self.nested_began_at.get() } else { self.worker.slot.start() }
    }

    /// Returns whether the thread drives a current-thread runtime and has left
    /// it. `runtime` is the thread's runtime now.
    pub(crate) fn has_left(&self, runtime: Option<Id>) -> bool {
        let of_block_on =
            self.worker.runtime.as_ref().filter(|known| known.membership == Membership::BlockOn);
        !self.is_in_poll() && of_block_on.is_some_and(|known| Some(known.id) != runtime)
    }

    /// Notes that the thread has left the runtime: see [`Runtimes::leave`].
    ///
    /// [`Runtimes::leave`]: crate::record::runtimes::Runtimes::leave
    #[must_use]
    pub(crate) fn leave_runtime(&self) -> Option<Handle> {
        self.discard(PollSource::Thread);
        // A runtime that the same builder has built may call the hooks next.
        self.hook_id.set(0);
        self.worker.runtime.as_ref().and_then(|runtime| self.recorder.runtimes.leave(runtime))
    }

    /// Checks in a hook of the runtime, which is called less often than a poll
    /// begins, that the thread is in this runtime. A builder can build several,
    /// with the same hooks.
    #[inline]
    pub(crate) fn check_runtime(&self) {
        let Some(runtime) = &self.worker.runtime else { return };
        if runtime.membership == Membership::BlockOn {
            if runtimes::current_id() == Some(runtime.id) {
                self.recorder.runtimes.enter(runtime);
            } else {
                self.hook_id.set(0);
            }
        }
    }

    /// Begins a poll. If one is in progress, the new one is nested in it. `now`
    /// is [`UNTIMED`] if the poll is only to be found by the watchdog. Returns
    /// whether the poll is recorded.
    #[inline]
    pub(crate) fn begin(&self, now: Ticks, task: u64, kind: KindId, source: PollSource) -> bool {
        if self.source.get() != PollSource::NoPoll && !self.suspend(now) {
            return false;
        }
        self.source.set(source);
        self.worker.slot.begin(now, task, kind);
        true
    }

    /// Suspends the poll in progress. Returns `false` if too many are
    /// suspended, or if the one in progress is not recorded.
    #[cold]
    fn suspend(&self, now: Ticks) -> bool {
        let depth = self.depth.get();
        if depth == MAX_SUSPENDED_POLLS || self.unrecorded_polls.get() > 0 {
            self.unrecorded_polls.set(self.unrecorded_polls.get().saturating_add(1));
            return false;
        }
        let began_at = self.began_at();
        let poll = self.end_before_nested(now);
        self.suspended[depth].set(Some(SuspendedPoll { poll, began_at, source: self.source.get() }));
        self.depth.set(depth + 1);
        self.is_nested.set(true);
        self.nested_began_at.set(now);
        true
    }

    /// Ends and records the poll in progress, if `source` began it.
    #[inline]
    pub(crate) fn end(&self, source: PollSource) -> Option<EndedPoll> {
        if self.is_nested.get() {
            return self.end_nested(source);
        }
        if self.source.get() != source {
            self.end_unrecorded();
            return None;
        }
        let start = self.worker.slot.start();
        if start == UNTIMED {
            return self.end_untimed();
        }
        let now = self.recorder.clock.ticks();
        if let Some(at) = self.worker.taken_over_at() {
            return Some(self.end_taken_over(at));
        }
        let ended = self.record_end(start, now);
        self.worker.counters.busy_nanos.add(ended.nanos);
        Some(ended)
    }

    /// Ends a poll whose worker another thread has taken over: it blocked the
    /// worker only until then.
    #[cold]
    fn end_taken_over(&self, at: Ticks) -> EndedPoll {
        let ended = self.record_end(self.worker.slot.start(), at);
        self.worker.counters.busy_nanos.add(ended.nanos);
        EndedPoll { is_taken_over: true, ..ended }
    }

    /// Ends a poll of several parts, or one inside such a poll. Only its last
    /// part counts as busy time: that of nested polls and of the parts before
    /// them has been counted.
    #[cold]
    fn end_nested(&self, source: PollSource) -> Option<EndedPoll> {
        if self.unrecorded_polls.get() > 0 || self.source.get() != source {
            self.end_unrecorded();
            return None;
        }
        if self.nested_began_at.get() == UNTIMED {
            return self.end_untimed();
        }
        let now = self.recorder.clock.ticks();
        let taken_over_at = self.worker.taken_over_at();
        let end = taken_over_at.unwrap_or(now);
        let own_start = self.worker.slot.start();
        let ended = self.record_end(self.nested_began_at.get(), end);
        self.worker.counters.busy_nanos.add(self.recorder.clock.nanos(own_start, end));
        self.resume_suspended(now);
        Some(EndedPoll { is_taken_over: taken_over_at.is_some(), ..ended })
    }

    /// Ends the poll in progress and records it, without its busy time.
    #[inline(always)]
    fn record_end(&self, began_at: Ticks, end: Ticks) -> EndedPoll {
        let worker = &*self.worker;
        let kind = worker.slot.kind();
        worker.slot.finish();
        let nanos = self.recorder.clock.nanos(began_at, end);
        worker.kind_record(kind).poll_time.record(nanos, &worker.carried);
        worker.counters.polls.add(1);
        if nanos >= self.recorder.min_kept_nanos {
            self.keep_poll(began_at, end);
        }
        self.source.set(PollSource::NoPoll);
        EndedPoll { kind, nanos, is_taken_over: false }
    }

    /// Ends the poll in progress, if `source` began it, without recording it.
    pub(crate) fn discard(&self, source: PollSource) {
        if self.source.get() == source {
            if source != PollSource::Skipped {
                self.worker.slot.end();
            }
            self.source.set(PollSource::NoPoll);
            if self.is_nested.get() {
                self.resume_suspended(self.recorder.clock.ticks());
            }
        }
    }

    /// Resumes the poll that was suspended last, if there is one.
    #[cold]
    pub(super) fn resume_suspended(&self, now: Ticks) {
        let Some(depth) = self.depth.get().checked_sub(1) else { return self.is_nested.set(false) };
        self.depth.set(depth);
        if let Some(SuspendedPoll { poll, began_at, source }) = self.suspended[depth].take() {
            if source != PollSource::Skipped {
                self.worker.slot.resume(if began_at == UNTIMED { UNTIMED } else { now }, poll);
            }
            self.source.set(source);
            self.nested_began_at.set(began_at);
        }
    }

    /// Returns when the poll in progress began, and its task.
    #[inline]
    pub(crate) fn poll_start_and_task(&self) -> (Ticks, u64) {
        (self.began_at(), self.worker.slot.task())
    }

    /// Returns how long the poll in progress has lasted, as far as is known.
    pub(crate) fn poll_nanos(&self) -> u64 {
        let began_at = match self.began_at() {
            UNTIMED => self.worker.slot.own_poll_found_at(),
            began_at => Some(began_at),
        };
        began_at.map_or(0, |began_at| self.recorder.clock.nanos(began_at, self.recorder.clock.ticks()))
    }

    /// Wakes the watchdog if it sleeps, because the thread may have no unpark
    /// hook that does so. The caller has begun a poll in the slot before. The
    /// watchdog ensures that either it sees the poll or this thread sees its
    /// flag: see [`idle_park`](crate::record::idle_park).
    #[inline]
    pub(crate) fn wake_watchdog(&self) {
        compiler_fence(SeqCst);
        self.recorder.idle_park.wake();
    }

    /// Keeps the poll that has just ended in the flight recorder. Reports it as
    /// a long poll if its own part, the time since the last nested poll ended,
    /// passes the threshold.
    #[cold]
    fn keep_poll(&self, began_at: Ticks, end: Ticks) {
        let Some(poll) = self.worker.slot.last_ended() else { return };
        let ActivePoll { seq, start, is_untimed, task, kind, .. } = poll;
        self.worker.flight.push(PastPoll { start: began_at, end, kind });
        if self.recorder.clock.nanos(start, end) >= self.recorder.threshold_nanos {
            self.worker.events.push(LongEvent::Poll { seq, start, is_untimed, end, task, kind });
        }
    }

    /// Records how long a ready task waited for its poll, which begins at
    /// `now`.
    #[inline]
    pub(crate) fn record_wait(&self, nanos: u64, now: Ticks, task: u64, kind: KindId) {
        let worker = &*self.worker;
        worker.kind_record(kind).schedule_delay.record(nanos, &worker.carried);
        if nanos >= worker.min_reported_wait_nanos() {
            self.report_wait(nanos, now, task);
        }
    }

    #[cold]
    fn report_wait(&self, nanos: u64, now: Ticks, task: u64) {
        let events = &self.worker.events;
        // A short wait must not take the room of a long poll.
        if nanos >= self.recorder.threshold_nanos || events.has_ample_room() {
            events.push(LongEvent::Wait { nanos, end: now, task });
        }
    }
}

impl Drop for PollStack {
    fn drop(&mut self) {
        #[cfg(tokio_unstable)]
        fast_poll::forget(self.worker.slot);
        if self.recorder.liveness.is_in_child() {
            return;
        }
        // A thread may end in a poll that only its next park would end. The
        // next thread that uses the record must begin without one, or none of
        // its polls is visible.
        while self.source() != PollSource::NoPoll {
            self.discard(self.source());
        }
        self.recorder.retire(&self.worker);
        if let Some(runtime) = &self.worker.runtime {
            self.recorder.runtimes.remove_thread(runtime);
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
        let label = WorkerLabel { runtime: String::new(), worker: "0".to_owned() };
        let worker = recorder.register(label, None, false);
        PollStack::new(recorder, worker)
    }

    fn events(polls: &PollStack) -> Vec<LongEvent> {
        polls.worker.events.drain().collect()
    }

    #[test]
    fn a_poll_is_recorded_under_its_kind_and_a_long_one_is_an_event() {
        let quick = polls(Duration::from_secs(60));
        let kind = KindId::from_u32(3);
        quick.begin(quick.recorder.clock.ticks(), 7, kind, PollSource::Hook(1));
        assert_eq!(quick.end(PollSource::Hook(2)), None, "another source began it");
        assert_eq!(quick.end(PollSource::Hook(1)).map(|ended| ended.kind), Some(kind));
        assert_eq!(quick.end(PollSource::Hook(1)), None, "it has already ended");
        assert!(events(&quick).is_empty());
        let slow = polls(Duration::ZERO);
        slow.begin(slow.recorder.clock.ticks(), 8, kind, PollSource::Future);
        slow.end(PollSource::Future);
        assert!(matches!(events(&slow)[..], [LongEvent::Poll { task: 8, .. }]));
        assert_eq!(slow.worker.counters.polls.get(), 1);
    }

    #[test]
    fn nested_polls_are_recorded_apart_and_busy_time_counts_once() {
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
        assert!(outer.nanos >= inner.nanos + 200_000, "the outer poll includes the inner one");
        // Each of the three parts is rounded down.
        assert!((outer.nanos - 3..=outer.nanos).contains(&polls.worker.counters.busy_nanos.get()));
        let starts: Vec<_> = events(&polls)
            .into_iter()
            .map(|event| match event {
                LongEvent::Poll { start, .. } => start,
                LongEvent::Wait { .. } => unreachable!(),
            })
            .collect();
        assert_eq!(starts[1], resumed.start, "the event covers only the outer poll's own part");
    }

    #[test]
    fn polls_nested_too_deeply_are_part_of_the_innermost() {
        let polls = polls(Duration::from_secs(60));
        for depth in 0..10_u32 {
            polls.begin(polls.recorder.clock.ticks(), 0, KindId::from_u32(depth + 1), PollSource::Future);
        }
        let ended: Vec<_> =
            (0..10).filter_map(|_| polls.end(PollSource::Future)).map(|e| e.kind.as_u32()).collect();
        assert_eq!(ended, [5, 4, 3, 2, 1]);
        assert_eq!(polls.source(), PollSource::NoPoll);
        assert_eq!(polls.worker.slot.active(), None);
    }

    #[test]
    fn polls_inside_one_that_is_not_recorded_are_part_of_the_innermost_recorded_one() {
        let polls = polls(Duration::from_secs(60));
        let now = polls.recorder.clock.ticks();
        assert!(polls.begin(now, 1, KindId::OTHER, PollSource::Hook(1)));
        polls.skip();
        assert!(!polls.is_innermost_recorded());
        assert!(!polls.begin(now, 2, KindId::OTHER, PollSource::Future), "it began in a skipped poll");
        assert_eq!((polls.end(PollSource::Future), polls.end(PollSource::Hook(2))), (None, None));
        assert!(polls.is_innermost_recorded() && polls.end(PollSource::Hook(1)).is_some());
        assert!(!polls.is_in_poll() && !polls.is_nested.get());
    }

    #[test]
    fn skipped_polls_without_an_end_are_forgotten() {
        let polls = polls(Duration::from_secs(60));
        polls.skip();
        polls.skip();
        polls.forget_skipped();
        assert!(polls.begin(polls.recorder.clock.ticks(), 1, KindId::OTHER, PollSource::Hook(1)));
        polls.forget_skipped();
        assert!(polls.end(PollSource::Hook(1)).is_some(), "a recorded poll is not forgotten");
    }

    #[test]
    fn a_poll_ends_when_another_thread_takes_over_its_worker() {
        let polls = polls(Duration::from_secs(60));
        let clock = &polls.recorder.clock;
        let begin = clock.ticks();
        polls.begin(begin, 1, KindId::OTHER, PollSource::Hook(1));
        let taken_over_at = clock.ticks();
        polls.worker.mark_taken_over(taken_over_at);
        assert_eq!(polls.worker.active(), None);
        while clock.nanos(taken_over_at, clock.ticks()) < 1_000_000 {}
        assert_eq!(polls.end(PollSource::Hook(1)).unwrap().nanos, clock.nanos(begin, taken_over_at));
    }
}
