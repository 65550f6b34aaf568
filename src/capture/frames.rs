//! The registers that each frame of a copied stack has, as far as the frames
//! that it has called have saved them.

use std::collections::BTreeMap;

use gimli::{RegisterRule, UnwindContext};

use crate::capture::unwind::{Unwinder, Unwound};
use crate::capture::{CopiedStack, machine, unwind_tables};

/// A frame of a stack, at the call that has not returned.
#[derive(Debug, Clone, Default)]
pub(crate) struct StackFrame {
    /// An address in the code of that call.
    pub(crate) address: u64,
    /// The stack pointer as it is after the call.
    pub(crate) sp: u64,
    /// The stack pointer of the caller after this function returns.
    pub(crate) caller_sp: Option<u64>,
    /// The registers that a call leaves as they are, by their numbers in debug
    /// information. One whose value is not known is not there.
    registers: BTreeMap<u16, u64>,
}

impl StackFrame {
    /// Returns a register by its number in debug information.
    pub(crate) fn register(&self, number: u16) -> Option<u64> {
        if number == machine::STACK_POINTER {
            return Some(self.sp);
        }
        self.registers.get(&number).copied()
    }
}

/// Returns the frames of a stack, innermost first.
pub(crate) fn frames(unwinder: &Unwinder, stack: &CopiedStack, unwound: &Unwound) -> Vec<StackFrame> {
    let mut registers = BTreeMap::new();
    if let Some(known) = stack.registers {
        registers.insert(machine::FRAME_POINTER, known.frame_pointer);
    }
    let mut frames = Vec::new();
    let mut sp = stack.sp;
    for (at, address) in unwound.addresses.iter().enumerate() {
        let caller_sp = unwound.caller_sps.get(at).copied();
        frames.push(StackFrame { address: *address, sp, caller_sp, registers: registers.clone() });
        let Some(caller_sp) = caller_sp else { break };
        registers = of_caller(unwinder, stack, *address, caller_sp, &registers).unwrap_or_default();
        sp = caller_sp;
    }
    frames
}

/// Returns the registers of the caller of a function; `None` if there are no
/// tables for the function.
fn of_caller(
    unwinder: &Unwinder,
    stack: &CopiedStack,
    address: u64,
    caller_sp: u64,
    registers: &BTreeMap<u16, u64>,
) -> Option<BTreeMap<u16, u64>> {
    let module = unwinder.module_of(address)?;
    unwind_tables::with_description(module, address, |description, eh_frame, bases, address| {
        let mut context = UnwindContext::new();
        let row = description.unwind_info_for_address(eh_frame, bases, &mut context, address).ok()?;
        let saved = |number: u16| match row.register(gimli::Register(number)) {
            None | Some(RegisterRule::SameValue) => registers.get(&number).copied(),
            Some(RegisterRule::Offset(offset)) => stack.word(caller_sp.checked_add_signed(offset)?),
            Some(_) => None,
        };
        let kept = machine::KEPT_REGISTERS.iter().filter_map(|number| Some((*number, saved(*number)?)));
        Some(kept.collect())
    })
}
