//! A thread's last polls that took some time: for looking back.

use crate::record::clock::Ticks;
use crate::record::kinds::KindId;
use crate::record::sync::{Acquire, AtomicU32, AtomicU64, Relaxed, Release, fence};

/// Shorter polls are in the histograms only. A worker whose polls are all just
/// as long has its last 0.4 s in the ring; most have minutes.
pub(crate) const SHORTEST_NANOS: u64 = 50_000;

/// Polls that are kept: 192 KB a thread, of which only what was written is in
/// memory.
const ROWS: usize = 8_192;

/// A poll that ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PastPoll {
    pub(crate) start: Ticks,
    pub(crate) end: Ticks,
    pub(crate) kind: KindId,
}

/// One writer, plain stores only; any number of readers, who leave out what is
/// being written over.
#[derive(Debug)]
pub(crate) struct FlightRing {
    written: AtomicU64,
    rows: Box<[Row]>,
}

#[derive(Debug)]
struct Row {
    start: AtomicU64,
    end: AtomicU64,
    kind: AtomicU32,
}

impl FlightRing {
    pub(crate) fn new() -> Self {
        let rows = Box::<[Row]>::new_zeroed_slice(ROWS);
        // SAFETY: a `Row` is made of `AtomicU64` and `AtomicU32` alone, for which
        // all zero bytes are the value zero.
        #[allow(unsafe_code)]
        let rows = unsafe { rows.assume_init() };
        Self { written: AtomicU64::new(0), rows }
    }

    /// Called by the ring's own thread alone.
    pub(crate) fn push(&self, poll: PastPoll) {
        let number = self.written.load(Relaxed);
        // Whoever sees anything of this row sees that the ones before are done.
        fence(Release);
        let row = &self.rows[number as usize % ROWS];
        row.start.store(poll.start, Relaxed);
        row.end.store(poll.end, Relaxed);
        row.kind.store(poll.kind.as_u32(), Relaxed);
        self.written.store(number + 1, Release);
    }

    /// The polls that are kept, oldest first.
    pub(crate) fn polls(&self) -> Vec<PastPoll> {
        let end = self.written.load(Acquire);
        let start = end.saturating_sub(ROWS as u64);
        let rows: Vec<_> = (start..end).map(|number| self.load(number)).collect();
        fence(Acquire);
        // The one after these may be half written, over the oldest of them.
        let overwritten = (self.written.load(Relaxed) + 1).saturating_sub(ROWS as u64);
        let gone = usize::try_from(overwritten.saturating_sub(start)).unwrap_or(ROWS);
        rows.into_iter().skip(gone).collect()
    }

    fn load(&self, number: u64) -> PastPoll {
        let row = &self.rows[number as usize % ROWS];
        PastPoll {
            start: row.start.load(Relaxed),
            end: row.end.load(Relaxed),
            kind: KindId::from_u32(row.kind.load(Relaxed)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;

    use super::*;

    fn poll(n: u64) -> PastPoll {
        PastPoll { start: n, end: n * 3, kind: KindId::from_u32((n % 7) as u32) }
    }

    #[test]
    fn the_last_are_kept_in_their_order() {
        let ring = FlightRing::new();
        assert_eq!(ring.polls(), []);
        (1..=3).for_each(|n| ring.push(poll(n)));
        assert_eq!(ring.polls(), [poll(1), poll(2), poll(3)]);
        (4..=3 * ROWS as u64).for_each(|n| ring.push(poll(n)));
        let polls = ring.polls();
        assert_eq!(polls.len(), ROWS - 1, "the oldest may be in writing");
        assert_eq!(polls.last(), Some(&poll(3 * ROWS as u64)));
        assert!(polls.windows(2).all(|pair| pair[0].start + 1 == pair[1].start));
    }

    #[test]
    fn a_reader_beside_the_writer_sees_whole_polls_in_their_order() {
        let (ring, over) = (FlightRing::new(), AtomicBool::new(false));
        thread::scope(|scope| {
            scope.spawn(|| {
                for n in 1..=40 * ROWS as u64 {
                    ring.push(poll(n));
                }
                over.store(true, Ordering::Release);
            });
            let mut readings = 0;
            while !over.load(Ordering::Acquire) || readings == 0 {
                let polls = ring.polls();
                assert!(polls.iter().all(|read| *read == poll(read.start)), "a mixture of two");
                assert!(polls.windows(2).all(|pair| pair[0].start < pair[1].start));
                readings += 1;
            }
        });
    }
}
