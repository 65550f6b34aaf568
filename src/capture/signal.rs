//! Copies the stack of a thread on that thread itself, in a signal handler.
//!
//! [`on_signal`] argues its async-signal-safety line by line. Everything else
//! in this file runs on the watchdog.
#![allow(unsafe_code)]

use std::cell::Cell;
use std::ptr;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicI32, AtomicPtr, AtomicU64};
use std::time::{Duration, Instant};

use crate::capture::copy::copy_uninstrumented;
use crate::capture::machine::{self, Registers};
use crate::capture::queue_signal::queue_signal;
use crate::capture::target::{self, MAX_TARGETS, Outcome, Request, Target};
use crate::capture::{CopiedStack, STACK_BYTES, signal_choice};
use crate::fork;
use crate::os::{self, ThreadInfo};

/// A signal that has not arrived after this time is taken for lost: other code
/// may have consumed it, for example with `sigtimedwait`. If the thread blocks
/// the signal instead, only one signal in ten minutes is added to its queue.
const LOST_SIGNAL_AFTER: Duration = Duration::from_secs(600);

/// The [`MAX_TARGETS`] targets; null before the first request.
static TARGETS: AtomicPtr<[Target; MAX_TARGETS]> = AtomicPtr::new(ptr::null_mut());

/// The process that sends requests. Each signal contains it.
static PID: AtomicI32 = AtomicI32::new(0);

/// The answer to a request.
#[derive(Debug)]
pub(crate) enum StackAnswer {
    /// There is no answer yet: the thread has not been scheduled since the
    /// request, or is inside a call that nothing interrupts.
    Pending,
    /// The thread's registers and stack, copied in the requested poll.
    Copied(CopiedStack),
    /// The thread was no longer in the requested poll.
    OtherPoll,
    /// The thread ran on another stack than its own.
    OtherStack,
}

/// Requests the stack of one thread, with at most one open request.
#[derive(Debug)]
pub(crate) struct StackRequester {
    index: usize,
    target: &'static Target,
    /// The generation of the process.
    generation: u32,
    /// When the last signal was sent. If an earlier requester of the thread has
    /// sent it, when this requester was created.
    sent_at: Cell<Instant>,
}

impl StackRequester {
    /// Creates the requester of a thread. Returns `None` if [`MAX_TARGETS`]
    /// requesters exist.
    pub(crate) fn new(tid: i32) -> Option<Self> {
        // A forked child inherits the parent's.
        PID.store(os::getpid(), Relaxed);
        let (targets, generation) = (all_targets(), fork::generation());
        let index = target::claim(targets, tid, generation, is_alive)?;
        let target = &targets[index];
        if target.buffer.load(Relaxed).is_null() {
            let buffer = Box::leak(vec![0_u8; STACK_BYTES].into_boxed_slice());
            target.buffer.store(buffer.as_mut_ptr(), Release);
        }
        Some(Self { index, target, generation, sent_at: Cell::new(Instant::now()) })
    }

    /// Returns the signal to use, if there is one. The first call in the
    /// process chooses it.
    pub(crate) fn signal() -> Option<i32> {
        signal_choice::choose(on_signal)
    }

    /// Requests the stack of `thread` in the poll with the number `expected`;
    /// `seq` holds the number of the thread's current poll.
    ///
    /// Returns false if there is no signal to use, if the signal could not be
    /// sent, if the previous request is still open, or if its signal has not
    /// arrived yet, even though the request was cancelled. A thread may have
    /// begun to block signals after the caller asked. There they would
    /// accumulate, and the limit of queued signals is shared by all programs of
    /// the user.
    pub(crate) fn request(&self, thread: ThreadInfo, seq: &'static AtomicU64, expected: u64) -> bool {
        let is_awaited =
            self.target.has_signal_on_its_way() && self.sent_at.get().elapsed() < LOST_SIGNAL_AFTER;
        if is_awaited || thread.stack_top == 0 || fork::generation() != self.generation {
            return false;
        }
        let Some(signal) = signal_choice::choose(on_signal) else { return false };
        let request = Request {
            seq: ptr::from_ref(seq).cast_mut(),
            expected_seq: expected,
            stack_bottom: thread.stack_bottom,
            stack_top: thread.stack_top,
        };
        let Some(number) = self.target.open(request) else { return false };
        let value = target::signal_value(self.index, number);
        let is_sent = queue_signal(signal, PID.load(Relaxed), thread.tid, value).is_ok();
        if is_sent {
            self.sent_at.set(Instant::now());
        } else {
            self.target.signal_was_not_sent(number);
        }
        is_sent
    }

    /// Returns the answer. Any answer except `Pending` closes the request.
    pub(crate) fn answer(&self) -> StackAnswer {
        let answer = self.target.take_answer(|outcome| match outcome {
            Outcome::OtherPoll => StackAnswer::OtherPoll,
            Outcome::OtherStack => StackAnswer::OtherStack,
            Outcome::Copied { registers, bytes } => {
                let buffer = self.target.buffer.load(Relaxed);
                // SAFETY: the buffer has STACK_BYTES initialised bytes and is
                // never freed. The handler does not write to it before this
                // function returns, and the handler's writes happened before
                // the answer was seen.
                let bytes = unsafe { std::slice::from_raw_parts(buffer, bytes.min(STACK_BYTES)) }.to_vec();
                let registers = Registers::from_words(registers);
                let Registers { ip, sp, .. } = registers;
                let registers = Some(registers);
                StackAnswer::Copied(CopiedStack { ip, sp, registers, bytes, own_stack: None })
            }
        });
        answer.unwrap_or(StackAnswer::Pending)
    }

    /// Cancels the request. A handler that has already started completes its
    /// copy; the next call of this function discards it. The caller makes that
    /// call before the next request.
    pub(crate) fn cancel(&self) {
        self.target.cancel();
    }

    /// Returns whether neither a signal nor a handler needs the target any
    /// more. The caller has cancelled its request.
    pub(crate) fn is_quiet(&self) -> bool {
        self.target.is_quiet()
    }
}

impl Drop for StackRequester {
    fn drop(&mut self) {
        self.cancel();
        self.target.release(self.generation);
    }
}

/// Returns all targets. The first call allocates them; they are never freed.
fn all_targets() -> &'static [Target; MAX_TARGETS] {
    let known = TARGETS.load(Acquire);
    // SAFETY: the pointer is null or comes from `Box::into_raw` below, and is
    // never freed after it was published.
    if let Some(targets) = unsafe { known.as_ref() } {
        return targets;
    }
    let new = Box::into_raw(Box::new(std::array::from_fn(|_| Target::default())));
    match TARGETS.compare_exchange(ptr::null_mut(), new, AcqRel, Acquire) {
        // SAFETY: as above.
        Ok(_) => unsafe { &*new },
        Err(published) => {
            // SAFETY: `new` comes from `Box::into_raw` and was not published;
            // `published` was.
            unsafe {
                drop(Box::from_raw(new));
                &*published
            }
        }
    }
}

/// Returns whether a thread of this process exists.
fn is_alive(tid: i32) -> bool {
    // SAFETY: the call has no pointers, and the signal 0 is never delivered.
    let failed = unsafe { libc::syscall(libc::SYS_tgkill, PID.load(Relaxed), tid, 0) } != 0;
    !(failed && std::io::Error::last_os_error().raw_os_error() == Some(libc::ESRCH))
}

/// Copies registers and stack of the thread that it interrupts.
///
/// The handler is safe at any point of any thread, even inside malloc, an
/// unwinder, the dynamic loader, or the end of a thread:
/// * It calls only functions of this crate that compute, read the context, or
///   access atomics. It makes no allocation, no system call and no formatting,
///   takes no lock and reads no thread-local; `errno` does not change. The copy
///   is a loop of instructions, so that no sanitizer checks it.
/// * It cannot panic: every index is a constant within its array or goes
///   through `get`, and no arithmetic can overflow.
/// * It takes a request with one compare-and-exchange on a word that contains
///   the number of the request, which the signal carries. Until it answers, the
///   request and the buffer are its own. A late, a duplicate or a foreign
///   signal takes no request; at most it notes its arrival in an atomic.
/// * Apart from what the kernel passes to it, it reads only memory that cannot
///   fault: statics; targets and the slot's number, which are never freed; and
///   its own stack, from the interrupted stack pointer up to the top that the
///   thread registered. A thread on another stack (a fiber), or another thread,
///   has a stack pointer outside those bounds; then the handler reads no stack.
/// * It writes the copy only to a preallocated buffer that is never freed.
/// * It uses less than 300 bytes of stack, on the alternate stack where the
///   thread has one.
extern "C" fn on_signal(_signal: i32, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: with SA_SIGINFO the kernel passes a valid siginfo_t. Its fields
    // pid and value are valid for SI_QUEUE, which is checked before they are
    // read.
    let (pid, value) = unsafe {
        let info = &*info;
        if info.si_code != libc::SI_QUEUE {
            return;
        }
        (info.si_pid(), info.si_value().sival_ptr.addr() as u64)
    };
    let Some((index, number)) = target::index_and_number(value) else { return };
    // SAFETY: the pointer is null or that of the targets, which are never
    // freed.
    let targets = unsafe { TARGETS.load(Acquire).as_ref() };
    let Some(target) = targets.and_then(|targets| targets.get(index)) else { return };
    if pid != PID.load(Relaxed) {
        return;
    }
    let Some(request) = target.accept(number) else { return };
    // SAFETY: with SA_SIGINFO the third argument is a valid ucontext_t.
    let registers = machine::registers(unsafe { &*context.cast::<libc::ucontext_t>() });
    // SAFETY: the request was stored before its phase was. The pointer is that
    // of the number of a slot, and slots are never freed.
    let current_seq = unsafe { (*request.seq).load(Relaxed) };
    let sp = registers.sp as usize;
    let outcome = if sp < request.stack_bottom || sp >= request.stack_top {
        Outcome::OtherStack
    } else if current_seq != request.expected_seq {
        Outcome::OtherPoll
    } else {
        let available = request.stack_top - sp;
        let bytes = if available < STACK_BYTES { available } else { STACK_BYTES };
        // SAFETY: sp..sp+bytes lies in this thread's own stack, which is mapped
        // from the stack pointer up. The buffer has STACK_BYTES bytes, belongs
        // to this handler until it answers, and is not part of a stack.
        unsafe { copy_uninstrumented(sp, target.buffer.load(Relaxed), bytes) };
        Outcome::Copied { registers: registers.words(), bytes }
    };
    target.answer(number, outcome);
}
