//! The registers and the stack of a thread that computes.
//!
//! `/proc` has no registers of a thread that runs. docs/attach.md has what the
//! ways to get them do to the thread, as measured.

mod interrupt;
mod perf_event;
mod sample;
mod write_guard;

use std::time::Duration;

use crate::capture::CopiedStack;
use crate::os;
use crate::process::Process;
use crate::threads::memory_map::MemoryMap;

/// How the registers of a thread that computes are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Registers {
    /// Not at all. The line of such a thread is not known.
    Passive,
    /// By one sample of the kernel's profiler. The thread is not stopped, and
    /// no system call is interrupted.
    #[default]
    Sample,
    /// By a sample or, where the kernel refuses it, by a short stop. In rare
    /// cases the stop interrupts a call that the thread has just begun.
    Interrupt,
}

/// Returns whether the kernel lets this process sample threads that compute,
/// and see whether a poll is still the same.
pub(crate) fn can_sample() -> bool {
    let word = 0_u64;
    let address = std::ptr::from_ref(&word).addr() as u64;
    sample::is_allowed() && write_guard::WriteGuard::new(os::current_thread_id(), address).is_ok()
}

/// A request for one sample of a thread, as soon as it runs. Dropping it
/// withdraws it.
#[derive(Debug)]
pub(crate) struct SampleRequest(sample::Request);

impl SampleRequest {
    /// Asks for a sample. Returns `None` if the kernel refuses it.
    pub(crate) fn new(process: Process, tid: i32) -> Option<Self> {
        // A thread of this process is read by a signal, as the watchdog does
        // it.
        process.other_pid()?;
        sample::Request::new(tid).ok().map(Self)
    }

    /// Returns the registers and the stack if the sample has been taken.
    pub(crate) fn stack(&self) -> Option<CopiedStack> {
        self.0.stack()
    }
}

/// Shows whether a thread has written to a word of its stack. Dropping it ends
/// that.
#[derive(Debug)]
pub(crate) struct WriteGuard(write_guard::WriteGuard);

impl WriteGuard {
    /// Begins to note writes to the word at `address`. Returns `None` if the
    /// kernel refuses it.
    pub(crate) fn new(process: Process, tid: i32, address: u64) -> Option<Self> {
        process.other_pid()?;
        write_guard::WriteGuard::new(tid, address).ok().map(Self)
    }

    /// Returns whether the thread has certainly not written to the word.
    pub(crate) fn is_unwritten(&self) -> bool {
        self.0.is_unwritten()
    }
}

/// Copies the registers and the stack of a thread that computes. Returns `None`
/// if it does not compute any more, or if the system does not allow it.
/// Waits for a sample until `timeout`.
pub(super) fn copy_running(
    process: Process,
    tid: i32,
    registers: Registers,
    map: &MemoryMap,
    timeout: Duration,
) -> Option<CopiedStack> {
    process.other_pid()?;
    match registers {
        Registers::Passive => None,
        Registers::Sample => sample::copy(tid, timeout).ok().flatten(),
        Registers::Interrupt => match sample::copy(tid, timeout) {
            Ok(copy) => copy,
            Err(_) => interrupt::copy(process, tid, map),
        },
    }
}

#[cfg(test)]
mod tests;
