//! A thread that polls: its slot, its histograms, its long events.

use std::sync::{Mutex, PoisonError};

use super::{
    clock::{Clock, Ticks},
    events::{EventRing, LongEvent},
    histogram::{Histogram, Tally},
    kinds::{KindId, MAX_KINDS},
    slot::{self, ActivePoll, Slot},
};
use crate::os::ThreadInfo;

/// What one worker recorded of one kind.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Cell {
    pub(crate) poll_time: Histogram,
    pub(crate) schedule_delay: Histogram,
    pub(crate) spawned: Tally,
    pub(crate) completed: Tally,
}

/// A watched thread. Outlives it: the next thread of the same label goes on
/// with the same totals, so they never go back and memory stays bounded by the
/// number of threads that live at one time.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) label: String,
    pub(crate) slot: &'static Slot,
    pub(crate) events: EventRing,
    cells: Box<[Cell]>,
    parks: Tally,
    thread: Mutex<Option<ThreadInfo>>,
}

impl Worker {
    pub(crate) fn new(label: String) -> Self {
        Self {
            label,
            slot: slot::take(),
            events: EventRing::new(),
            cells: zeroed_cells(),
            parks: Tally::default(),
            thread: Mutex::new(None),
        }
    }

    /// The thread that polls here now, if any.
    pub(crate) fn thread(&self) -> Option<ThreadInfo> {
        *self.thread.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set_thread(&self, thread: Option<ThreadInfo>) {
        *self.thread.lock().unwrap_or_else(PoisonError::into_inner) = thread;
    }

    #[inline]
    pub(crate) fn cell(&self, kind: KindId) -> &Cell {
        &self.cells[kind.index()]
    }

    /// Begins a poll on the worker's own thread.
    #[inline]
    pub(crate) fn begin(&self, now: Ticks, task: u64, kind: KindId) {
        self.slot.begin(now, task, kind);
    }

    /// Ends the poll on the worker's own thread and records it.
    #[inline]
    pub(crate) fn end(&self, clock: &Clock, threshold_nanos: u64) {
        let end = clock.ticks();
        let poll = self.slot.end();
        let nanos = clock.nanos(poll.start, end);
        self.cell(poll.kind).poll_time.record(nanos);
        if nanos >= threshold_nanos {
            self.long_poll(poll, end);
        }
    }

    #[cold]
    fn long_poll(&self, poll: ActivePoll, end: Ticks) {
        let ActivePoll { seq, start, task, kind } = poll;
        self.events.push(LongEvent::Poll { seq, start, end, task, kind });
    }

    /// Records that a ready task waited for the poll that begins at `now`.
    #[cfg(tokio_unstable)]
    #[inline]
    pub(crate) fn waited(&self, nanos: u64, now: Ticks, task: u64, kind: KindId, threshold_nanos: u64) {
        self.cell(kind).schedule_delay.record(nanos);
        if nanos >= threshold_nanos {
            self.events.push(LongEvent::Wait { nanos, end: now, task });
        }
    }

    /// Marks the thread as parked, on itself.
    pub(crate) fn park(&self) {
        self.parks.add(1);
        self.slot.set_idle();
    }

    pub(crate) fn parks(&self) -> u64 {
        self.parks.get()
    }

    /// Time in polls and how many polls, over all kinds.
    pub(crate) fn busy_nanos_and_polls(&self, kinds: usize) -> (u64, u64) {
        let used = || {
            self.cells[..kinds.min(MAX_KINDS)].iter().map(|cell| &cell.poll_time).filter(|h| !h.is_empty())
        };
        (used().map(Histogram::sum_nanos).sum(), used().map(Histogram::count).sum())
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        slot::give_back(self.slot);
    }
}

/// Cells that are all zero and not yet in memory: a page comes in as the first
/// value falls into it, so a kind costs what it uses, and the poll path never
/// calls the allocator.
fn zeroed_cells() -> Box<[Cell]> {
    let cells = Box::<[Cell]>::new_zeroed_slice(MAX_KINDS);
    // SAFETY: a `Cell` is made of `AtomicU64` alone, for which all zero bytes
    // are the value zero.
    #[allow(unsafe_code)]
    unsafe {
        cells.assume_init()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_poll_is_recorded_under_its_kind_and_a_long_one_is_an_event() {
        let clock = Clock::new();
        let worker = Worker::new("0".to_owned());
        let kind = KindId::from_u32(3);
        worker.begin(clock.ticks(), 7, kind);
        worker.end(&clock, u64::MAX);
        worker.begin(clock.ticks(), 8, kind);
        worker.end(&clock, 0);
        assert_eq!(worker.cell(kind).poll_time.count(), 2);
        assert_eq!(worker.busy_nanos_and_polls(4).1, 2);
        let events: Vec<_> = worker.events.drain().collect();
        assert!(matches!(events[..], [LongEvent::Poll { task: 8, .. }]), "{events:?}");
    }
}
