//! The record of one thread: its slot, its histograms, its long events.

use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, fence};

use tokio::runtime::Id;

use crate::lock::Lock;
use crate::os::ThreadInfo;
use crate::record::clock::{Clock, Ticks};
use crate::record::flight_recorder::FlightRing;
use crate::record::histogram::{CarriedCounts, CarriedCountsGuard, Histogram};
use crate::record::kinds::{KindId, MAX_KINDS};
use crate::record::long_events::EventRing;
use crate::record::runtimes::{ThreadRuntime, WorkerLabel};
use crate::record::single_writer::SingleWriterU64;
use crate::record::slot::{self, ActivePoll, Slot};
use crate::record::totals::{KindTotals, WorkerTotals};
use crate::zeroed::{ZeroValid, ZeroedSlice};

/// What one thread recorded about one task kind.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct KindRecord {
    pub(crate) poll_time: Histogram,
    pub(crate) schedule_delay: Histogram,
    pub(crate) spawned: SingleWriterU64,
    pub(crate) completed: SingleWriterU64,
    pub(crate) self_wakes: SingleWriterU64,
    pub(crate) lost_wakers: SingleWriterU64,
    pub(crate) never_yielded: SingleWriterU64,
    /// See [`KindTotals`], also for the following.
    pub(crate) named: SingleWriterU64,
    pub(crate) named_completed: SingleWriterU64,
    pub(crate) other_names: SingleWriterU64,
    pub(crate) other_names_completed: SingleWriterU64,
}

impl KindRecord {
    /// Adds the recorded values to totals.
    pub(crate) fn add_to(&self, totals: &mut KindTotals, carried: &CarriedCountsGuard<'_>) {
        // Ended tasks are read first. Otherwise a task that begins and ends
        // between the two reads would be counted only as ended.
        totals.completed += self.completed.get();
        totals.spawned += self.spawned.get();
        self.poll_time.add_to(&mut totals.poll_time, carried);
        self.schedule_delay.add_to(&mut totals.schedule_delay, carried);
        totals.self_wakes += self.self_wakes.get();
        totals.lost_wakers += self.lost_wakers.get();
        totals.never_yielded += self.never_yielded.get();
        totals.named_completed += self.named_completed.get();
        totals.named += self.named.get();
        totals.other_names_completed += self.other_names_completed.get();
        totals.other_names += self.other_names.get();
    }
}

// SAFETY: a `KindRecord` consists only of `AtomicU64` and `AtomicU32`, for
// which all zero bytes are the value zero.
#[allow(unsafe_code)]
unsafe impl ZeroValid for KindRecord {}

/// Counts of a worker. Each poll writes to them, so they share no cache line
/// with what other threads write.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct WorkerCounters {
    /// The time in polls, up to the last begin or end of one.
    pub(crate) busy_nanos: SingleWriterU64,
    pub(crate) polls: SingleWriterU64,
    pub(crate) parks: SingleWriterU64,
    pub(crate) unparks: SingleWriterU64,
}

/// The record of a watched thread. It ends with its thread: its totals are kept
/// in [`EndedTotals`](crate::record::ended::EndedTotals), and its memory is
/// freed. While a worker moves to another thread (`block_in_place`), both
/// threads have a record with the same label.
#[derive(Debug)]
pub(crate) struct Worker {
    /// Differs from the number of every other worker of the scope, also of
    /// those that have ended.
    pub(crate) number: usize,
    pub(crate) label: WorkerLabel,
    /// The runtime of the thread.
    pub(crate) runtime: Option<ThreadRuntime>,
    /// When the thread was registered.
    pub(crate) registered_at: Ticks,
    pub(crate) slot: &'static Slot,
    /// How many polls the slot had not counted when this record began.
    uncounted_before: u64,
    pub(crate) events: EventRing,
    pub(crate) flight: FlightRing,
    pub(crate) carried: CarriedCounts,
    /// A kind that this thread never polls occupies no memory, and the poll
    /// path never calls the allocator.
    kind_records: ZeroedSlice<KindRecord>,
    pub(crate) counters: WorkerCounters,
    /// The largest value that [`Self::busy_nanos`] has returned.
    shown_busy_nanos: AtomicU64,
    /// Waits of at least this length are reported. It is the threshold, or zero
    /// while the watchdog asks for all waits.
    min_reported_wait_nanos: AtomicU64,
    /// The number and the own time of a poll, see [`Self::own_nanos`].
    judged_seq: AtomicU64,
    own_nanos: AtomicU64,
    /// When another thread took over the worker; zero if none has.
    taken_over_at: AtomicU64,
    has_ended: AtomicBool,
    thread: Lock<Option<ThreadInfo>>,
    /// See [`Self::tid`]; zero if it is not known.
    tid: AtomicU32,
}

impl Worker {
    /// Creates the record of a thread that reports waits of at least
    /// `threshold_nanos`.
    pub(crate) fn new(
        number: usize,
        label: WorkerLabel,
        runtime: Option<ThreadRuntime>,
        threshold_nanos: u64,
    ) -> Self {
        let slot = slot::take();
        Self {
            number,
            label,
            runtime,
            registered_at: 0,
            slot,
            uncounted_before: slot.uncounted(),
            events: EventRing::new(),
            flight: FlightRing::new(),
            carried: CarriedCounts::new(),
            kind_records: ZeroedSlice::new(MAX_KINDS),
            counters: WorkerCounters::default(),
            shown_busy_nanos: AtomicU64::new(0),
            min_reported_wait_nanos: AtomicU64::new(threshold_nanos),
            judged_seq: AtomicU64::new(0),
            own_nanos: AtomicU64::new(0),
            taken_over_at: AtomicU64::new(0),
            has_ended: AtomicBool::new(false),
            thread: Lock::new(None),
            tid: AtomicU32::new(0),
        }
    }

    /// Returns the runtime of the thread.
    #[inline]
    pub(crate) fn runtime_id(&self) -> Option<Id> {
        self.runtime.as_ref().map(|runtime| runtime.id)
    }

    /// Returns the thread, or `None` once it has ended.
    pub(crate) fn thread(&self) -> Option<ThreadInfo> {
        *self.thread.lock()
    }

    /// Assigns the record to its thread.
    pub(crate) fn set_thread(&self, thread: Option<ThreadInfo>) {
        if let Some(tid) = thread.and_then(|thread| u32::try_from(thread.tid).ok()) {
            self.tid.store(tid, Relaxed);
        }
        *self.thread.lock() = thread;
    }

    /// Returns the kernel's id of the thread, also once the thread has ended.
    /// Where it is not known, returns a number that no other thread of the
    /// scope has.
    pub(crate) fn tid(&self) -> u32 {
        match self.tid.load(Relaxed) {
            0 => u32::try_from(self.number).unwrap_or(u32::MAX),
            tid => tid,
        }
    }

    /// Notes that the thread has ended or is no longer this worker. Nothing
    /// more is recorded.
    pub(crate) fn end(&self) {
        self.set_thread(None);
        self.slot.set_idle();
        self.has_ended.store(true, Release);
    }

    /// Returns whether the record is complete: see [`Self::end`].
    pub(crate) fn has_ended(&self) -> bool {
        self.has_ended.load(Acquire)
    }

    /// Returns what was recorded about the worker as a whole.
    pub(crate) fn totals(&self) -> WorkerTotals {
        let WorkerCounters { busy_nanos, polls, parks, .. } = &self.counters;
        let uncounted = self.slot.uncounted().wrapping_sub(self.uncounted_before);
        WorkerTotals { busy_nanos: busy_nanos.get(), polls: polls.get() + uncounted, parks: parks.get() }
    }

    /// Returns the time in polls, with the part of the poll in progress if it
    /// `is_counted`. Any thread may call it. The result never decreases.
    pub(crate) fn busy_nanos(&self, clock: &Clock, is_counted: impl Fn(&ActivePoll) -> bool) -> u64 {
        let in_progress = |poll: ActivePoll| clock.nanos(poll.start, clock.ticks());
        let read = || {
            let seq = self.slot.seq().load(Acquire);
            let ended = self.counters.busy_nanos.get();
            let is_counted = |poll: &ActivePoll| !poll.is_untimed && is_counted(poll);
            let active = self.active().filter(is_counted).map_or(0, in_progress);
            // If another poll has begun or ended meanwhile, its time may be in
            // both parts or in none.
            fence(Acquire);
            (self.slot.seq().load(Relaxed) == seq).then_some(ended + active)
        };
        let nanos = (0..3).find_map(|_| read()).unwrap_or_else(|| self.counters.busy_nanos.get());
        self.shown_busy_nanos.fetch_max(nanos, Relaxed).max(nanos)
    }

    /// Returns the records of all kinds, by index.
    pub(crate) fn kind_records(&self) -> &[KindRecord] {
        &self.kind_records
    }

    #[inline]
    pub(crate) fn min_reported_wait_nanos(&self) -> u64 {
        self.min_reported_wait_nanos.load(Relaxed)
    }

    /// Sets the length from which waits are reported. The watchdog calls it.
    pub(crate) fn set_min_reported_wait_nanos(&self, nanos: u64) {
        self.min_reported_wait_nanos.store(nanos, Relaxed);
    }

    #[inline]
    pub(crate) fn kind_record(&self, kind: KindId) -> &KindRecord {
        &self.kind_records[kind.index()]
    }

    /// Returns the poll in progress that occupies the worker. A poll whose
    /// worker another thread has taken over does not. Any thread may call it.
    pub(crate) fn active(&self) -> Option<ActivePoll> {
        self.slot.active().filter(|_| self.taken_over_at().is_none())
    }

    /// Returns the part of the time of the poll `seq` that its code has caused,
    /// by the latest sample of its thread. Returns `None` if the poll has not
    /// been sampled.
    pub(crate) fn own_nanos(&self, seq: u64) -> Option<u64> {
        let is_judged = || self.judged_seq.load(Acquire) == seq;
        let own_nanos = is_judged().then(|| self.own_nanos.load(Acquire))?;
        // The time that was read may be that of the next poll. Then its number
        // is visible too.
        is_judged().then_some(own_nanos)
    }

    /// Sets the own time of the poll `seq`. Only the watchdog calls it.
    pub(crate) fn set_own_nanos(&self, seq: u64, own_nanos: u64) {
        if self.judged_seq.load(Relaxed) != seq {
            // A reader must not take the previous poll's time for this one's.
            self.own_nanos.store(0, Relaxed);
            self.judged_seq.store(seq, Release);
        }
        self.own_nanos.store(own_nanos, Release);
    }

    /// Marks the worker as taken over by another thread. That thread calls it.
    pub(crate) fn mark_taken_over(&self, now: Ticks) {
        let _ = self.taken_over_at.compare_exchange(0, now.max(1), Release, Relaxed);
        self.slot.set_taken_over();
    }

    /// Returns when another thread took over the worker, if one has.
    #[inline]
    pub(crate) fn taken_over_at(&self) -> Option<Ticks> {
        match self.taken_over_at.load(Acquire) {
            0 => None,
            at => Some(at),
        }
    }

    /// Returns the number of the current poll and how often the thread has
    /// unparked. Both are the same as before only if no poll has begun or ended
    /// since.
    pub(crate) fn progress(&self) -> (u64, u64) {
        (self.slot.seq().load(Acquire), self.counters.unparks.get())
    }

    /// Marks the thread as parked. The thread itself calls it.
    pub(crate) fn park(&self) {
        self.counters.parks.add(1);
        self.slot.set_idle();
    }

    /// Marks the thread as awake. The thread itself calls it.
    pub(crate) fn unpark(&self) {
        self.counters.unparks.add(1);
        self.slot.set_awake();
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        slot::give_back(self.slot);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_takes_at_most_4_kb() {
        assert!(size_of::<KindRecord>() <= 4096);
    }
}
