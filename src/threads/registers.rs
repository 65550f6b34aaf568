//! The registers of a thread that computes.

use crate::capture::CopiedStack;
use crate::process::Process;
use crate::threads::memory_map::MemoryMap;

/// How the registers of a thread that computes are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Registers {
    /// Not at all: the thread is not disturbed, and its line is not known.
    #[default]
    Passive,
    /// By a short stop of the thread.
    Interrupt,
}

pub(super) fn copy_running(_process: Process, _tid: i32, _map: &MemoryMap) -> Option<CopiedStack> {
    None
}
