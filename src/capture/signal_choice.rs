//! Which signal this process uses to copy stacks.
//!
//! Other code may claim the same signal at any time. Then loopscope gives it up
//! and takes another one. It never removes its handler: a signal may be pending
//! at any time, and the default action would end the process.
#![allow(unsafe_code)]

use std::mem::{self, MaybeUninit};
use std::ptr;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32};

use crate::capture::queue_signal::queue_signal;
use crate::os;

/// How many signals are given up before none is used any more.
const MAX_GIVEN_UP: u32 = 8;

/// The value of [`CHOSEN`] before the first choice.
const NOT_CHOSEN: i32 = 0;
/// The value of [`CHOSEN`] when there is no signal to use.
const NONE: i32 = -1;

/// The signal that all scopes of this process use. A forked child continues to
/// use it, as it has the handler too.
static CHOSEN: AtomicI32 = AtomicI32::new(NOT_CHOSEN);
static GIVEN_UP: AtomicU32 = AtomicU32::new(0);
/// The signal that was given up last, or zero.
static LAST_GIVEN_UP: AtomicI32 = AtomicI32::new(0);
static IS_UNREPORTED: AtomicBool = AtomicBool::new(false);

/// A change of the signal, because other code has handlers of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SignalChange {
    /// The signal that other code has claimed; `None` if all were taken from
    /// the beginning.
    pub(crate) given_up: Option<i32>,
    /// The signal that is used from now on, if there is one.
    pub(crate) replacement: Option<i32>,
}

/// A handler of a signal.
pub(crate) type Handler = extern "C" fn(i32, *mut libc::siginfo_t, *mut libc::c_void);

/// Returns the signal in use, if one was needed already.
pub(crate) fn chosen() -> Option<i32> {
    Some(CHOSEN.load(Relaxed)).filter(|signal| *signal > 0)
}

/// Returns how many signals were given up.
pub(crate) fn given_up() -> u32 {
    GIVEN_UP.load(Relaxed)
}

/// Returns a change of the signal that nobody has reported yet.
pub(crate) fn take_unreported() -> Option<SignalChange> {
    let is_due = IS_UNREPORTED.load(Relaxed) && IS_UNREPORTED.swap(false, Relaxed);
    let given_up = || Some(LAST_GIVEN_UP.load(Relaxed)).filter(|signal| *signal > 0);
    is_due.then(|| SignalChange { given_up: given_up(), replacement: chosen() })
}

/// Returns a signal whose handler is `handler`, and installs the handler if
/// necessary. Returns `None` if there is no signal to use.
pub(crate) fn choose(handler: Handler) -> Option<i32> {
    let known = CHOSEN.load(Relaxed);
    if known == NONE || known > 0 && handler_of(known) == Some(handler as usize) {
        return chosen();
    }
    let next = if given_up() < MAX_GIVEN_UP { find(handler, known) } else { None };
    // If another watchdog was faster, its choice counts.
    if CHOSEN.compare_exchange(known, next.unwrap_or(NONE), Relaxed, Relaxed).is_ok()
        && (known > 0 || next.is_none())
    {
        GIVEN_UP.fetch_add(u32::from(known > 0), Relaxed);
        LAST_GIVEN_UP.store(known, Relaxed);
        IS_UNREPORTED.store(true, Relaxed);
    }
    chosen()
}

/// Finds a signal without a handler, and installs `handler`. Programs take
/// real-time signals from the lower end, by number and often without a check.
/// Two versions of loopscope in one process get different signals.
fn find(handler: Handler, given_up: i32) -> Option<i32> {
    (libc::SIGRTMIN()..=libc::SIGRTMAX()).rev().filter(|signal| *signal != given_up).find(|signal| {
        match handler_of(*signal) {
            Some(known) if known == handler as usize => can_be_sent(*signal),
            Some(libc::SIG_DFL) => install(*signal, handler) && can_be_sent(*signal),
            _ => false,
        }
    })
}

/// Returns whether the signal, which has loopscope's handler, can be sent.
/// Emulators accept handlers of signals that they cannot send.
///
/// The calling thread sends it to itself. The watchdog blocks signals, so it
/// takes the signal back. On a thread that does not block the signal, the
/// handler has already run; it ignores the value zero.
fn can_be_sent(signal: i32) -> bool {
    let tid = os::current_thread().map_or(0, |thread| thread.tid);
    match queue_signal(signal, os::getpid(), tid, 0) {
        Ok(()) => {
            take_pending(signal);
            true
        }
        // Any other error does not depend on the signal.
        Err(error) => error.raw_os_error() != Some(libc::EINVAL),
    }
}

/// Takes a signal that is pending for the calling thread. The kernel searches
/// the signals of the thread before those of the process.
fn take_pending(signal: i32) {
    let mut set = MaybeUninit::<libc::sigset_t>::uninit();
    let no_wait = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the first call initialises `set`, and the others get pointers to
    // initialised locals. With null the last call writes nothing.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        libc::sigaddset(set.as_mut_ptr(), signal);
        libc::sigtimedwait(set.as_ptr(), ptr::null_mut(), &raw const no_wait);
    }
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

fn install(signal: i32, handler: Handler) -> bool {
    // SAFETY: all-zero is a valid sigaction: no handler, no flags, empty mask.
    let mut action: libc::sigaction = unsafe { mem::zeroed() };
    action.sa_sigaction = handler as usize;
    action.sa_flags = libc::SA_SIGINFO | libc::SA_RESTART | libc::SA_ONSTACK;
    // SAFETY: `action` is initialised. The only handler that is passed to this
    // file is async-signal-safe, as its documentation argues.
    unsafe { libc::sigaction(signal, &raw const action, ptr::null_mut()) == 0 }
}
