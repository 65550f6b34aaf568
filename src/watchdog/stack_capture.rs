//! Turns a copied stack into a capture.

use std::sync::Arc;

use crate::capture::CopiedStack;
use crate::capture::unwind::{Unwinder, Unwound};
use crate::evidence::{CallInfo, Capture, CodeAddress, CodeFile, Stretch};
use crate::finding::Evidence;
use crate::watchdog::call_info::call_info;
use crate::watchdog::sample::InSyscall;
use crate::watchdog::syscalls;

/// Returns the capture of a thread that is in no stall and waits in `call`.
pub(super) fn capture_of_waiting(stack: &CopiedStack, call: &InSyscall, unwinder: &mut Unwinder) -> Capture {
    capture_of_call(unwind_waiting(stack, call, unwinder), call, unwinder)
}

/// Unwinds the stack of a thread that waits in `call`.
pub(crate) fn unwind_waiting(stack: &CopiedStack, call: &InSyscall, unwinder: &mut Unwinder) -> Unwound {
    let unwound = unwind(stack, Some(call), unwinder);
    if unwound.evidence == Evidence::Leaf { unwinder.reconstruct(stack) } else { unwound }
}

/// Returns the capture of a thread that waits in `call`.
pub(crate) fn capture_of_call(unwound: Unwound, call: &InSyscall, unwinder: &Unwinder) -> Capture {
    let info = call_info(unwinder.process(), call, syscalls::find(call.number));
    capture(0, unwound, false, Some(info), unwinder)
}

/// Returns the capture of an unwound stack.
pub(crate) fn capture(
    age_nanos: u64,
    unwound: Unwound,
    on_cpu: bool,
    call: Option<CallInfo>,
    unwinder: &Unwinder,
) -> Capture {
    let no_file = Arc::new(CodeFile::none());
    let locate = |address: &u64| match unwinder.module_of(*address) {
        Some(module) => {
            CodeAddress { file: Arc::clone(&module.file), address: address.wrapping_sub(module.bias) }
        }
        None => CodeAddress { file: Arc::clone(&no_file), address: *address },
    };
    let stack = unwound.addresses.iter().map(locate).collect();
    Capture {
        age_nanos,
        evidence: unwound.evidence,
        stack,
        on_cpu,
        uninterruptible: false,
        call,
        stretch: Stretch::default(),
    }
}

/// Unwinds a stack. The parent of a `vfork` has no return address on its stack:
/// until the call returns, the C library keeps it in the register of the first
/// argument.
pub(crate) fn unwind(stack: &CopiedStack, call: Option<&InSyscall>, unwinder: &mut Unwinder) -> Unwound {
    let is_vfork = |call: &&InSyscall| syscalls::find(call.number).is_some_and(|known| known.name == "vfork");
    let Some(call) = call.filter(is_vfork) else {
        return unwinder.unwind(stack);
    };
    let caller = CopiedStack { ip: call.arguments[0].saturating_sub(1), ..stack.clone() };
    let mut unwound = unwinder.unwind(&caller);
    unwound.addresses.insert(0, stack.ip);
    unwound.caller_sps.insert(0, stack.sp);
    unwound
}
