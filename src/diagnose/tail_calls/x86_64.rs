//! The jumps and calls of x86_64.

use iced_x86::{Code, Decoder, DecoderOptions, Instruction, Mnemonic, OpKind};

use crate::diagnose::tail_calls::jump::{Jump, Target};

/// The longest call instruction that contains its target or the address of
/// its target.
pub(super) const CALL_BYTES: usize = 6;
/// A stub of the linkage table is not longer.
pub(super) const STUB_BYTES: usize = 16;

/// Returns the jumps of a function, in the order of their addresses. Decodes at
/// most `budget` instructions, and counts them. `None` if some of the code
/// cannot be decoded.
pub(super) fn jumps(code: &[u8], start: u64, budget: &mut usize) -> Option<Vec<Jump>> {
    let mut jumps = Vec::new();
    let mut previous = Instruction::default();
    for instruction in decode(code, start) {
        *budget = budget.checked_sub(1)?;
        if instruction.is_invalid() {
            return None;
        }
        let target = jump_target(&instruction).filter(|_| !is_table_jump(&previous, &instruction));
        jumps.extend(target.map(|target| Jump { at: instruction.ip(), target }));
        previous = instruction;
    }
    Some(jumps)
}

/// Returns where the calls of a function go, and what addresses it loads, as
/// far as the code can be decoded and the budget allows. Without optimisation,
/// a call loads its address first.
pub(super) fn references(code: &[u8], start: u64, budget: usize) -> Vec<Target> {
    let reference = |instruction: Instruction| match instruction.mnemonic() {
        Mnemonic::Call if instruction.op0_kind() == OpKind::NearBranch64 => {
            Some(Target::Address(instruction.near_branch_target()))
        }
        Mnemonic::Lea if instruction.is_ip_rel_memory_operand() => {
            Some(Target::Address(instruction.ip_rel_memory_address()))
        }
        Mnemonic::Call | Mnemonic::Mov if instruction.is_ip_rel_memory_operand() => {
            Some(Target::Slot(instruction.ip_rel_memory_address()))
        }
        _ => None,
    };
    let decoded = decode(code, start).take(budget).take_while(|instruction| !instruction.is_invalid());
    decoded.filter_map(reference).collect()
}

/// Returns where the call goes that is at the end of `code`, before
/// `return_address`.
pub(super) fn call_target(code: &[u8], return_address: u64) -> Target {
    const CALL: u8 = 0xE8;
    const CALL_THROUGH_SLOT: [u8; 2] = [0xFF, 0x15];
    let relative =
        |distance: [u8; 4]| return_address.wrapping_add_signed(i64::from(i32::from_le_bytes(distance)));
    match *code {
        [.., x, y, a, b, c, d] if [x, y] == CALL_THROUGH_SLOT => Target::Slot(relative([a, b, c, d])),
        [.., CALL, a, b, c, d] => Target::Address(relative([a, b, c, d])),
        _ => Target::Unknown,
    }
}

/// Returns where a stub of the linkage table jumps to. `None` if the code is no
/// stub.
pub(super) fn stub_target(code: &[u8], start: u64) -> Option<Target> {
    let is_marker =
        |instruction: &Instruction| matches!(instruction.mnemonic(), Mnemonic::Endbr64 | Mnemonic::Nop);
    let jump = decode(code, start).find(|instruction| !is_marker(instruction))?;
    jump_target(&jump).filter(|_| jump.mnemonic() == Mnemonic::Jmp)
}

fn decode(code: &[u8], start: u64) -> impl Iterator<Item = Instruction> {
    let mut decoder = Decoder::with_ip(64, code, start, DecoderOptions::NONE);
    std::iter::from_fn(move || decoder.can_decode().then(|| decoder.decode()))
}

fn jump_target(instruction: &Instruction) -> Option<Target> {
    match (instruction.code(), instruction.op0_kind()) {
        (Code::Call_rel32_64 | Code::Call_rel16, _) => None,
        (_, OpKind::NearBranch64) => Some(Target::Address(instruction.near_branch64())),
        (Code::Jmp_rm64, OpKind::Memory) if instruction.is_ip_rel_memory_operand() => {
            Some(Target::Slot(instruction.ip_rel_memory_address()))
        }
        (Code::Jmp_rm64, _) => Some(Target::Unknown),
        _ => None,
    }
}

/// Returns whether a jump through a register goes to an address that the
/// instruction before it has computed: to a branch of a `match`, inside of the
/// function.
fn is_table_jump(previous: &Instruction, jump: &Instruction) -> bool {
    jump.code() == Code::Jmp_rm64
        && jump.op0_kind() == OpKind::Register
        && previous.mnemonic() == Mnemonic::Add
        && previous.op0_kind() == OpKind::Register
        && previous.op0_register() == jump.op0_register()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jumps_of(code: &[u8]) -> Option<Vec<Jump>> {
        jumps(code, 0x1000, &mut 100)
    }

    fn jump(at: u64, target: Target) -> Jump {
        Jump { at, target }
    }

    #[test]
    fn jumps_are_found_with_their_targets() {
        // push rbx; je +8; call +0; pop rbx; jmp +0x100
        let direct = [0x53, 0x74, 0x08, 0xE8, 0, 0, 0, 0, 0x5B, 0xE9, 0, 1, 0, 0];
        let expected = [jump(0x1001, Target::Address(0x100B)), jump(0x1009, Target::Address(0x110E))];
        assert_eq!(jumps_of(&direct).as_deref(), Some(&expected[..]));
        // jmp *0x10(%rip)
        let through_slot = [0xFF, 0x25, 0x10, 0, 0, 0];
        assert_eq!(jumps_of(&through_slot), Some(vec![jump(0x1000, Target::Slot(0x1016))]));
        // jmp *%rax; jmp *0x18(%rax)
        let unknown = [0xFF, 0xE0, 0xFF, 0x60, 0x18];
        let expected = [jump(0x1000, Target::Unknown), jump(0x1002, Target::Unknown)];
        assert_eq!(jumps_of(&unknown).as_deref(), Some(&expected[..]));
    }

    #[test]
    fn the_jump_of_a_match_stays_inside() {
        // movslq (%rcx,%rax,4),%rax; add %rcx,%rax; jmp *%rax
        let table = [0x48, 0x63, 0x04, 0x81, 0x48, 0x01, 0xC8, 0xFF, 0xE0];
        assert_eq!(jumps_of(&table), Some(vec![]));
    }

    #[test]
    fn code_that_cannot_be_decoded_has_no_list_of_jumps() {
        assert_eq!(jumps_of(&[0x06]), None);
        assert_eq!(jumps_of(&[0xE9, 0, 0]), None, "cut");
        assert_eq!(jumps(&[0x90; 8], 0, &mut 7), None, "over the budget");
        assert_eq!(jumps(&[0x90; 8], 0, &mut 8), Some(vec![]));
    }

    #[test]
    fn the_target_of_a_call_is_read_from_its_end() {
        let direct = [0x90, 0xE8, 0xF8, 0xFF, 0xFF, 0xFF];
        assert_eq!(call_target(&direct, 0x1000), Target::Address(0xFF8));
        let through_slot = [0xFF, 0x15, 0x10, 0, 0, 0];
        assert_eq!(call_target(&through_slot, 0x1000), Target::Slot(0x1010));
        let through_register = [0x90, 0x90, 0x90, 0x90, 0xFF, 0xD0];
        assert_eq!(call_target(&through_register, 0x1000), Target::Unknown);
        assert_eq!(call_target(&[], 0x1000), Target::Unknown);
    }

    #[test]
    fn stubs_are_followed_and_other_code_is_not() {
        let plain = [0xFF, 0x25, 0x10, 0, 0, 0];
        assert_eq!(stub_target(&plain, 0x1000), Some(Target::Slot(0x1016)));
        // endbr64; bnd jmp *0x10(%rip)
        let marked = [0xF3, 0x0F, 0x1E, 0xFA, 0xF2, 0xFF, 0x25, 0x10, 0, 0, 0];
        assert_eq!(stub_target(&marked, 0x1000), Some(Target::Slot(0x101B)));
        assert_eq!(stub_target(&[0x53, 0xFF, 0x25, 0x10, 0, 0, 0], 0x1000), None);
        assert_eq!(stub_target(&[], 0x1000), None);
    }
}
