//! The registers and the stack of a thread that computes.
//!
//! `/proc` has no registers of a thread that runs. docs/attach.md has what the
//! ways to get them do to the thread, as measured.

mod interrupt;
mod sample;

use std::time::Duration;

use crate::capture::CopiedStack;
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

/// Returns whether the kernel lets this process sample threads that compute.
pub(crate) fn can_sample() -> bool {
    sample::is_allowed()
}

/// Copies the registers and the stack of a thread that computes, by a sample
/// within `timeout`. Returns `None` if it does not compute any more, or if the
/// kernel refuses it.
pub(crate) fn sample_running(process: Process, tid: i32, timeout: Duration) -> Option<CopiedStack> {
    // A thread of this process is read by a signal, as the watchdog does it.
    process.other_pid()?;
    sample::copy(tid, timeout).ok().flatten()
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
        Registers::Sample => sample_running(process, tid, timeout),
        Registers::Interrupt => match sample::copy(tid, timeout) {
            Ok(copy) => copy,
            Err(_) => interrupt::copy(process, tid, map),
        },
    }
}

#[cfg(test)]
mod tests;
