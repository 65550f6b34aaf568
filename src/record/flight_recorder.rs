//! The last polls of a thread that took some time, kept for later inspection.

use crate::record::clock::Ticks;
use crate::record::kinds::KindId;
use crate::record::sync::{Acquire, AtomicU32, AtomicU64, Relaxed, Release, fence};
use crate::zeroed::{ZeroValid, ZeroedSlice};

/// The shortest poll that is kept, in nanoseconds. Shorter ones are only in the
/// histograms. If all polls of a worker are this long, the ring holds its last
/// 0.4 s. For most workers it holds minutes.
pub(crate) const MIN_KEPT_NANOS: u64 = 50_000;

/// How many polls are kept: 192 KB for each thread. Only the part that has been
/// written occupies memory.
const CAPACITY: usize = 8_192;

/// A poll that ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PastPoll {
    pub(crate) start: Ticks,
    pub(crate) end: Ticks,
    pub(crate) kind: KindId,
}

/// A ring buffer of polls. Its one writer uses only plain stores. Any number of
/// readers may copy it; they discard entries that are overwritten at that
/// time.
#[derive(Debug)]
pub(crate) struct FlightRing {
    written: AtomicU64,
    entries: ZeroedSlice<FlightEntry>,
}

#[derive(Debug)]
struct FlightEntry {
    start: AtomicU64,
    end: AtomicU64,
    kind: AtomicU32,
}

// SAFETY: a `FlightEntry` consists of `AtomicU64` and `AtomicU32`, for which
// all zero bytes are the value zero.
#[allow(unsafe_code)]
unsafe impl ZeroValid for FlightEntry {}

impl FlightRing {
    pub(crate) fn new() -> Self {
        Self { written: AtomicU64::new(0), entries: ZeroedSlice::new(CAPACITY) }
    }

    /// Adds a poll. Only the ring's own thread may call it.
    pub(crate) fn push(&self, poll: PastPoll) {
        let number = self.written.load(Relaxed);
        // A reader that sees any store to this entry also sees that the entries
        // before it are complete.
        fence(Release);
        let entry = &self.entries[number as usize % CAPACITY];
        entry.start.store(poll.start, Relaxed);
        entry.end.store(poll.end, Relaxed);
        entry.kind.store(poll.kind.as_u32(), Relaxed);
        self.written.store(number + 1, Release);
    }

    /// Returns the polls that are kept, oldest first: the newest ones, up to
    /// the first that is not `wanted`.
    pub(crate) fn polls(&self, wanted: impl Fn(&PastPoll) -> bool) -> Vec<PastPoll> {
        let end = self.written.load(Acquire);
        let start = end.saturating_sub(CAPACITY as u64);
        let newest_first = (start..end).rev().map(|number| self.load(number));
        let mut entries: Vec<_> = newest_first.take_while(wanted).collect();
        fence(Acquire);
        // The writer may be in the middle of the next entry, which overwrites
        // the oldest of these.
        let overwritten = self.first_complete();
        entries.truncate(usize::try_from(end.saturating_sub(overwritten)).unwrap_or(CAPACITY));
        entries.reverse();
        entries
    }

    /// Returns the start of the oldest poll that is kept, if older ones are
    /// not kept any more.
    pub(crate) fn complete_since(&self) -> Option<Ticks> {
        // If the entry is overwritten meanwhile, it has a later start.
        let oldest = self.first_complete();
        (oldest > 0).then(|| self.load(oldest).start)
    }

    /// Returns the number of the first entry that the writer does not
    /// overwrite now.
    fn first_complete(&self) -> u64 {
        (self.written.load(Relaxed) + 1).saturating_sub(CAPACITY as u64)
    }

    fn load(&self, number: u64) -> PastPoll {
        let entry = &self.entries[number as usize % CAPACITY];
        PastPoll {
            start: entry.start.load(Relaxed),
            end: entry.end.load(Relaxed),
            kind: KindId::from_u32(entry.kind.load(Relaxed)),
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
    fn the_last_polls_are_kept_in_order() {
        let ring = FlightRing::new();
        assert_eq!(ring.polls(|_| true), []);
        (1..=3).for_each(|n| ring.push(poll(n)));
        assert_eq!(ring.polls(|_| true), [poll(1), poll(2), poll(3)]);
        assert_eq!(ring.polls(|poll| poll.end >= 6), [poll(2), poll(3)]);
        assert_eq!(ring.complete_since(), None, "all are kept");
        (4..=3 * CAPACITY as u64).for_each(|n| ring.push(poll(n)));
        let polls = ring.polls(|_| true);
        assert_eq!(polls.len(), CAPACITY - 1, "the oldest may be about to be overwritten");
        assert_eq!(ring.complete_since(), Some(polls[0].start));
        assert_eq!(polls.last(), Some(&poll(3 * CAPACITY as u64)));
        assert!(polls.windows(2).all(|pair| pair[0].start + 1 == pair[1].start));
    }

    #[test]
    fn a_concurrent_reader_sees_whole_polls_in_order() {
        let (ring, done) = (FlightRing::new(), AtomicBool::new(false));
        thread::scope(|scope| {
            scope.spawn(|| {
                for n in 1..=40 * CAPACITY as u64 {
                    ring.push(poll(n));
                }
                done.store(true, Ordering::Release);
            });
            let mut readings = 0;
            while !done.load(Ordering::Acquire) || readings == 0 {
                let polls = ring.polls(|_| true);
                assert!(polls.iter().all(|read| *read == poll(read.start)), "a mixture of two polls");
                assert!(polls.windows(2).all(|pair| pair[0].start < pair[1].start));
                readings += 1;
            }
        });
    }
}
