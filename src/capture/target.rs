//! The protocol between the watchdog, which requests a stack, and the signal
//! handler, which copies it.
//!
//! A request has a number, and its signal carries the number. The handler takes
//! a request with one compare-and-exchange on [`Target::state`], which holds
//! that number. Only then does it read what the request says, and nobody
//! changes that until the handler has answered. A signal that comes late has
//! the number of another request and takes none.

use crate::capture::sync::{AcqRel, Acquire, AtomicI32, AtomicPtr, AtomicU64, AtomicUsize, Relaxed, Release};

/// The number of registers in an answer.
pub(crate) const REGISTERS: usize = 5;

/// The low bits of [`Target::state`]; the others are the request's number.
const PHASE_BITS: u32 = 3;
/// No request is open.
const FREE: u64 = 0;
/// A request is open, and no handler has started on it.
const REQUESTED: u64 = 1;
/// A handler is writing the copy.
const WRITING: u64 = 2;
/// The copy is complete.
const COPIED: u64 = 3;
/// The thread was in another poll when the signal arrived.
const OTHER_POLL: u64 = 4;
/// The thread ran on another stack than its own when the signal arrived.
const OTHER_STACK: u64 = 5;

/// Request numbers begin again after this one. At a thousand signals a second
/// to one thread, that takes 17 years.
const NUMBER_MASK: u64 = (1 << 39) - 1;

/// What a request says.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Request {
    /// Where the number of the thread's current poll is.
    pub(crate) seq: *mut AtomicU64,
    /// The number of the requested poll.
    pub(crate) expected_seq: u64,
    /// The stack of the requested thread.
    pub(crate) stack_bottom: usize,
    pub(crate) stack_top: usize,
}

/// How a handler closes a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Copied { registers: [u64; REGISTERS], bytes: usize },
    OtherPoll,
    OtherStack,
}

/// A thread's request and the destination of its copy. It is never freed, so a
/// signal finds it whenever it arrives, even after the thread has ended.
#[derive(Debug, Default)]
pub(crate) struct Target {
    /// The number and the phase of the last request.
    state: AtomicU64,
    /// The number of the last signal that was sent.
    sent: AtomicU64,
    /// The highest number of a signal that has arrived, whatever it found.
    arrived: AtomicU64,
    /// See [`Owner`].
    owner: AtomicU64,
    /// The thread to which the last owner sends signals.
    tid: AtomicI32,
    seq: AtomicPtr<AtomicU64>,
    expected_seq: AtomicU64,
    stack_bottom: AtomicUsize,
    stack_top: AtomicUsize,
    registers: [AtomicU64; REGISTERS],
    /// The length of the copy in the buffer.
    copied_bytes: AtomicUsize,
    /// The destination of the copy; null before the first request. The owner
    /// sets it, and it is never freed.
    pub(crate) buffer: AtomicPtr<u8>,
}

/// Whom a target belongs to. Each process has owners of its own: in a forked
/// child, the owners and the signals of the parent do not exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owner {
    Nobody,
    /// A requester in the process of this generation.
    Requester(u32),
    /// The requester has gone, but its signal may still arrive.
    Released(u32),
}

impl Owner {
    fn from_word(word: u64) -> Self {
        let generation = (word >> 2) as u32;
        match word & 3 {
            0 => Self::Nobody,
            1 => Self::Requester(generation),
            _ => Self::Released(generation),
        }
    }

    fn word(self) -> u64 {
        match self {
            Self::Nobody => 0,
            Self::Requester(generation) => u64::from(generation) << 2 | 1,
            Self::Released(generation) => u64::from(generation) << 2 | 2,
        }
    }
}

/// Takes a target for the signals to the thread `tid`, and returns its index. A
/// target whose signal may still arrive is given only to the requester of the
/// same thread, which then knows of that signal. `is_alive` says whether a
/// thread exists: with a thread, its pending signals end.
pub(crate) fn claim(
    targets: &[Target],
    tid: i32,
    generation: u32,
    is_alive: impl Fn(i32) -> bool,
) -> Option<usize> {
    let owner_of = |target: &Target| Owner::from_word(target.owner.load(Acquire));
    let awaits_signal_of_thread =
        |target: &Target| owner_of(target) == Owner::Released(generation) && target.tid.load(Relaxed) == tid;
    let is_unused = |target: &Target| match owner_of(target) {
        Owner::Nobody => true,
        Owner::Requester(owner) => owner != generation,
        Owner::Released(owner) => {
            owner != generation || target.is_quiet() || !is_alive(target.tid.load(Relaxed))
        }
    };
    let same_thread = targets.iter().position(|target| {
        awaits_signal_of_thread(target) && target.take(Owner::Released(generation), generation)
    });
    same_thread.or_else(|| {
        let index = targets.iter().position(|target| {
            let before = owner_of(target);
            is_unused(target) && target.take(before, generation)
        })?;
        let target = &targets[index];
        let number = target.number();
        target.state.store(number << PHASE_BITS | FREE, Relaxed);
        target.arrived.store(target.sent.load(Relaxed), Relaxed);
        target.tid.store(tid, Relaxed);
        Some(index)
    })
}

impl Target {
    fn take(&self, before: Owner, generation: u32) -> bool {
        let after = Owner::Requester(generation).word();
        self.owner.compare_exchange(before.word(), after, AcqRel, Acquire).is_ok()
    }

    /// Gives the target back. The owner has cancelled its request.
    pub(crate) fn release(&self, generation: u32) {
        let owner = if self.is_quiet() { Owner::Nobody } else { Owner::Released(generation) };
        self.owner.store(owner.word(), Release);
    }

    fn number(&self) -> u64 {
        self.state.load(Relaxed) >> PHASE_BITS
    }

    /// Returns whether no signal and no handler needs the target any more. Its
    /// owner has cancelled the request.
    pub(crate) fn is_quiet(&self) -> bool {
        self.phase() != WRITING && !self.has_signal_on_its_way()
    }

    fn phase(&self) -> u64 {
        self.state.load(Acquire) & ((1 << PHASE_BITS) - 1)
    }

    /// Returns whether the last signal has not arrived.
    pub(crate) fn has_signal_on_its_way(&self) -> bool {
        self.arrived.load(Acquire) < self.sent.load(Relaxed)
    }

    /// Opens a request and returns its number, or `None` if another one is
    /// open. Only the owner may call it.
    pub(crate) fn open(&self, request: Request) -> Option<u64> {
        if self.phase() != FREE {
            return None;
        }
        let number = (self.number() + 1) & NUMBER_MASK;
        self.seq.store(request.seq, Relaxed);
        self.expected_seq.store(request.expected_seq, Relaxed);
        self.stack_bottom.store(request.stack_bottom, Relaxed);
        self.stack_top.store(request.stack_top, Relaxed);
        self.sent.store(number, Relaxed);
        self.state.store(number << PHASE_BITS | REQUESTED, Release);
        Some(number)
    }

    /// Closes a request whose signal could not be sent.
    pub(crate) fn signal_was_not_sent(&self, number: u64) {
        self.arrived.fetch_max(number, Release);
        self.cancel();
    }

    /// Takes the answer, which closes the request. Returns `None` if there is
    /// none yet. `copy` is called before the buffer can be written again.
    pub(crate) fn take_answer<T>(&self, copy: impl FnOnce(Outcome) -> T) -> Option<T> {
        let outcome = match self.phase() {
            COPIED => Outcome::Copied {
                registers: self.registers.each_ref().map(|register| register.load(Relaxed)),
                bytes: self.copied_bytes.load(Relaxed),
            },
            OTHER_POLL => Outcome::OtherPoll,
            OTHER_STACK => Outcome::OtherStack,
            _ => return None,
        };
        let taken = copy(outcome);
        self.state.store(self.number() << PHASE_BITS | FREE, Release);
        Some(taken)
    }

    /// Cancels the request. A handler that has already started completes its
    /// copy; the next call of this function discards it.
    pub(crate) fn cancel(&self) {
        let number = self.number() << PHASE_BITS;
        if self.state.compare_exchange(number | REQUESTED, number | FREE, AcqRel, Acquire).is_err() {
            let _ = self.take_answer(drop);
        }
    }

    /// Notes that the signal of a request has arrived. Returns the request if
    /// it is still open: then it is the caller's, until [`Self::answer`]. The
    /// signal handler calls this and nothing before it.
    #[inline]
    pub(crate) fn accept(&self, number: u64) -> Option<Request> {
        self.arrived.fetch_max(number, Release);
        let (open, taken) = (number << PHASE_BITS | REQUESTED, number << PHASE_BITS | WRITING);
        self.state.compare_exchange(open, taken, AcqRel, Acquire).ok()?;
        Some(Request {
            seq: self.seq.load(Relaxed),
            expected_seq: self.expected_seq.load(Relaxed),
            stack_bottom: self.stack_bottom.load(Relaxed),
            stack_top: self.stack_top.load(Relaxed),
        })
    }

    /// Closes the request that [`Self::accept`] has returned.
    #[inline]
    pub(crate) fn answer(&self, number: u64, outcome: Outcome) {
        let phase = match outcome {
            Outcome::Copied { registers, bytes } => {
                for (register, word) in self.registers.iter().zip(registers) {
                    register.store(word, Relaxed);
                }
                self.copied_bytes.store(bytes, Relaxed);
                COPIED
            }
            Outcome::OtherPoll => OTHER_POLL,
            Outcome::OtherStack => OTHER_STACK,
        };
        self.state.store(number << PHASE_BITS | phase, Release);
    }
}

/// Marks the value of a signal as one of loopscope.
const MARK: u64 = 0x10B5;
const MARK_SHIFT: u32 = 48;
const INDEX_BITS: u32 = 9;

/// How many targets there are.
pub(crate) const MAX_TARGETS: usize = 1 << INDEX_BITS;

/// Returns the value of the signal of a request.
pub(crate) fn signal_value(index: usize, number: u64) -> u64 {
    MARK << MARK_SHIFT | (number & NUMBER_MASK) << INDEX_BITS | index as u64
}

/// Returns the target's index and the request's number, or `None` if other code
/// has sent the signal.
#[inline]
pub(crate) fn index_and_number(value: u64) -> Option<(usize, u64)> {
    let index = value as usize & (MAX_TARGETS - 1);
    (value >> MARK_SHIFT == MARK).then_some((index, value >> INDEX_BITS & NUMBER_MASK))
}

#[cfg(test)]
mod tests {
    use std::ptr;

    use super::*;

    const GENERATION: u32 = 1;

    fn request() -> Request {
        Request { seq: ptr::null_mut(), expected_seq: 1, stack_bottom: 2, stack_top: 3 }
    }

    #[test]
    fn a_signal_carries_its_request() {
        let value = signal_value(511, 123_456_789);
        assert_eq!(index_and_number(value), Some((511, 123_456_789)));
        assert_eq!(index_and_number(0), None);
        assert_eq!(index_and_number(u64::MAX), None);
    }

    #[test]
    fn a_late_signal_takes_no_other_request() {
        let target = Target::default();
        let late = target.open(request()).unwrap();
        assert!(target.has_signal_on_its_way());
        target.cancel();
        let number = target.open(request()).unwrap();
        assert!(target.accept(late).is_none());
        assert!(target.has_signal_on_its_way());
        assert!(target.accept(number).is_some());
        target.cancel();
        assert!(target.open(request()).is_none(), "the handler is at work");
        target.answer(number, Outcome::OtherPoll);
        assert_eq!(target.take_answer(|outcome| outcome), Some(Outcome::OtherPoll));
        assert!(target.accept(number).is_none(), "one request has one answer");
    }

    #[test]
    fn a_released_target_awaits_its_signal() {
        let targets = [Target::default()];
        let claim = |tid, is_alive| claim(&targets, tid, GENERATION, |_| is_alive);
        assert_eq!(claim(1, true), Some(0));
        let number = targets[0].open(request()).unwrap();
        targets[0].cancel();
        targets[0].release(GENERATION);
        assert_eq!(claim(2, true), None, "the signal may still arrive");
        assert_eq!(claim(1, true), Some(0), "the same thread takes over its signal");
        assert!(targets[0].has_signal_on_its_way());
        targets[0].release(GENERATION);
        assert_eq!(claim(2, false), Some(0), "the signal has ended with its thread");
        assert!(!targets[0].has_signal_on_its_way());
        targets[0].release(GENERATION);
        assert_eq!(claim(3, true), Some(0));
        let later = targets[0].open(request()).unwrap();
        assert!(later > number);
        targets[0].cancel();
        targets[0].release(GENERATION);
        assert!(targets[0].accept(later).is_none());
        assert_eq!(claim(4, true), Some(0), "the signal has arrived");
    }

    #[test]
    fn a_forked_child_takes_the_targets_of_its_parent() {
        let targets = [Target::default()];
        assert_eq!(claim(&targets, 1, GENERATION, |_| true), Some(0));
        targets[0].open(request()).unwrap();
        assert_eq!(claim(&targets, 2, GENERATION, |_| true), None);
        assert_eq!(claim(&targets, 2, GENERATION + 1, |_| true), Some(0));
        assert!(!targets[0].has_signal_on_its_way());
        assert!(targets[0].open(request()).is_some());
    }
}
