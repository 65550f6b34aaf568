//! One thread as it was at one moment: what it waits for, and its stack.

use std::time::Duration;

use crate::capture::unwind::{Unwinder, Unwound};
use crate::capture::{CopiedStack, STACK_BYTES, passive};
use crate::evidence::Capture;
use crate::finding::Evidence;
use crate::threads::look::Look;
use crate::threads::memory_map::MemoryMap;
use crate::threads::registers::{self, Registers};
use crate::watchdog::call_info::call_info;
use crate::watchdog::sample::{InSyscall, ThreadActivity};
use crate::watchdog::{stack_capture, syscalls};

/// How long a thread that computes may take until it has a sample.
const SAMPLE_TIMEOUT: Duration = Duration::from_millis(200);
/// How much of a stack is copied at most: what a thread is follows from its
/// outermost frames. A build for debugging may have large futures on the stack,
/// several times.
const MAX_STACK_BYTES: usize = 1 << 20;
/// How often a thread is read until nothing changes meanwhile.
const MAX_ATTEMPTS: u32 = 3;

/// A thread at one moment.
#[derive(Debug)]
pub(super) struct Reading {
    pub(super) look: Look,
    /// The stack with what belongs to it.
    pub(super) stack: Option<ReadStack>,
    pub(super) capture: Capture,
}

impl Reading {
    /// Drops memory that is not needed and, unless `is_whole`, what is more
    /// than a usual copy of the stack.
    pub(super) fn shorten(&mut self, is_whole: bool) {
        if let Some(stack) = &mut self.stack {
            stack.copy.bytes.truncate(if is_whole { MAX_STACK_BYTES } else { STACK_BYTES });
            stack.copy.bytes.shrink_to_fit();
        }
    }

    /// Returns the length of the copy of the stack.
    pub(super) fn stack_bytes(&self) -> usize {
        self.stack.as_ref().map_or(0, |stack| stack.copy.bytes.len())
    }
}

/// A stack as it was copied, and the addresses on it.
#[derive(Debug)]
pub(super) struct ReadStack {
    pub(super) copy: CopiedStack,
    pub(super) unwound: Unwound,
}

/// Reads the thread. If it changes again and again, only its last activity is
/// known.
pub(super) fn read(tid: i32, map: &MemoryMap, registers: Registers, unwinder: &mut Unwinder) -> Reading {
    let process = unwinder.process();
    let mut look = Look::at(process, tid);
    for _ in 0..MAX_ATTEMPTS {
        let reading = match look.activity {
            ThreadActivity::InSyscall(call) => waiting(tid, look, &call, map, unwinder),
            ThreadActivity::Running => running(tid, look, registers, map, unwinder),
            ThreadActivity::OutsideSyscall | ThreadActivity::Unknown => None,
        };
        if let Some(reading) = reading {
            return reading;
        }
        let now = Look::at(process, tid);
        if now == look {
            break;
        }
        look = now;
    }
    let is_running = look.activity == ThreadActivity::Running;
    let call = look.call().map(|call| call_info(process, &call, syscalls::find(call.number)));
    Reading { look, stack: None, capture: Capture::without_stack(0, is_running, call) }
}

/// Reads a thread that waits; `None` if it has moved on meanwhile, or its stack
/// cannot be read.
fn waiting(
    tid: i32,
    look: Look,
    call: &InSyscall,
    map: &MemoryMap,
    unwinder: &mut Unwinder,
) -> Option<Reading> {
    let process = unwinder.process();
    let thread = map.thread(tid, call.sp);
    let mut copy = passive::copy(process, thread, call.sp, call.pc)?;
    // Of a thread of this process, the first copy is a short one: above its
    // stack there may be tasks, and copies of them look like tasks.
    let is_cut = process.other_pid().is_none() && copy.bytes.len() == STACK_BYTES;
    if is_cut && stack_capture::unwind(&copy, Some(call), unwinder).evidence == Evidence::Leaf {
        copy = passive::copy_at_most(process, thread, call.sp, call.pc, MAX_STACK_BYTES)?;
    }
    let unwound = unwind(&copy, Some(call), unwinder);
    (Look::at(process, tid) == look).then_some(())?;
    let info = call_info(process, call, syscalls::find(call.number));
    let capture = stack_capture::capture(0, unwound.clone(), false, Some(info), unwinder);
    Some(Reading { look, stack: Some(ReadStack { copy, unwound }), capture })
}

/// Reads a thread that computes; `None` if it does not compute any more, or if
/// that must not be done.
fn running(
    tid: i32,
    look: Look,
    registers: Registers,
    map: &MemoryMap,
    unwinder: &mut Unwinder,
) -> Option<Reading> {
    let copy = registers::copy_running(unwinder.process(), tid, registers, map, SAMPLE_TIMEOUT)?;
    let unwound = unwind(&copy, None, unwinder);
    let capture = stack_capture::capture(0, unwound.clone(), true, None, unwinder);
    Some(Reading { look, stack: Some(ReadStack { copy, unwound }), capture })
}

fn unwind(copy: &CopiedStack, call: Option<&InSyscall>, unwinder: &mut Unwinder) -> Unwound {
    let unwound = stack_capture::unwind(copy, call, unwinder);
    if unwound.evidence == Evidence::Leaf && copy.registers.is_none() {
        unwinder.reconstruct(copy)
    } else {
        unwound
    }
}
