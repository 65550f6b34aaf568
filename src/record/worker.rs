//! What one thread records: its slot, its histograms, its long events.

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

/// What one thread recorded of one kind.
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
    /// Adds what was recorded to a snapshot.
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

/// A watched thread. Outlives it: the next thread of the same label goes on
/// with the same totals, so they never go back and memory stays bounded by the
/// number of threads that live at one time. Where a worker's identity moves to
/// another thread (`block_in_place`), both have the same label for a while.
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
    /// When another thread took this worker's place; zero if none has.
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
            taken_over_at: AtomicU64::new(0),
            thread: Lock::new(None),
        }
    }

    /// The thread that polls here now, if any.
    pub(crate) fn thread(&self) -> Option<ThreadInfo> {
        *self.thread.lock()
    }

    /// Begins to be the record of a thread, or ends to be.
    pub(crate) fn set_thread(&self, thread: Option<ThreadInfo>) {
        self.taken_over_at.store(0, Relaxed);
        *self.thread.lock() = thread;
    }

    #[inline]
    pub(crate) fn kind_record(&self, kind: KindId) -> &KindRecord {
        &self.kind_records[kind.index()]
    }

    /// The poll in progress that holds the worker up, read from any thread: not
    /// one that has left the worker to another thread.
    pub(crate) fn active(&self) -> Option<ActivePoll> {
        self.slot.active().filter(|_| self.taken_over_at().is_none())
    }

    /// Says, on the thread that took its place, that the worker is no longer
    /// this thread's.
    pub(crate) fn mark_taken_over(&self, now: Ticks) {
        let _ = self.taken_over_at.compare_exchange(0, now.max(1), Release, Relaxed);
    }

    #[inline]
    pub(crate) fn taken_over_at(&self) -> Option<Ticks> {
        match self.taken_over_at.load(Acquire) {
            0 => None,
            at => Some(at),
        }
    }

    /// Marks the thread as parked, on itself.
    pub(crate) fn park(&self) {
        self.parks.add(1);
        self.slot.set_idle();
    }

    /// Marks it as awake, on itself.
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

/// Cells that are all zero and not yet in memory: a page comes in as the first
/// value falls into it, so a kind that is never seen here costs nothing, and
/// the poll path never calls the allocator.
fn zeroed_kind_records() -> Box<[KindRecord]> {
    let kind_records = Box::<[KindRecord]>::new_zeroed_slice(MAX_KINDS);
    // SAFETY: a `KindRecord` is made of `AtomicU64` and `AtomicU32` alone, for which
    // all zero bytes are the value zero.
    #[allow(unsafe_code)]
    unsafe {
        kind_records.assume_init()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_small() {
        assert!(size_of::<KindRecord>() <= 4096);
    }
}
