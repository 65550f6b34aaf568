//! A thread that waits, with the registers of its frames.

use crate::capture::frames::{self, StackFrame};
use crate::capture::unwind::Unwinder;
use crate::process::Process;
use crate::threads::look::Look;
use crate::threads::memory_map::MemoryMap;
use crate::threads::reading;
use crate::threads::registers::Registers;

/// A thread that waits in a system call.
#[derive(Debug)]
pub(crate) struct ParkedThread {
    process: Process,
    tid: i32,
    look: Look,
    /// Innermost first.
    pub(crate) frames: Vec<StackFrame>,
}

impl ParkedThread {
    /// Reads the thread; `None` if it does not wait, or its stack is not known
    /// for certain.
    pub(super) fn read(tid: i32, map: &MemoryMap, unwinder: &mut Unwinder) -> Option<Self> {
        let reading = reading::read(tid, map, Registers::Passive, unwinder);
        reading.look.call()?;
        let stack = reading.stack.filter(|stack| stack.unwound.is_confirmed)?;
        let frames = frames::frames(unwinder, &stack.copy, &stack.unwound);
        Some(Self { process: unwinder.process(), tid, look: reading.look, frames })
    }

    /// Returns whether the thread has waited since it was read.
    pub(crate) fn is_still(&self) -> bool {
        Look::at(self.process, self.tid).is_same_wait(&self.look)
    }
}
