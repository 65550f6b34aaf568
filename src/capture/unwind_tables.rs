//! What the unwind tables say of a function. Even a stripped program has them.

use std::ops::Range;

use gimli::{
    BaseAddresses, CallFrameInstruction, EhFrame, EhFrameHdr, EndianSlice, FrameDescriptionEntry,
    LittleEndian, Operation, RegisterRule, UnwindContext, UnwindExpression, UnwindSection,
};

use crate::capture::modules::Module;

/// Returns the addresses of the function that an address is in.
pub(super) fn function(module: &Module, address: u64) -> Option<Range<u64>> {
    with_description(module, address, |description, _, _| {
        let start = description.initial_address();
        Some(start..start.checked_add(description.len())?)
    })
}

/// Returns whether the function at this address has no caller: it is the first
/// one of a thread.
pub(super) fn has_no_caller(module: &Module, address: u64) -> Option<bool> {
    with_description(module, address, |description, eh_frame, bases| {
        let mut context = UnwindContext::new();
        let row = description.unwind_info_for_address(eh_frame, bases, &mut context, address).ok()?;
        let return_address = description.cie().return_address_register();
        Some(row.register(return_address) == Some(RegisterRule::Undefined))
    })
}

/// Returns whether an expression of the tables jumps backward.
pub(super) fn has_backward_jump(module: &Module, address: u64) -> Option<bool> {
    with_description(module, address, |description, eh_frame, bases| {
        let encoding = description.cie().encoding();
        let jumps_backward = |expression: UnwindExpression<usize>| {
            let Ok(expression) = expression.get(eh_frame) else { return true };
            let mut operations = expression.operations(encoding);
            loop {
                match operations.next() {
                    Ok(Some(Operation::Skip { target } | Operation::Bra { target })) if target < 0 => {
                        return true;
                    }
                    Ok(Some(_)) => {}
                    Ok(None) => return false,
                    Err(_) => return true,
                }
            }
        };
        for mut instructions in
            [description.cie().instructions(eh_frame, bases), description.instructions(eh_frame, bases)]
        {
            while let Ok(Some(instruction)) = instructions.next() {
                let expression = match instruction {
                    CallFrameInstruction::DefCfaExpression { expression }
                    | CallFrameInstruction::Expression { expression, .. }
                    | CallFrameInstruction::ValExpression { expression, .. } => expression,
                    _ => continue,
                };
                if jumps_backward(expression) {
                    return Some(true);
                }
            }
        }
        Some(false)
    })
}

type Tables<'m> = EndianSlice<'m, LittleEndian>;

/// Calls `f` with the entry of the unwind tables for an address.
pub(super) fn with_description<T>(
    module: &Module,
    address: u64,
    f: impl FnOnce(FrameDescriptionEntry<Tables<'_>>, &EhFrame<Tables<'_>>, &BaseAddresses) -> Option<T>,
) -> Option<T> {
    let (hdr, frames) = (module.eh_frame_hdr.as_ref()?, module.eh_frame.as_ref()?);
    let bases = BaseAddresses::default().set_eh_frame_hdr(hdr.range.start).set_eh_frame(frames.range.start);
    let parsed = EhFrameHdr::new(&hdr.bytes, LittleEndian).parse(&bases, 8).ok()?;
    let eh_frame = EhFrame::new(&frames.bytes, LittleEndian);
    let fde = parsed.table()?.fde_for_address(&eh_frame, &bases, address, EhFrame::cie_from_offset).ok()?;
    f(fde, &eh_frame, &bases)
}
