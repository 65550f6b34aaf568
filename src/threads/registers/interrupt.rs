//! A short stop of a thread by ptrace(2).
//!
//! A stop interrupts a system call, and some calls return `EINTR` then. So only
//! a thread is stopped that has computed for some time since it last slept. If
//! this process dies meanwhile, the kernel lets the thread run on.
#![allow(unsafe_code)]

use std::mem::MaybeUninit;
use std::ptr;
use std::thread;
use std::time::{Duration, Instant};

use crate::capture::machine::{self, Registers};
use crate::capture::{CopiedStack, passive};
use crate::os;
use crate::process::Process;
use crate::record::clock::Clock;
use crate::threads::look::Look;
use crate::threads::memory_map::MemoryMap;
use crate::watchdog::procfs::{self, ProcReader};
use crate::watchdog::sample::ThreadActivity;

/// A thread that has run for this long since it last slept has left the call in
/// which it slept.
const MIN_RUN_NANOS: u64 = 500_000;
/// How long the CPU time of a thread is watched. The kernel adds to it at each
/// of its ticks.
const MAX_WATCH: Duration = Duration::from_millis(40);
const WATCH_INTERVAL: Duration = Duration::from_millis(1);
/// A thread that waits for a CPU stops when it gets one.
const STOP_TIMEOUT: Duration = Duration::from_millis(100);
const STOP_CHECK_INTERVAL: Duration = Duration::from_micros(5);
/// `NT_PRSTATUS`: the general registers.
const GENERAL_REGISTERS: usize = 1;
/// `PTRACE_EVENT_STOP`
const EVENT_STOP: i32 = 128;

/// Copies the registers and the stack of a thread that computes. Returns `None`
/// if it does not, or must not be stopped.
pub(super) fn copy(process: Process, tid: i32, map: &MemoryMap) -> Option<CopiedStack> {
    // A child that this process waits for: its first stop would end that wait.
    if process.other_pid() == Some(tid) && process.parent() == Some(os::getpid()) {
        return None;
    }
    has_run(process, tid).then_some(())?;
    // The kernel detaches from the thread when the tracing thread ends, also
    // where it could not be stopped in time.
    let stop = || {
        let stopped = Stopped::new(tid, STOP_TIMEOUT)?;
        // A thread that has entered a call meanwhile returns to it.
        if procfs::read_activity(process, tid) != ThreadActivity::OutsideSyscall {
            return None;
        }
        let registers = stopped.registers()?;
        let thread = map.thread(tid, registers.sp);
        let copy = passive::copy(process, thread, registers.sp, registers.ip)?;
        Some(CopiedStack { registers: Some(registers), ..copy })
    };
    thread::scope(|scope| {
        let tracer = thread::Builder::new().name("loopscope-stop".to_owned()).spawn_scoped(scope, stop);
        tracer.ok()?.join().ok()?
    })
}

/// Returns whether the thread computes and has done so for some time.
fn has_run(process: Process, tid: i32) -> bool {
    let (reader, clock) = (ProcReader::new(process, tid), Clock::new());
    let cpu_nanos = || reader.times(&clock).map(|times| times.cpu_nanos);
    let first = Look::at(process, tid);
    let Some(before) = cpu_nanos() else { return false };
    let begin = Instant::now();
    while begin.elapsed() < MAX_WATCH {
        thread::sleep(WATCH_INTERVAL);
        let grown = cpu_nanos().map_or(0, |now| now.saturating_sub(before));
        let now = Look::at(process, tid);
        if now.activity != ThreadActivity::Running || now != first || now.sleeps.is_none() {
            return false;
        }
        if grown >= MIN_RUN_NANOS {
            return true;
        }
    }
    false
}

/// A thread that is stopped until this is dropped.
pub(super) struct Stopped {
    tid: i32,
    /// The signal that has stopped the thread before the request did. The
    /// thread gets it when it runs on.
    signal: i32,
}

impl Stopped {
    /// Stops a thread of another process. All calls must be made by the thread
    /// that made this one.
    pub(super) fn new(tid: i32, timeout: Duration) -> Option<Self> {
        request(libc::PTRACE_SEIZE, tid, 0).then_some(())?;
        request(libc::PTRACE_INTERRUPT, tid, 0).then_some(())?;
        let begin = Instant::now();
        loop {
            let mut status = 0;
            // SAFETY: the call writes `status`, a local.
            let waited = unsafe { libc::waitpid(tid, &raw mut status, libc::__WALL | libc::WNOHANG) };
            if waited == tid {
                let is_event = status >> 16 == EVENT_STOP;
                let signal = if is_event { 0 } else { libc::WSTOPSIG(status) };
                return libc::WIFSTOPPED(status).then_some(Self { tid, signal });
            }
            if waited < 0 || begin.elapsed() > timeout {
                return None;
            }
            thread::sleep(STOP_CHECK_INTERVAL);
        }
    }

    fn registers(&self) -> Option<Registers> {
        let mut all = MaybeUninit::<libc::user_regs_struct>::zeroed();
        let mut into =
            libc::iovec { iov_base: all.as_mut_ptr().cast(), iov_len: size_of::<libc::user_regs_struct>() };
        // SAFETY: the call writes at most `iov_len` bytes to `all`, for which
        // any bytes are valid.
        let all = unsafe {
            let failed =
                libc::ptrace(libc::PTRACE_GETREGSET, self.tid, GENERAL_REGISTERS, &raw mut into) != 0;
            (!failed && into.iov_len == size_of::<libc::user_regs_struct>()).then(|| all.assume_init())
        };
        all.as_ref().map(machine::registers_of_stopped)
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        request(libc::PTRACE_DETACH, self.tid, self.signal as usize);
    }
}

#[cfg(target_env = "musl")]
type Request = libc::c_int;
#[cfg(not(target_env = "musl"))]
type Request = libc::c_uint;

/// Makes a request that reads and writes no memory of this process.
fn request(request: Request, tid: i32, data: usize) -> bool {
    // SAFETY: `data` is a number for these requests, and the address is null.
    unsafe { libc::ptrace(request, tid, ptr::null_mut::<u8>(), data) == 0 }
}
