//! Copies the stack of a thread on that thread itself, in a signal handler.
//!
//! [`on_signal`] argues its async-signal-safety line by line. Everything else
//! in this file runs on the watchdog.
#![allow(unsafe_code)]

use std::cell::Cell;
use std::mem::{self, MaybeUninit};
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicI32, AtomicPtr, AtomicU64, AtomicUsize};
use std::time::{Duration, Instant};

use crate::capture::machine::{self, Registers};
use crate::capture::{CopiedStack, STACK_BYTES};
use crate::lock::Lock;
use crate::os::{self, ThreadInfo};

/// How many threads can have a request at the same time.
const MAX_TARGETS: usize = 512;

/// A signal that has not arrived after this time is taken for lost: other code
/// may have consumed it, for example with `sigtimedwait`. If the thread blocks
/// the signal instead, only one signal in ten minutes is added to its queue.
const LOST_SIGNAL_AFTER: Duration = Duration::from_secs(600);

/// No request is open.
const STATE_FREE: u64 = 0;
/// A request is open, and no handler has started on it.
const STATE_REQUESTED: u64 = 1;
/// A handler is writing the copy.
const STATE_WRITING: u64 = 2;
/// The copy is complete.
const STATE_COPIED: u64 = 3;
/// The thread was in another poll when the signal arrived.
const STATE_OTHER_POLL: u64 = 4;

/// The destination of one thread's copy. It is never freed, so a signal finds
/// it whenever it arrives, even after the thread's worker is gone.
struct Target {
    state: AtomicU64,
    /// How many signals have arrived, whatever state they found.
    arrived: AtomicU64,
    /// The sequence number of the requested poll.
    expected_seq: AtomicU64,
    /// Where the handler reads the sequence number of the current poll.
    seq: AtomicPtr<AtomicU64>,
    /// The stack of the requested thread. The stack pointer of any other thread
    /// is outside these bounds.
    stack_bottom: AtomicUsize,
    stack_top: AtomicUsize,
    buffer: AtomicPtr<u8>,
    registers: [AtomicU64; Registers::COUNT],
    /// The length of the copy in the buffer.
    copied_bytes: AtomicUsize,
}

static TARGETS: [Target; MAX_TARGETS] = [const {
    Target {
        state: AtomicU64::new(STATE_FREE),
        arrived: AtomicU64::new(0),
        expected_seq: AtomicU64::new(0),
        seq: AtomicPtr::new(ptr::null_mut()),
        stack_bottom: AtomicUsize::new(0),
        stack_top: AtomicUsize::new(0),
        buffer: AtomicPtr::new(ptr::null_mut()),
        registers: [const { AtomicU64::new(0) }; Registers::COUNT],
        copied_bytes: AtomicUsize::new(0),
    }
}; MAX_TARGETS];

/// The indexes of the entries of [`TARGETS`] that no [`StackRequester`] owns.
/// An entry keeps its buffer when its owner changes.
static FREE_TARGETS: Lock<Option<Vec<usize>>> = Lock::new(None);

/// The process that installed the handler. Each request contains it. A child
/// process made by `fork` sends no requests.
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
}

/// Requests the stack of one thread, with at most one open request.
#[derive(Debug)]
pub(crate) struct StackRequester {
    /// The entry of [`TARGETS`].
    index: usize,
    signal: i32,
    /// The value of the target's `arrived` once every sent signal has arrived.
    sent: Cell<u64>,
    sent_at: Cell<Instant>,
}

impl StackRequester {
    /// Returns `None` if all real-time signals have handlers, or if
    /// [`MAX_TARGETS`] requesters exist.
    pub(crate) fn new() -> Option<Self> {
        let signal = signal_number()?;
        let mut free_targets = FREE_TARGETS.lock();
        let index = free_targets.get_or_insert_with(|| (0..MAX_TARGETS).collect()).pop()?;
        let target = &TARGETS[index];
        if target.buffer.load(Relaxed).is_null() {
            let buffer = Box::leak(vec![0_u8; STACK_BYTES].into_boxed_slice());
            target.buffer.store(buffer.as_mut_ptr(), Release);
        }
        Some(Self { index, signal, sent: Cell::new(0), sent_at: Cell::new(Instant::now()) })
    }

    fn target(&self) -> &'static Target {
        &TARGETS[self.index]
    }

    /// Requests the stack of `thread` in the poll with the number `expected`;
    /// `seq` holds the number of the thread's current poll.
    ///
    /// Returns false if the signal could not be sent, if the previous request
    /// is still open, or if its signal has not arrived yet, even though the
    /// request was cancelled. Signals to a thread that blocks them would
    /// accumulate, and the limit of queued signals is shared by all programs of
    /// the user.
    pub(crate) fn request(&self, thread: ThreadInfo, seq: &'static AtomicU64, expected: u64) -> bool {
        let target = self.target();
        if target.state.load(Acquire) != STATE_FREE
            || thread.stack_top == 0
            || !is_handler_installed(self.signal)
        {
            return false;
        }
        let arrived = target.arrived.load(Acquire);
        if arrived < self.sent.get() && self.sent_at.get().elapsed() < LOST_SIGNAL_AFTER {
            return false;
        }
        target.expected_seq.store(expected, Relaxed);
        target.seq.store(ptr::from_ref(seq).cast_mut(), Relaxed);
        target.stack_bottom.store(thread.stack_bottom, Relaxed);
        target.stack_top.store(thread.stack_top, Relaxed);
        target.state.store(STATE_REQUESTED, Release);
        if send(self.signal, thread.tid, self.index) {
            self.sent.set(arrived + 1);
            self.sent_at.set(Instant::now());
            return true;
        }
        target.state.store(STATE_FREE, Release);
        false
    }

    /// Returns the answer. Any answer except `Pending` closes the request.
    pub(crate) fn answer(&self) -> StackAnswer {
        let target = self.target();
        match target.state.load(Acquire) {
            STATE_COPIED => {
                let length = target.copied_bytes.load(Relaxed).min(STACK_BYTES);
                // SAFETY: the buffer has STACK_BYTES initialised bytes and is
                // never freed. In state STATE_COPIED the handler does not write
                // to it, and the handler's writes happened before it stored the
                // state.
                let bytes =
                    unsafe { std::slice::from_raw_parts(target.buffer.load(Relaxed), length) }.to_vec();
                let words = target.registers.each_ref().map(|register| register.load(Relaxed));
                target.state.store(STATE_FREE, Release);
                let registers = Registers::from_words(words);
                let Registers { ip, sp, .. } = registers;
                let registers = Some(registers);
                StackAnswer::Copied(CopiedStack { ip, sp, registers, bytes, own_stack: None })
            }
            STATE_OTHER_POLL => {
                target.state.store(STATE_FREE, Release);
                StackAnswer::OtherPoll
            }
            _ => StackAnswer::Pending,
        }
    }

    /// Cancels the request. A handler that has already started completes its
    /// copy; the next call of this function discards it. The caller makes that
    /// call before the next request.
    pub(crate) fn cancel(&self) {
        let target = self.target();
        let cancelled = target.state.compare_exchange(STATE_REQUESTED, STATE_FREE, AcqRel, Acquire);
        if cancelled.is_err() {
            let _ = self.answer();
        }
    }
}

impl Drop for StackRequester {
    fn drop(&mut self) {
        self.cancel();
        // An entry to which a handler is still writing gets no new owner.
        if self.target().state.load(Acquire) == STATE_FREE {
            let mut free_targets = FREE_TARGETS.lock();
            free_targets.get_or_insert_default().push(self.index);
        }
    }
}

/// Returns the signal that this process uses. The first call installs its
/// handler. The handler is never removed: a signal may be pending at any time,
/// and its default action would end the process.
fn signal_number() -> Option<i32> {
    static SIGNAL: OnceLock<Option<i32>> = OnceLock::new();
    *SIGNAL.get_or_init(|| {
        PID.store(os::getpid(), Relaxed);
        // Programs often use the first real-time signals without a check, so
        // this takes one that has no handler. For the same reason, two versions
        // of loopscope in one process get different signals.
        (libc::SIGRTMIN()..=libc::SIGRTMAX())
            .find(|signal| handler_of(*signal) == Some(libc::SIG_DFL) && install(*signal))
    })
}

fn handler_of(signal: i32) -> Option<usize> {
    let mut action = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: with a null new action the call only reads the current one, and
    // writes it to `action`, a local.
    let failed = unsafe { libc::sigaction(signal, ptr::null(), action.as_mut_ptr()) };
    // SAFETY: `action` is zeroed, which is a valid sigaction, and then written
    // by the call.
    (failed == 0).then(|| unsafe { action.assume_init() }.sa_sigaction)
}

fn install(signal: i32) -> bool {
    // SAFETY: all-zero is a valid sigaction: no handler, no flags, empty mask.
    let mut action: libc::sigaction = unsafe { mem::zeroed() };
    action.sa_sigaction = on_signal as *const () as usize;
    action.sa_flags = libc::SA_SIGINFO | libc::SA_RESTART | libc::SA_ONSTACK;
    // SAFETY: `action` is initialised, and the handler is async-signal-safe, as
    // its documentation argues.
    unsafe { libc::sigaction(signal, &raw const action, ptr::null_mut()) == 0 }
}

/// Returns whether [`on_signal`] is still the handler, in the process that
/// installed it. Another handler would not expect these signals.
fn is_handler_installed(signal: i32) -> bool {
    handler_of(signal) == Some(on_signal as *const () as usize) && PID.load(Relaxed) == os::getpid()
}

/// The `siginfo_t` that `rt_tgsigqueueinfo` takes.
#[repr(C)]
struct QueuedInfo {
    signo: i32,
    errno: i32,
    code: i32,
    pad: i32,
    pid: i32,
    uid: u32,
    value: usize,
    rest: [u64; 12],
}

fn send(signal: i32, tid: i32, index: usize) -> bool {
    let pid = PID.load(Relaxed);
    // SAFETY: no arguments.
    let uid = unsafe { libc::getuid() };
    let info = QueuedInfo {
        signo: signal,
        errno: 0,
        code: libc::SI_QUEUE,
        pad: 0,
        pid,
        uid,
        value: index,
        rest: [0; 12],
    };
    // SAFETY: `info` is a full siginfo_t of 128 bytes that outlives the call.
    // The kernel refuses a thread id of another process.
    unsafe { libc::syscall(libc::SYS_rt_tgsigqueueinfo, pid, tid, signal, &raw const info) == 0 }
}

/// Copies registers and stack of the thread that it interrupts.
///
/// The handler is safe at any point of any thread, even inside malloc, an
/// unwinder, the dynamic loader, or the end of a thread:
/// * It calls only functions that read the context. It makes no allocation, no
///   system call and no formatting, takes no lock and reads no thread-local;
///   `errno` does not change. `copy_nonoverlapping` is at most a `memcpy`,
///   which is async-signal-safe (POSIX.1-2024) and bound at start-up.
/// * It cannot panic: every index is a constant within its array or goes
///   through `get`, and no arithmetic can overflow.
/// * Apart from what the kernel passes to it, it reads only memory that cannot
///   fault: statics; the slot's number, which is never freed; and its own
///   stack, from the interrupted stack pointer up to the top that the thread
///   registered. A thread on another stack (a fiber), or another thread, has a
///   stack pointer outside those bounds; then the handler reads no stack.
/// * It writes the copy only to a preallocated buffer that is never freed, and
///   only after it took the request with one compare-and-exchange. A late, a
///   duplicate or a foreign signal finds no request; at most it increments
///   `arrived`, in a static.
/// * It uses less than 200 bytes of stack, on the alternate stack where the
///   thread has one.
extern "C" fn on_signal(_signal: i32, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: with SA_SIGINFO the kernel passes a valid siginfo_t. Its fields
    // pid and value are valid for SI_QUEUE, which is checked before they are
    // read.
    let (pid, index) = unsafe {
        let info = &*info;
        if info.si_code != libc::SI_QUEUE {
            return;
        }
        (info.si_pid(), info.si_value().sival_ptr.addr())
    };
    let Some(target) = TARGETS.get(index) else { return };
    if pid != PID.load(Relaxed) {
        return;
    }
    target.arrived.fetch_add(1, Release);
    // SAFETY: with SA_SIGINFO the third argument is a valid ucontext_t.
    let registers = machine::registers(unsafe { &*context.cast::<libc::ucontext_t>() });
    let sp = registers.sp as usize;
    let (bottom, top) = (target.stack_bottom.load(Relaxed), target.stack_top.load(Relaxed));
    if sp < bottom || sp >= top {
        return;
    }
    if target.state.compare_exchange(STATE_REQUESTED, STATE_WRITING, AcqRel, Acquire).is_err() {
        return;
    }
    let seq = target.seq.load(Relaxed);
    // SAFETY: the pointer was stored before STATE_REQUESTED. It points to the
    // number of a slot, and slots are never freed.
    let current_seq = unsafe { (*seq).load(Relaxed) };
    if current_seq != target.expected_seq.load(Relaxed) {
        target.state.store(STATE_OTHER_POLL, Release);
        return;
    }
    let length = if top - sp < STACK_BYTES { top - sp } else { STACK_BYTES };
    // SAFETY: sp..sp+length lies in this thread's own stack, which is mapped
    // from the stack pointer up. The buffer has STACK_BYTES bytes, belongs to
    // this handler in state STATE_WRITING, and is not part of a stack.
    unsafe {
        ptr::copy_nonoverlapping(ptr::with_exposed_provenance::<u8>(sp), target.buffer.load(Relaxed), length)
    };
    target.copied_bytes.store(length, Relaxed);
    for (register, word) in target.registers.iter().zip(registers.words()) {
        register.store(word, Relaxed);
    }
    target.state.store(STATE_COPIED, Release);
}
