//! Reports polls and waits over the threshold from the thread on which they
//! occurred to the watchdog: a ring with one writer and one reader, neither of
//! which blocks.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use crate::record::clock::Ticks;
use crate::record::kinds::KindId;
use crate::record::single_writer::SingleWriterU64;

const CAPACITY: usize = 256;
/// Waits leave this much room to polls. A poll may be followed by thousands of
/// waits, and without its end the watchdog would not know its duration.
const RESERVED_FOR_POLLS: usize = 128;

/// A poll or a wait that took longer than the threshold, or a shorter wait that
/// the watchdog asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LongEvent {
    /// A poll.
    Poll { seq: u64, start: Ticks, is_untimed: bool, end: Ticks, task: u64, kind: KindId },
    /// The wait of a ready task for its poll. The wait ended, and the poll
    /// began, at `end`.
    Wait { nanos: u64, end: Ticks, task: u64 },
}

/// A ring buffer of [`LongEvent`]s.
#[derive(Debug)]
pub(crate) struct EventRing {
    entries: Box<[[AtomicU64; 5]]>,
    written: AtomicU64,
    read: AtomicU64,
    /// How many events the watchdog has handled. It reads them first.
    handled: AtomicU64,
    /// How many events found the ring full.
    lost: SingleWriterU64,
    /// How many of `lost` are polls.
    lost_polls: SingleWriterU64,
}

/// Stored in place of the kind where the entry is a wait.
const WAIT_KIND: u64 = u64::MAX;
/// A bit beside the kind: the poll has read no clock when it began.
const UNTIMED_BIT: u64 = 1 << 32;

impl EventRing {
    pub(crate) fn new() -> Self {
        Self {
            entries: (0..CAPACITY).map(|_| std::array::from_fn(|_| AtomicU64::new(0))).collect(),
            written: AtomicU64::new(0),
            read: AtomicU64::new(0),
            handled: AtomicU64::new(0),
            lost: SingleWriterU64::default(),
            lost_polls: SingleWriterU64::default(),
        }
    }

    /// Adds an event, or counts it as lost if the ring is full. Only the
    /// writing thread may call it.
    #[cold]
    pub(crate) fn push(&self, event: LongEvent) {
        let written = self.written.load(Relaxed);
        let is_poll = matches!(event, LongEvent::Poll { .. });
        let capacity = if is_poll { CAPACITY } else { CAPACITY - RESERVED_FOR_POLLS };
        if written - self.read.load(Acquire) >= capacity as u64 {
            self.lost_polls.add(u64::from(is_poll));
            return self.lost.add(1);
        }
        let values = match event {
            LongEvent::Poll { seq, start, is_untimed, end, task, kind } => {
                let untimed_bit = if is_untimed { UNTIMED_BIT } else { 0 };
                [seq, start, end, task, u64::from(kind.as_u32()) | untimed_bit]
            }
            LongEvent::Wait { nanos, end, task } => [0, nanos, end, task, WAIT_KIND],
        };
        for (field, value) in self.entries[written as usize % CAPACITY].iter().zip(values) {
            field.store(value, Relaxed);
        }
        self.written.store(written + 1, Release);
    }

    /// Returns whether at least half of the ring is free. Only the writing
    /// thread may call it.
    pub(crate) fn has_ample_room(&self) -> bool {
        self.written.load(Relaxed) - self.read.load(Relaxed) < CAPACITY as u64 / 2
    }

    /// Removes and returns all events. Only the reading thread may call it.
    pub(crate) fn drain(&self) -> impl Iterator<Item = LongEvent> {
        std::iter::from_fn(|| {
            let read = self.read.load(Relaxed);
            if read == self.written.load(Acquire) {
                return None;
            }
            let [seq, start, end, task, kind] =
                std::array::from_fn(|field| self.entries[read as usize % CAPACITY][field].load(Relaxed));
            self.read.store(read + 1, Release);
            Some(match kind {
                WAIT_KIND => LongEvent::Wait { nanos: start, end, task },
                kind => {
                    let is_untimed = kind & UNTIMED_BIT != 0;
                    LongEvent::Poll { seq, start, is_untimed, end, task, kind: KindId::from_u32(kind as u32) }
                }
            })
        })
    }

    /// Returns whether every event was read.
    pub(crate) fn is_empty(&self) -> bool {
        self.read.load(Acquire) == self.written.load(Acquire)
    }

    /// Notes that the reading thread has handled all events that it drained.
    pub(crate) fn set_handled(&self) {
        self.handled.store(self.read.load(Relaxed), Release);
    }

    /// Returns how many events the reading thread has not handled yet.
    pub(crate) fn pending(&self) -> u64 {
        self.written.load(Acquire).saturating_sub(self.handled.load(Acquire))
    }

    pub(crate) fn lost(&self) -> u64 {
        self.lost.get()
    }

    pub(crate) fn lost_polls(&self) -> u64 {
        self.lost_polls.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wait(n: u64) -> LongEvent {
        LongEvent::Wait { nanos: n, end: n, task: n }
    }

    fn poll(seq: u64) -> LongEvent {
        let is_untimed = seq.is_multiple_of(2);
        LongEvent::Poll { seq, start: 2, is_untimed, end: 3, task: 4, kind: KindId::from_u32(5) }
    }

    #[test]
    fn events_arrive_in_order_and_overflow_is_counted() {
        let ring = EventRing::new();
        ring.push(wait(7));
        for seq in 1..CAPACITY as u64 + 3 {
            ring.push(poll(seq));
        }
        assert_eq!(ring.pending(), CAPACITY as u64);
        let drained: Vec<_> = ring.drain().collect();
        assert_eq!(drained.len(), CAPACITY);
        assert_eq!(drained[..2], [wait(7), poll(1)]);
        assert_eq!((ring.lost(), ring.lost_polls()), (3, 3));
        assert_eq!(ring.drain().count(), 0);
        assert_eq!(ring.pending(), CAPACITY as u64, "they were read, but not handled");
        ring.set_handled();
        assert_eq!(ring.pending(), 0);
    }

    #[test]
    fn waits_leave_room_for_polls() {
        let ring = EventRing::new();
        for n in 0..10_000 {
            ring.push(wait(n));
        }
        for seq in 0..RESERVED_FOR_POLLS as u64 {
            ring.push(poll(seq));
        }
        assert_eq!(ring.lost_polls(), 0);
        let polls = ring.drain().filter(|event| matches!(event, LongEvent::Poll { .. })).count();
        assert_eq!(polls, RESERVED_FOR_POLLS);
    }
}
