//! Where the frame of the function that polls tasks is on the stack of a
//! worker.
//!
//! The loop of a worker calls that function through the task's table of
//! functions, always at the same depth of the stack. What the function saves on
//! its entry, with the task's address, stays as it is until it returns. The
//! next poll writes to the frame: to the return address at least.

use crate::diagnose::symbols::Symbols;
use crate::evidence::Capture;
use crate::process::Process;
use crate::stable_hash;
use crate::threads::role;

/// The bytes around the frame's outer end that are compared: the registers that
/// the function has saved, and the locals of its caller.
const BYTES_INSIDE: u64 = 64;
const BYTES_OUTSIDE: u64 = 128;

/// The outer end of the frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PollFrame {
    end: u64,
}

impl PollFrame {
    /// Finds the frame in a capture whose frames have these stack pointers in
    /// their callers.
    pub(super) fn find(capture: &Capture, caller_sps: &[u64], symbols: &mut Symbols) -> Option<Self> {
        let mut is_poll = |index: &usize| {
            let stack = vec![capture.stack[*index].clone()];
            let address = Capture { stack, ..Capture::without_stack(0, false, None) };
            let frames = symbols.stack(&address).frames;
            frames.iter().any(role::is_poll)
        };
        // The innermost task of all: a job of the blocking pool that runs a
        // worker is a task as well.
        let innermost = (0..capture.stack.len()).find(&mut is_poll)?;
        let outermost = (innermost..capture.stack.len()).take_while(is_poll).last()?;
        Some(Self { end: *caller_sps.get(outermost)? })
    }

    /// Returns the address of a word that each call of the function writes: the
    /// return address, or on aarch64 a saved register. There the outermost word
    /// may be padding, and the next one is written in each form of a frame.
    pub(super) fn written_word(self) -> Option<u64> {
        self.end.checked_sub(if cfg!(target_arch = "aarch64") { 16 } else { 8 })
    }

    /// Returns a number that stands for the frame's contents now.
    pub(super) fn read(self, process: Process) -> Option<u64> {
        let start = self.end.checked_sub(BYTES_INSIDE)?;
        let bytes = process.read(start, (BYTES_INSIDE + BYTES_OUTSIDE) as usize)?;
        Some(stable_hash::fnv1a(&bytes))
    }
}
