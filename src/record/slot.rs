//! The poll in progress on a thread: one writer, any number of readers.

#[cfg(tokio_unstable)]
use std::panic::Location;

use crate::lock::Lock;
use crate::per_process::PerProcess;
use crate::record::clock::Ticks;
use crate::record::kinds::KindId;
use crate::record::sync::{Acquire, AtomicBool, AtomicU32, AtomicU64, AtomicUsize};
use crate::record::sync::{Relaxed, Release, SeqCst, fence};

/// The current poll of one thread. A slot shares its cache lines with nothing.
///
/// `seq` is odd during a poll. It is a sequence lock over the other fields that
/// uses plain stores only: a reader that sees the same odd number before and
/// after it reads them has read one poll. The number never decreases, not even
/// when the slot passes to another thread, so it identifies one poll for ever.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Slot {
    seq: AtomicU64,
    start: AtomicU64,
    task: AtomicU64,
    kind: AtomicU32,
    idle: AtomicBool,
    /// Whether another thread has taken over the worker.
    taken_over: AtomicBool,
    /// Where the task was spawned, if `kind` is [`AT_LOCATION`]: an address.
    location: AtomicUsize,
    /// How many polls have ended that no worker has counted.
    uncounted: AtomicU64,
    /// The number of the latest poll without a start that the watchdog has
    /// found, and when it found it first.
    found_seq: AtomicU64,
    found_at: AtomicU64,
}

/// The start of a poll that has read no clock.
pub(crate) const UNTIMED: Ticks = 0;

/// A bit in `kind`: a future has set the kind by its name. Later names inside
/// the same poll do not count.
const NAMED: u32 = 1 << 31;

/// A bit in `kind`: the kind is that of the tasks spawned at `location`.
const AT_LOCATION: u32 = 1 << 30;

/// A poll in progress.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct ActivePoll {
    pub(crate) seq: u64,
    /// When it began. If it `is_untimed`, the watchdog has found it in progress
    /// then.
    pub(crate) start: Ticks,
    /// Whether the poll has read no clock when it began.
    pub(crate) is_untimed: bool,
    pub(crate) task: u64,
    /// The kind, unless there is a location instead.
    pub(crate) kind: KindId,
    /// The address of the spawn location whose kind is meant; zero if `kind` is
    /// known.
    pub(crate) location: usize,
    /// Whether a named future has set the kind.
    pub(crate) is_named: bool,
}

impl Slot {
    /// Returns whether a poll is in progress. Only the owning thread may call
    /// it.
    #[inline]
    fn in_poll(&self) -> bool {
        self.seq.load(Relaxed) & 1 == 1
    }

    /// Begins a poll. `start` is [`UNTIMED`] if no clock was read. Only the
    /// owning thread may call it.
    #[inline]
    pub(crate) fn begin(&self, start: Ticks, task: u64, kind: KindId) {
        self.start.store(start, Relaxed);
        self.task.store(task, Relaxed);
        self.kind.store(kind.as_u32(), Relaxed);
        self.seq.store(self.seq.load(Relaxed).wrapping_add(1), Release);
    }

    /// Returns the start of the latest poll. Only the owning thread may call
    /// it.
    #[inline]
    pub(crate) fn start(&self) -> Ticks {
        self.start.load(Relaxed)
    }

    /// Returns the kind of the poll in progress. Only the owning thread may
    /// call it.
    #[inline]
    pub(crate) fn kind(&self) -> KindId {
        KindId::from_u32(self.kind.load(Relaxed) & !NAMED)
    }

    /// Begins a poll that reads no clock, of a task that was spawned here. Only
    /// the owning thread may call it.
    #[cfg(tokio_unstable)]
    #[inline]
    pub(crate) fn begin_at(&self, task: u64, location: &'static Location<'static>) {
        self.start.store(UNTIMED, Relaxed);
        self.task.store(task, Relaxed);
        self.location.store(std::ptr::from_ref(location).addr(), Relaxed);
        self.kind.store(AT_LOCATION, Relaxed);
        self.seq.store(self.seq.load(Relaxed).wrapping_add(1), Release);
    }

    /// Sets the kind of the poll in progress, which had a location before.
    #[cfg(tokio_unstable)]
    pub(crate) fn set_kind(&self, kind: KindId) {
        self.kind.store(kind.as_u32(), Relaxed);
    }

    /// Returns the poll in progress. Only the owning thread may call it.
    #[cfg(tokio_unstable)]
    pub(crate) fn own_poll(&self) -> ActivePoll {
        self.load(self.seq.load(Relaxed))
    }

    /// Returns the task of the poll in progress. Only the owning thread may
    /// call it.
    #[inline]
    pub(crate) fn task(&self) -> u64 {
        self.task.load(Relaxed)
    }

    /// Resumes a poll that was ended because a nested one began. It gets a new
    /// number, and the time that it took before does not count.
    pub(crate) fn resume(&self, now: Ticks, poll: ActivePoll) {
        self.begin(now, poll.task, poll.kind);
        if poll.is_named {
            self.kind.store(poll.kind.as_u32() | NAMED, Relaxed);
        }
    }

    /// Ends the poll and returns it. Only the owning thread may call it.
    pub(crate) fn end(&self) -> ActivePoll {
        let ended = self.load(self.seq.load(Relaxed));
        self.finish();
        ended
    }

    /// Ends the poll. Only the owning thread may call it.
    #[inline]
    pub(crate) fn finish(&self) {
        self.seq.store(self.seq.load(Relaxed).wrapping_add(1), Release);
        // The fields of the next poll must not become visible under this
        // number.
        fence(Release);
    }

    /// Ends a poll that no worker counts.
    #[cfg(tokio_unstable)]
    #[inline]
    pub(crate) fn end_uncounted(&self) {
        self.uncounted.store(self.uncounted.load(Relaxed).wrapping_add(1), Relaxed);
        self.finish();
    }

    /// Returns how many polls have ended that no worker has counted.
    pub(crate) fn uncounted(&self) -> u64 {
        self.uncounted.load(Relaxed)
    }

    /// Notes that another thread has taken over the worker.
    pub(crate) fn set_taken_over(&self) {
        self.taken_over.store(true, Release);
    }

    #[inline]
    #[cfg_attr(not(tokio_unstable), allow(dead_code))]
    pub(crate) fn is_taken_over(&self) -> bool {
        self.taken_over.load(Relaxed)
    }

    /// Notes that the watchdog has found the poll `seq` in progress, and
    /// returns when it has found it first. Only the watchdog may call it.
    fn find(&self, seq: u64, now: Ticks) -> Ticks {
        if self.found_seq.load(Relaxed) == seq {
            return self.found_at.load(Relaxed);
        }
        // A reader must not take the time of another poll for this one's.
        self.found_seq.store(0, Relaxed);
        fence(Release);
        self.found_at.store(now, Relaxed);
        self.found_seq.store(seq, Release);
        now
    }

    /// Returns when the watchdog has found the poll `seq` first. Any thread may
    /// call it.
    #[inline]
    fn found_at(&self, seq: u64) -> Option<Ticks> {
        if self.found_seq.load(Acquire) != seq {
            return None;
        }
        let at = self.found_at.load(Relaxed);
        fence(Acquire);
        (self.found_seq.load(Relaxed) == seq).then_some(at)
    }

    /// Returns when the watchdog has found the poll in progress first. Only the
    /// owning thread may call it.
    #[inline]
    pub(crate) fn own_poll_found_at(&self) -> Option<Ticks> {
        self.found_at(self.seq.load(Relaxed))
    }

    /// Returns the poll in progress, and notes when the watchdog has found it
    /// if it has no start. Only the watchdog may call it.
    pub(crate) fn find_active(&self, now: impl FnOnce() -> Ticks) -> Option<ActivePoll> {
        let mut poll = self.load_active()?;
        if poll.is_untimed {
            poll.start = self.find(poll.seq, now());
        }
        Some(poll)
    }

    /// Returns the poll in progress. Returns `None` too if the poll has no
    /// start and the watchdog has not found it. Any thread may call it.
    pub(crate) fn active(&self) -> Option<ActivePoll> {
        self.load_active().and_then(|poll| self.with_start(poll))
    }

    /// Returns whether a poll is in progress, whatever is known about it. Any
    /// thread may call it.
    pub(crate) fn is_polling(&self) -> bool {
        self.seq.load(Acquire) & 1 == 1
    }

    fn with_start(&self, poll: ActivePoll) -> Option<ActivePoll> {
        if !poll.is_untimed {
            return Some(poll);
        }
        self.found_at(poll.seq).map(|start| ActivePoll { start, ..poll })
    }

    /// Sets the kind of the poll in progress to that of a named future, and
    /// returns the previous kind. Returns `None` if a named future has already
    /// set it.
    #[inline]
    pub(crate) fn set_named_kind(&self, kind: KindId) -> Option<KindId> {
        let previous = self.kind.load(Relaxed);
        if previous & NAMED != 0 {
            return None;
        }
        self.kind.store(kind.as_u32() | NAMED, Relaxed);
        Some(KindId::from_u32(previous))
    }

    /// Returns the poll in progress. If it has no start, `start` is not set.
    fn load_active(&self) -> Option<ActivePoll> {
        // A thread that begins and ends polls continuously can invalidate each
        // attempt. It is then not in a long poll, and readers look only for
        // those.
        for _ in 0..3 {
            let before = self.seq.load(Acquire);
            if before & 1 == 0 {
                return None;
            }
            let poll = self.load(before);
            fence(Acquire);
            if self.seq.load(Relaxed) == before {
                return Some(poll);
            }
        }
        None
    }

    /// Returns the latest poll, unless one is in progress. Returns `None` too
    /// if it has no start and the watchdog has not found it. Any thread may
    /// call it.
    pub(crate) fn last_ended(&self) -> Option<ActivePoll> {
        let after = self.seq.load(Acquire);
        if after & 1 == 1 || after == 0 {
            return None;
        }
        let poll = self.load(after.wrapping_sub(1));
        fence(Acquire);
        if self.seq.load(Relaxed) == after { self.with_start(poll) } else { None }
    }

    fn load(&self, seq: u64) -> ActivePoll {
        let kind = self.kind.load(Relaxed);
        let start = self.start.load(Relaxed);
        ActivePoll {
            seq,
            start,
            is_untimed: start == UNTIMED,
            task: self.task.load(Relaxed),
            kind: KindId::from_u32(kind & !NAMED & !AT_LOCATION),
            location: if kind & AT_LOCATION == 0 { 0 } else { self.location.load(Relaxed) },
            is_named: kind & NAMED != 0,
        }
    }

    /// Returns the counter that holds the number of the current poll. It is
    /// even between polls.
    #[inline]
    pub(crate) fn seq(&self) -> &AtomicU64 {
        &self.seq
    }

    /// Marks the thread as idle: it polls nothing until [`Self::set_awake`].
    #[inline]
    pub(crate) fn set_idle(&self) {
        self.idle.store(true, Release);
    }

    /// Marks the thread as awake. The fence makes the store sequentially
    /// consistent with a call of [`Self::is_idle`] after another fence, because
    /// the watchdog may be about to sleep.
    #[inline]
    pub(crate) fn set_awake(&self) {
        self.idle.store(false, Relaxed);
        fence(SeqCst);
    }

    pub(crate) fn is_idle(&self) -> bool {
        // What the thread has recorded before it was idle is visible.
        self.idle.load(Acquire)
    }
}

/// Slots that no thread uses. They are never freed, because the handler of a
/// pending signal may read the number of a slot whose thread has ended. There
/// are at most as many slots as there were watched threads at one time.
static FREE: PerProcess<Lock<Vec<&'static Slot>>> = PerProcess::new();

/// Takes an unused slot, or allocates one.
pub(crate) fn take() -> &'static Slot {
    let slot = FREE.get().lock().pop();
    let slot = slot.unwrap_or_else(|| Box::leak(Box::default()));
    slot.taken_over.store(false, Relaxed);
    slot
}

/// Puts a slot back, so that another thread can take it. Ends the poll that its
/// thread has not ended, if there is one.
pub(crate) fn give_back(slot: &'static Slot) {
    if slot.in_poll() {
        slot.end();
    }
    FREE.get().lock().push(slot);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_never_sees_a_mixture_of_two_polls() {
        let slot = take();
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for n in 1..200_000_u64 {
                    slot.begin(n, n, KindId::from_u32((n % 200) as u32));
                    slot.end();
                }
                done.store(true, Relaxed);
            });
            while !done.load(Relaxed) {
                if let Some(poll) = slot.active() {
                    assert_eq!(poll.start, poll.task);
                    assert_eq!(u64::from(poll.kind.as_u32()), poll.task % 200);
                }
            }
        });
        give_back(slot);
    }

    #[test]
    fn only_the_first_name_in_a_poll_counts() {
        let slot = take();
        slot.begin(1, 1, KindId::from_u32(1));
        assert_eq!(slot.set_named_kind(KindId::from_u32(2)), Some(KindId::from_u32(1)));
        assert_eq!(slot.set_named_kind(KindId::from_u32(3)), None);
        assert_eq!(slot.end().kind, KindId::from_u32(2));
        give_back(slot);
    }

    #[test]
    fn the_latest_poll_can_be_read_after_its_end() {
        let slot = Box::leak(Box::<Slot>::default());
        assert_eq!(slot.last_ended(), None);
        slot.begin(3, 4, KindId::OTHER);
        assert_eq!(slot.last_ended(), None);
        let ended = slot.end();
        assert_eq!(slot.last_ended(), Some(ended));
    }

    #[test]
    fn a_reused_slot_continues_its_sequence_numbers() {
        let slot = Box::leak(Box::<Slot>::default());
        slot.begin(1, 1, KindId::OTHER);
        give_back(slot);
        assert_eq!(slot.active(), None);
        assert_eq!(slot.seq().load(Relaxed), 2);
    }
}
