//! Reads a stack from outside, while its thread waits in a system call.

use crate::capture::{CopiedStack, STACK_BYTES};
use crate::os::{self, ThreadInfo};

/// Copies the stack of a thread that waits with these registers. The caller
/// checks before and after that the thread waits in the same call.
pub(crate) fn copy(thread: ThreadInfo, sp: u64, pc: u64) -> Option<CopiedStack> {
    let start = usize::try_from(sp).ok()?;
    if !(thread.stack_bottom..thread.stack_top).contains(&start) {
        return None;
    }
    let length = (thread.stack_top - start).min(STACK_BYTES);
    let bytes = os::read_memory(start, length)?;
    Some(CopiedStack { ip: pc, sp, registers: None, bytes })
}
