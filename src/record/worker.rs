//! The record of one thread: its slot, its histograms, its long events.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use crate::lock::Lock;
use crate::os::ThreadInfo;
use crate::record::clock::Ticks;
use crate::record::flight_recorder::FlightRing;
use crate::record::histogram::{CarriedCounts, CarriedCountsGuard, Histogram};
use crate::record::kinds::{KindId, MAX_KINDS};
use crate::record::long_events::EventRing;
use crate::record::runtimes::WorkerLabel;
use crate::record::single_writer::SingleWriterU64;
use crate::record::slot::{self, ActivePoll, Slot};
use crate::snapshot::KindSnapshot;

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
}

impl KindRecord {
    /// Adds the recorded values to a snapshot.
    pub(crate) fn add_to(&self, snapshot: &mut KindSnapshot, carried: &CarriedCountsGuard<'_>) {
        snapshot.completed += self.completed.get();
        snapshot.spawned += self.spawned.get();
        self.poll_time.add_to(&mut snapshot.poll_time, carried);
        self.schedule_delay.add_to(&mut snapshot.schedule_delay, carried);
        snapshot.self_wakes += self.self_wakes.get();
        snapshot.lost_wakers += self.lost_wakers.get();
        snapshot.never_yielded += self.never_yielded.get();
    }
}

/// The record of a watched thread. It outlives the thread: the next thread with
/// the same label continues its totals. So totals never decrease, and memory is
/// bounded by the number of threads that live at the same time. While a worker
/// moves to another thread (`block_in_place`), both threads have the same
/// label.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) label: WorkerLabel,
    pub(crate) slot: &'static Slot,
    pub(crate) events: EventRing,
    pub(crate) flight: FlightRing,
    pub(crate) carried: CarriedCounts,
    kind_records: Box<[KindRecord]>,
    pub(crate) busy_nanos: SingleWriterU64,
    pub(crate) polls: SingleWriterU64,
    pub(crate) parks: SingleWriterU64,
    pub(crate) unparks: SingleWriterU64,
    /// The number and the own time of a poll, see [`Self::own_nanos`].
    judged_seq: AtomicU64,
    own_nanos: AtomicU64,
    /// When another thread took over the worker; zero if none has.
    taken_over_at: AtomicU64,
    thread: Lock<Option<ThreadInfo>>,
}

impl Worker {
    pub(crate) fn new(label: WorkerLabel) -> Self {
        Self {
            label,
            slot: slot::take(),
            events: EventRing::new(),
            flight: FlightRing::new(),
            carried: CarriedCounts::new(),
            kind_records: zeroed_kind_records(),
            busy_nanos: SingleWriterU64::default(),
            polls: SingleWriterU64::default(),
            parks: SingleWriterU64::default(),
            unparks: SingleWriterU64::default(),
            judged_seq: AtomicU64::new(0),
            own_nanos: AtomicU64::new(0),
            taken_over_at: AtomicU64::new(0),
            thread: Lock::new(None),
        }
    }

    /// Returns the thread that uses this record now.
    pub(crate) fn thread(&self) -> Option<ThreadInfo> {
        *self.thread.lock()
    }

    /// Assigns the record to a thread, or to none.
    pub(crate) fn set_thread(&self, thread: Option<ThreadInfo>) {
        self.taken_over_at.store(0, Relaxed);
        *self.thread.lock() = thread;
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
        let is_judged = self.judged_seq.load(Acquire) == seq;
        is_judged.then(|| self.own_nanos.load(Relaxed))
    }

    /// Sets the own time of the poll `seq`. Only the watchdog calls it.
    pub(crate) fn set_own_nanos(&self, seq: u64, own_nanos: u64) {
        if self.judged_seq.load(Relaxed) != seq {
            // A reader must not take the previous poll's time for this one's.
            self.own_nanos.store(0, Relaxed);
            self.judged_seq.store(seq, Release);
        }
        self.own_nanos.store(own_nanos, Relaxed);
    }

    /// Marks the worker as taken over by another thread. That thread calls it.
    pub(crate) fn mark_taken_over(&self, now: Ticks) {
        let _ = self.taken_over_at.compare_exchange(0, now.max(1), Release, Relaxed);
    }

    /// Returns when another thread took over the worker, if one has.
    #[inline]
    pub(crate) fn taken_over_at(&self) -> Option<Ticks> {
        match self.taken_over_at.load(Acquire) {
            0 => None,
            at => Some(at),
        }
    }

    /// Marks the thread as parked. The thread itself calls it.
    pub(crate) fn park(&self) {
        self.parks.add(1);
        self.slot.set_idle();
    }

    /// Marks the thread as awake. The thread itself calls it.
    pub(crate) fn unpark(&self) {
        self.unparks.add(1);
        self.slot.set_awake();
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        slot::give_back(self.slot);
    }
}

/// Allocates records that are all zero. A page occupies memory only after the
/// first value is written to it. So a kind that this thread never polls costs
/// no memory, and the poll path never calls the allocator.
fn zeroed_kind_records() -> Box<[KindRecord]> {
    let kind_records = Box::<[KindRecord]>::new_zeroed_slice(MAX_KINDS);
    // SAFETY: a `KindRecord` consists only of `AtomicU64` and `AtomicU32`, for
    // which all zero bytes are the value zero.
    #[allow(unsafe_code)]
    unsafe {
        kind_records.assume_init()
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
