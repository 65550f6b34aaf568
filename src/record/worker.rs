//! What one thread records: its slot, its histograms, its long events.

use std::fmt;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::{Mutex, PoisonError};

use crate::os::ThreadInfo;
use crate::record::clock::Ticks;
use crate::record::flight_recorder::FlightRing;
use crate::record::histogram::{Carried, CarriedTable, Histogram, Tally};
use crate::record::kinds::{KindId, MAX_KINDS};
use crate::record::long_events::EventRing;
use crate::record::slot::{self, ActivePoll, Slot};
use crate::snapshot::{KindSnapshot, qualified_worker_label};

/// What one thread recorded of one kind.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Cell {
    pub(crate) poll_time: Histogram,
    pub(crate) schedule_delay: Histogram,
    pub(crate) spawned: Tally,
    pub(crate) completed: Tally,
    pub(crate) self_wakes: Tally,
    pub(crate) lost_wakers: Tally,
    pub(crate) never_yielded: Tally,
}

impl Cell {
    /// Adds what was recorded to a snapshot.
    pub(crate) fn add_to(&self, snapshot: &mut KindSnapshot, carried: &CarriedTable<'_>) {
        snapshot.completed += self.completed.get();
        snapshot.spawned += self.spawned.get();
        self.poll_time.add_to(&mut snapshot.poll_time, carried);
        self.schedule_delay.add_to(&mut snapshot.schedule_delay, carried);
        snapshot.self_wakes += self.self_wakes.get();
        snapshot.lost_wakers += self.lost_wakers.get();
        snapshot.never_yielded += self.never_yielded.get();
    }
}

/// Whose record it is: the runtime's label, empty without one, and the
/// worker's index, or its thread's name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct WorkerLabel {
    pub(crate) runtime: String,
    pub(crate) worker: String,
}

impl fmt::Display for WorkerLabel {
    /// The worker; with its runtime before it where that has a name.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&qualified_worker_label(&self.runtime, &self.worker))
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
    pub(crate) carried: Carried,
    cells: Box<[Cell]>,
    pub(crate) busy_nanos: Tally,
    pub(crate) polls: Tally,
    pub(crate) parks: Tally,
    pub(crate) unparks: Tally,
    /// When another thread took this worker's place; zero if none has.
    handed_over_at: AtomicU64,
    thread: Mutex<Option<ThreadInfo>>,
}

impl Worker {
    pub(crate) fn new(label: WorkerLabel) -> Self {
        Self {
            label,
            slot: slot::take(),
            events: EventRing::new(),
            flight: FlightRing::new(),
            carried: Carried::new(),
            cells: zeroed_cells(),
            busy_nanos: Tally::default(),
            polls: Tally::default(),
            parks: Tally::default(),
            unparks: Tally::default(),
            handed_over_at: AtomicU64::new(0),
            thread: Mutex::new(None),
        }
    }

    /// The thread that polls here now, if any.
    pub(crate) fn thread(&self) -> Option<ThreadInfo> {
        *self.thread.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins to be the record of a thread, or ends to be.
    pub(crate) fn set_thread(&self, thread: Option<ThreadInfo>) {
        self.handed_over_at.store(0, Relaxed);
        *self.thread.lock().unwrap_or_else(PoisonError::into_inner) = thread;
    }

    #[inline]
    pub(crate) fn cell(&self, kind: KindId) -> &Cell {
        &self.cells[kind.index()]
    }

    /// The poll in progress that holds the worker up, read from any thread: not
    /// one that has left the worker to another thread.
    pub(crate) fn active(&self) -> Option<ActivePoll> {
        self.slot.active().filter(|_| self.handed_over_at().is_none())
    }

    /// Says, on the thread that took its place, that the worker is no longer
    /// this thread's.
    pub(crate) fn hand_over(&self, now: Ticks) {
        let _ = self.handed_over_at.compare_exchange(0, now.max(1), Release, Relaxed);
    }

    #[inline]
    pub(crate) fn handed_over_at(&self) -> Option<Ticks> {
        match self.handed_over_at.load(Acquire) {
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
fn zeroed_cells() -> Box<[Cell]> {
    let cells = Box::<[Cell]>::new_zeroed_slice(MAX_KINDS);
    // SAFETY: a `Cell` is made of `AtomicU64` and `AtomicU32` alone, for which
    // all zero bytes are the value zero.
    #[allow(unsafe_code)]
    unsafe {
        cells.assume_init()
    }
}
