//! A stack copied by its own thread, in a signal handler.
//!
//! Async-signal-safety, line by line, is argued at [`on_signal`]; everything
//! else in this file runs on the watchdog.
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

/// Threads that can be asked at one time.
const TARGETS: usize = 512;

/// A signal that has not come after so long was taken by somebody else, as
/// `sigtimedwait` does; to a thread that only blocks it, few enough go out so.
const LOST: Duration = Duration::from_secs(600);

const FREE: u64 = 0;
const REQUESTED: u64 = 1;
const WRITING: u64 = 2;
const DONE: u64 = 3;
/// The thread was in another poll by the time the signal came.
const LATE: u64 = 4;

/// Where one thread's copy goes. Never freed, so that a signal which comes at
/// any time, even after its thread's worker is gone, finds it.
struct Target {
    state: AtomicU64,
    /// Signals that have come, whatever they found.
    arrived: AtomicU64,
    /// The poll that is meant: a sequence number, and where to read it.
    expected_seq: AtomicU64,
    seq: AtomicPtr<AtomicU64>,
    /// The stack of the thread that is meant; another thread's is not in it.
    stack_bottom: AtomicUsize,
    stack_top: AtomicUsize,
    buffer: AtomicPtr<u8>,
    registers: [AtomicU64; Registers::COUNT],
    copied: AtomicUsize,
}

static TABLE: [Target; TARGETS] = [const {
    Target {
        state: AtomicU64::new(FREE),
        arrived: AtomicU64::new(0),
        expected_seq: AtomicU64::new(0),
        seq: AtomicPtr::new(ptr::null_mut()),
        stack_bottom: AtomicUsize::new(0),
        stack_top: AtomicUsize::new(0),
        buffer: AtomicPtr::new(ptr::null_mut()),
        registers: [const { AtomicU64::new(0) }; Registers::COUNT],
        copied: AtomicUsize::new(0),
    }
}; TARGETS];

/// Which entries of [`TABLE`] have no owner. Entries are handed on with their
/// buffers.
static UNOWNED: Lock<Option<Vec<usize>>> = Lock::new(None);

/// The process that installed the handler: requests carry it, a child made by
/// `fork` makes none.
static PID: AtomicI32 = AtomicI32::new(0);

/// How a request ended.
#[derive(Debug)]
pub(crate) enum Answer {
    /// Not yet: the thread has not been scheduled since, or is inside a call
    /// that nothing interrupts.
    Pending,
    /// The thread's registers and stack, in the poll that was meant.
    Copied(CopiedStack),
    /// The thread was no longer in that poll.
    Late,
}

/// The right to ask one thread, one question at a time.
#[derive(Debug)]
pub(crate) struct Asker {
    index: usize,
    signal: i32,
    /// What the target's `arrived` is once all that was sent has come.
    sent: Cell<u64>,
    sent_at: Cell<Instant>,
}

impl Asker {
    /// `None` where no signal is to be had, or too many threads are asked.
    pub(crate) fn new() -> Option<Self> {
        let signal = signal_number()?;
        let mut unowned = UNOWNED.lock();
        let index = unowned.get_or_insert_with(|| (0..TARGETS).collect()).pop()?;
        let target = &TABLE[index];
        if target.buffer.load(Relaxed).is_null() {
            let buffer = Box::leak(vec![0_u8; STACK_BYTES].into_boxed_slice());
            target.buffer.store(buffer.as_mut_ptr(), Release);
        }
        Some(Self { index, signal, sent: Cell::new(0), sent_at: Cell::new(Instant::now()) })
    }

    fn target(&self) -> &'static Target {
        &TABLE[self.index]
    }

    /// Sends the question for the poll `expected` of the slot that counts in
    /// `seq`. False if it could not be sent, or the one before is still open, or
    /// on its way though taken back: to a thread that blocks signals they would
    /// pile up, and the user's other programs share what may be queued.
    pub(crate) fn ask(&self, thread: ThreadInfo, seq: &'static AtomicU64, expected: u64) -> bool {
        let target = self.target();
        if target.state.load(Acquire) != FREE || thread.stack_top == 0 || !is_ours(self.signal) {
            return false;
        }
        let arrived = target.arrived.load(Acquire);
        if arrived < self.sent.get() && self.sent_at.get().elapsed() < LOST {
            return false;
        }
        target.expected_seq.store(expected, Relaxed);
        target.seq.store(ptr::from_ref(seq).cast_mut(), Relaxed);
        target.stack_bottom.store(thread.stack_bottom, Relaxed);
        target.stack_top.store(thread.stack_top, Relaxed);
        target.state.store(REQUESTED, Release);
        if send(self.signal, thread.tid, self.index) {
            self.sent.set(arrived + 1);
            self.sent_at.set(Instant::now());
            return true;
        }
        target.state.store(FREE, Release);
        false
    }

    /// Looks for the answer. Anything but `Pending` closes the question.
    pub(crate) fn answer(&self) -> Answer {
        let target = self.target();
        match target.state.load(Acquire) {
            DONE => {
                let length = target.copied.load(Relaxed).min(STACK_BYTES);
                // SAFETY: the buffer has STACK_BYTES initialised bytes and is
                // never freed; in state DONE the handler does not write to it,
                // and its writes happened before the state was stored.
                let bytes =
                    unsafe { std::slice::from_raw_parts(target.buffer.load(Relaxed), length) }.to_vec();
                let words = target.registers.each_ref().map(|register| register.load(Relaxed));
                target.state.store(FREE, Release);
                let registers = Registers::from_words(words);
                let Registers { ip, sp, .. } = registers;
                Answer::Copied(CopiedStack { ip, sp, registers: Some(registers), bytes })
            }
            LATE => {
                target.state.store(FREE, Release);
                Answer::Late
            }
            _ => Answer::Pending,
        }
    }

    /// Takes the question back. A handler that has begun finishes first; what
    /// it copied is dropped by the next call, before the next question.
    pub(crate) fn cancel(&self) {
        let target = self.target();
        let taken_back = target.state.compare_exchange(REQUESTED, FREE, AcqRel, Acquire);
        if taken_back.is_err() {
            let _ = self.answer();
        }
    }
}

impl Drop for Asker {
    fn drop(&mut self) {
        self.cancel();
        // A handler that is just writing keeps the entry: it is not handed on.
        if self.target().state.load(Acquire) == FREE {
            let mut unowned = UNOWNED.lock();
            unowned.get_or_insert_default().push(self.index);
        }
    }
}

/// The signal of this process, whose handler is installed with the first call
/// and never taken away: its default action would end the process, and one may
/// be on its way at any time.
fn signal_number() -> Option<i32> {
    static SIGNAL: OnceLock<Option<i32>> = OnceLock::new();
    *SIGNAL.get_or_init(|| {
        PID.store(os::getpid(), Relaxed);
        // The first ones are often taken by hand, so an unclaimed one it must
        // be; several observers in one process then do not meet either.
        (libc::SIGRTMIN()..=libc::SIGRTMAX())
            .find(|signal| handler_of(*signal) == Some(libc::SIG_DFL) && install(*signal))
    })
}

fn handler_of(signal: i32) -> Option<usize> {
    let mut action = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: a null new action only asks; `action` is ours to be written.
    let failed = unsafe { libc::sigaction(signal, ptr::null(), action.as_mut_ptr()) };
    // SAFETY: zeroed, then written by the call; all-zero is valid for it.
    (failed == 0).then(|| unsafe { action.assume_init() }.sa_sigaction)
}

fn install(signal: i32) -> bool {
    // SAFETY: all-zero is a valid sigaction: no handler, no flags, empty mask.
    let mut action: libc::sigaction = unsafe { mem::zeroed() };
    action.sa_sigaction = on_signal as *const () as usize;
    action.sa_flags = libc::SA_SIGINFO | libc::SA_RESTART | libc::SA_ONSTACK;
    // SAFETY: `action` is initialised, and the handler is async-signal-safe as
    // argued there.
    unsafe { libc::sigaction(signal, &raw const action, ptr::null_mut()) == 0 }
}

/// Whether the handler is still ours: somebody may have replaced it, and would
/// not know what to do with our signals.
fn is_ours(signal: i32) -> bool {
    handler_of(signal) == Some(on_signal as *const () as usize) && PID.load(Relaxed) == os::getpid()
}

/// `siginfo_t` as the kernel takes it from `rt_tgsigqueueinfo`.
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
    // SAFETY: `info` is a full siginfo_t of 128 bytes that outlives the call,
    // and a thread id of another process is refused by the kernel.
    unsafe { libc::syscall(libc::SYS_rt_tgsigqueueinfo, pid, tid, signal, &raw const info) == 0 }
}

/// Copies registers and stack of the thread it interrupts.
///
/// Why it is safe at any point of any thread, also inside malloc, an unwinder,
/// the dynamic loader, or a thread's end:
/// * It calls nothing but the reading of the context: no allocation, no lock, no system call, no formatting,
///   no thread-local; `errno` stays as it is. `copy_nonoverlapping` is `memcpy`
///   at most, which is async-signal-safe (POSIX.1-2024) and bound at start-up.
/// * It cannot panic: no indexing without a check, no arithmetic that traps.
/// * It reads memory it did not get from the kernel only if it cannot fault:
///   statics; the slot's number, which is never freed; and its own stack, from
///   the interrupted stack pointer up to the top that the thread registered.
///   A thread on another stack (a fiber), or another thread altogether, has a
///   stack pointer outside those bounds, and nothing is read.
/// * It writes only to a preallocated buffer that is never freed, and only
///   after it took the request with one compare-and-exchange; so a late, a
///   doubled or a foreign signal writes nothing but that it came, to a static.
/// * It uses less than 200 bytes of stack, on the alternate stack where the
///   thread has one.
extern "C" fn on_signal(_signal: i32, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: with SA_SIGINFO the kernel passes a valid siginfo_t; the fields
    // pid and value are those of SI_QUEUE, checked first.
    let (code, pid, index) = unsafe {
        let info = &*info;
        if info.si_code != libc::SI_QUEUE {
            return;
        }
        (info.si_code, info.si_pid(), info.si_value().sival_ptr.addr())
    };
    let Some(target) = TABLE.get(index) else { return };
    if code != libc::SI_QUEUE || pid != PID.load(Relaxed) {
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
    if target.state.compare_exchange(REQUESTED, WRITING, AcqRel, Acquire).is_err() {
        return;
    }
    let seq = target.seq.load(Relaxed);
    // SAFETY: stored before REQUESTED; points to the number of a slot, and
    // slots are never freed.
    let now = unsafe { (*seq).load(Relaxed) };
    if now != target.expected_seq.load(Relaxed) {
        target.state.store(LATE, Release);
        return;
    }
    let length = if top - sp < STACK_BYTES { top - sp } else { STACK_BYTES };
    // SAFETY: sp..sp+length lies in this thread's own stack, which is mapped
    // from the stack pointer up; the buffer has STACK_BYTES bytes, belongs to
    // this handler in state WRITING, and is no part of a stack.
    unsafe {
        ptr::copy_nonoverlapping(ptr::with_exposed_provenance::<u8>(sp), target.buffer.load(Relaxed), length)
    };
    target.copied.store(length, Relaxed);
    for (kept, word) in target.registers.iter().zip(registers.words()) {
        kept.store(word, Relaxed);
    }
    target.state.store(DONE, Release);
}
