//! Reads a stack from outside, while its thread waits in a system call.

use crate::capture::{CopiedStack, OwnStack, STACK_BYTES};
use crate::os::ThreadInfo;
use crate::process::Process;

/// The maximum number of bytes copied from a stack of another process: what a
/// thread is follows from its outermost frames.
const STACK_BYTES_OF_OTHER: usize = 1 << 20;

/// Copies the stack of a thread that waits with these registers. The caller
/// checks before and after that the thread waits in the same call. Returns
/// `None` if the stack cannot be read.
pub(crate) fn copy(process: Process, thread: ThreadInfo, sp: u64, pc: u64) -> Option<CopiedStack> {
    let max_bytes = match process {
        Process::Own => STACK_BYTES,
        Process::Other(_) => STACK_BYTES_OF_OTHER,
    };
    copy_at_most(process, thread, sp, pc, max_bytes)
}

/// As [`copy`], with another limit of what is copied.
pub(crate) fn copy_at_most(
    process: Process,
    thread: ThreadInfo,
    sp: u64,
    pc: u64,
    max_bytes: usize,
) -> Option<CopiedStack> {
    let start = usize::try_from(sp).ok()?;
    let (bytes, own_stack) = if (thread.stack_bottom..thread.stack_top).contains(&start) {
        (process.read(sp, (thread.stack_top - start).min(max_bytes))?, None)
    } else {
        // A stack whose bounds are not known is read up to the first page that
        // cannot be read.
        (process.read_until_fault(sp, max_bytes), own_stack(process, thread))
    };
    (!bytes.is_empty()).then_some(CopiedStack { ip: pc, sp, registers: None, bytes, own_stack })
}

/// Copies the outer end of a thread's own stack. Less is mapped of a stack that
/// has not grown yet.
fn own_stack(process: Process, thread: ThreadInfo) -> Option<OwnStack> {
    let lengths = std::iter::successors(Some(STACK_BYTES), |length| Some(length / 2));
    lengths.take(5).find_map(|length| {
        let start =
            thread.stack_top.checked_sub(length).filter(|start| *start >= thread.stack_bottom)? as u64;
        Some(OwnStack { start, bytes: process.read(start, length)? })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_stack_is_copied_to_its_end_and_with_the_threads_own() {
        let thread = crate::os::current_thread().unwrap();
        let local = 0x0123_4567_89AB_CDEF_u64;
        let address = std::ptr::from_ref(&local).addr() as u64;
        // The heap stands for the other stack.
        let other = vec![7_u64; 4 * STACK_BYTES / 8];
        let start = other.as_ptr().addr() as u64;
        let copied = copy(Process::Own, thread, start, 99).unwrap();
        assert_eq!((copied.ip, copied.sp, copied.bytes.len()), (99, start, STACK_BYTES));
        assert_eq!(copied.word(start + 8), Some(7));
        let own = copied.own_stack.as_ref().unwrap();
        assert_eq!(own.start as usize + own.bytes.len(), thread.stack_top);
        if address >= own.start {
            assert_eq!(copied.word(address), Some(local));
            assert!(copied.words().any(|word| word == local));
        }
        assert!(copy(Process::Own, thread, 8, 99).is_none(), "no memory is mapped there");
        assert!(copy(Process::Own, thread, u64::MAX, 99).is_none());
    }
}
