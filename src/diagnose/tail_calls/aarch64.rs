//! The jumps and calls of aarch64. Each instruction has 32 bits.

use std::collections::HashSet;

use crate::diagnose::tail_calls::jump::{Jump, Target};

/// The length of a call instruction.
#[cfg_attr(not(target_arch = "aarch64"), allow(dead_code))]
pub(super) const CALL_BYTES: usize = 4;
/// A stub of the linkage table is not longer.
#[cfg_attr(not(target_arch = "aarch64"), allow(dead_code))]
pub(super) const STUB_BYTES: usize = 20;

/// The registers of a function as far as its instructions tell their values.
type Registers = [Option<Value>; 32];

/// What a register holds.
#[derive(Debug, Clone, Copy)]
enum Value {
    Address(u64),
    /// The word at this address.
    WordAt(u64),
}

/// Returns the jumps of a function, in the order of their addresses. Decodes at
/// most `budget` instructions, and counts them. `None` if the code is longer.
pub(super) fn jumps(code: &[u8], start: u64, budget: &mut usize) -> Option<Vec<Jump>> {
    let mut jumps = Vec::new();
    let mut registers = Registers::default();
    let mut previous = 0;
    // Code that is reached by a jump has the registers of that jump.
    let unknown = Registers::default();
    let target = |(at, instruction)| match jump_target(instruction, at, &unknown) {
        Some(Target::Address(target)) => Some(target),
        _ => None,
    };
    let targets: HashSet<_> = instructions(code, start).take(*budget).filter_map(target).collect();
    for (at, instruction) in instructions(code, start) {
        *budget = budget.checked_sub(1)?;
        if ends_block(previous) || targets.contains(&at) {
            registers = Registers::default();
        }
        let target = jump_target(instruction, at, &registers);
        let target = target.filter(|_| !is_table_jump(previous, instruction));
        jumps.extend(target.map(|target| Jump { at, target }));
        update(&mut registers, instruction, at);
        previous = instruction;
    }
    Some(jumps)
}

/// Returns where the calls of a function go, and what addresses it loads, as
/// far as the budget allows.
#[cfg_attr(not(target_arch = "aarch64"), allow(dead_code))]
pub(super) fn references(code: &[u8], start: u64, budget: usize) -> Vec<Target> {
    let mut registers = Registers::default();
    let mut references = Vec::new();
    for (at, instruction) in instructions(code, start).take(budget) {
        let target = call_target(&instruction.to_le_bytes(), at.wrapping_add(4));
        if target != Target::Unknown {
            references.push(target);
            continue;
        }
        let register = (instruction & 31) as usize;
        update(&mut registers, instruction, at);
        references.extend(registers[register].filter(|_| register != 31).map(|value| match value {
            Value::Address(address) => Target::Address(address),
            Value::WordAt(slot) => Target::Slot(slot),
        }));
    }
    references
}

/// Returns where the call goes that is at the end of `code`, before
/// `return_address`.
pub(super) fn call_target(code: &[u8], return_address: u64) -> Target {
    const BL: u32 = 0b10_0101;
    let at = return_address.wrapping_sub(4);
    let call = instructions(code, at).last().filter(|(_, call)| call >> 26 == BL);
    call.map_or(Target::Unknown, |(_, call)| Target::Address(relative(at, call, 0, 26)))
}

/// Returns where a stub of the linkage table jumps to. `None` if the code is no
/// stub. Stubs use the registers x16 and x17 only.
pub(super) fn stub_target(code: &[u8], start: u64) -> Option<Target> {
    const BTI_C: u32 = 0xD503_245F;
    let mut registers = Registers::default();
    for (at, instruction) in instructions(code, start) {
        if let Some(target) = jump_target(instruction, at, &registers) {
            return (is_jump_to_register(instruction) || is_unconditional(instruction)).then_some(target);
        }
        let is_of_stub = instruction == BTI_C || matches!(instruction & 31, 16 | 17);
        if !is_of_stub {
            return None;
        }
        update(&mut registers, instruction, at);
    }
    None
}

fn instructions(code: &[u8], start: u64) -> impl Iterator<Item = (u64, u32)> {
    let words = code.chunks_exact(4).map(|word| u32::from_le_bytes([word[0], word[1], word[2], word[3]]));
    words.enumerate().map(move |(n, word)| (start.wrapping_add(4 * n as u64), word))
}

fn jump_target(instruction: u32, at: u64, registers: &Registers) -> Option<Target> {
    const CONDITIONAL: u32 = 0b0101_0100;
    if is_unconditional(instruction) {
        return Some(Target::Address(relative(at, instruction, 0, 26)));
    }
    let is_compare_and_branch = instruction >> 25 & 0b11_1111 == 0b01_1010;
    if instruction >> 24 == CONDITIONAL || is_compare_and_branch {
        return Some(Target::Address(relative(at, instruction, 5, 19)));
    }
    let is_test_and_branch = instruction >> 25 & 0b11_1111 == 0b01_1011;
    if is_test_and_branch {
        return Some(Target::Address(relative(at, instruction, 5, 14)));
    }
    is_jump_to_register(instruction).then(|| match registers[register_at(instruction, 5)] {
        Some(Value::Address(address)) => Target::Address(address),
        Some(Value::WordAt(slot)) => Target::Slot(slot),
        None => Target::Unknown,
    })
}

fn is_unconditional(instruction: u32) -> bool {
    const B: u32 = 0b00_0101;
    instruction >> 26 == B
}

/// Returns whether the instruction after this one is reached by jumps only.
fn ends_block(instruction: u32) -> bool {
    // `ret`, and its forms that authenticate the address.
    let is_return = instruction & 0xFFFF_F000 == 0xD65F_0000;
    is_return || is_unconditional(instruction) || is_jump_to_register(instruction)
}

/// Returns whether the instruction is `br`, or one of its forms that
/// authenticate the address.
fn is_jump_to_register(instruction: u32) -> bool {
    const BR: u32 = 0xD61F_0000;
    const BRAA: u32 = 0xD71F_0800;
    const BRAAZ: u32 = 0xD61F_0800;
    instruction & 0xFFFF_FC1F == BR || instruction & 0xFFFF_F800 == BRAA || instruction & 0xFFFF_F800 == BRAAZ
}

/// Returns whether a jump through a register goes to an address that the
/// instruction before it has computed: to a branch of a `match`, inside of the
/// function.
fn is_table_jump(previous: u32, jump: u32) -> bool {
    let is_add_of_registers = matches!(previous >> 21 & 0x7FF, 0x458 | 0x459);
    is_jump_to_register(jump) && is_add_of_registers && register_at(previous, 0) == register_at(jump, 5)
}

/// Follows the instructions with which a program gets an address: `adrp`, then
/// `add` or `ldr`. Any other instruction makes its first register unknown.
fn update(registers: &mut Registers, instruction: u32, at: u64) {
    let (destination, source) = (register_at(instruction, 0), register_at(instruction, 5));
    let base = match registers[source] {
        Some(Value::Address(address)) if source != 31 => Some(address),
        _ => None,
    };
    let immediate = u64::from(instruction >> 10 & 0xFFF);
    let is_adrp = instruction & 0x9F00_0000 == 0x9000_0000;
    let is_ldr = instruction & 0xFFC0_0000 == 0xF940_0000;
    let is_add = instruction & 0xFFC0_0000 == 0x9100_0000;
    let is_call = instruction >> 26 == 0b10_0101 || instruction & 0xFFFF_FC1F == 0xD63F_0000;
    let is_pair = instruction >> 25 & 0b1_1101 == 0b1_0100;
    // A load or store without a plain offset, which may change its base.
    let may_write_back = instruction >> 25 & 0b101 == 0b100 && instruction >> 24 & 1 == 0;
    if is_call {
        *registers = Registers::default();
    } else if is_pair {
        registers[destination] = None;
        registers[register_at(instruction, 10)] = None;
        registers[source] = None;
    } else {
        if may_write_back {
            registers[source] = None;
        }
        registers[destination] = if is_adrp {
            let pages =
                i64::from((instruction << 8).cast_signed() >> 13) << 2 | i64::from(instruction >> 29 & 3);
            Some(Value::Address((at & !0xFFF).wrapping_add_signed(pages << 12)))
        } else if is_ldr {
            base.map(|base| Value::WordAt(base.wrapping_add(8 * immediate)))
        } else if is_add {
            base.map(|base| Value::Address(base.wrapping_add(immediate)))
        } else {
            None
        };
    }
}

/// Returns the address at a distance in instructions, which is the signed field
/// of `bits` bits at bit `first`.
fn relative(at: u64, instruction: u32, first: u32, bits: u32) -> u64 {
    let distance = (instruction << (32 - first - bits)).cast_signed() >> (32 - bits);
    at.wrapping_add_signed(4 * i64::from(distance))
}

fn register_at(instruction: u32, bit: u32) -> usize {
    (instruction >> bit & 31) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(code: &[u32]) -> Vec<u8> {
        code.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    fn jumps_of(code: &[u32]) -> Vec<Jump> {
        jumps(&bytes(code), 0x1000, &mut 100).unwrap()
    }

    const RET: u32 = 0xD65F_03C0;

    #[test]
    fn jumps_are_found_with_their_targets() {
        for (instruction, target) in [
            (0x1400_0003, 0x100C), // b +12
            (0x17FF_FFFF, 0xFFC),  // b -4
            (0x5400_0040, 0x1008), // b.eq +8
            (0xB4FF_FFE0, 0xFFC),  // cbz x0, -4
            (0x3500_0041, 0x1008), // cbnz w1, +8
            (0x3700_0040, 0x1008), // tbnz w0, #0, +8
        ] {
            let expected = vec![Jump { at: 0x1000, target: Target::Address(target) }];
            assert_eq!(jumps_of(&[instruction, RET]), expected, "{instruction:#x}");
        }
        let call_and_return = [0x9400_0003, RET, 0xD63F_0000];
        assert_eq!(jumps_of(&call_and_return), []);
    }

    #[test]
    fn calls_and_loaded_addresses_are_references() {
        // adrp x1, +0x2000; ldr x1, [x1, #24]; blr x1; bl +12
        let code = bytes(&[0xD000_0001, 0xF940_0C21, 0xD63F_0020, 0x9400_0003]);
        let found = references(&code, 0x1000, 100);
        assert!(found.contains(&Target::Slot(0x3018)), "{found:x?}");
        assert_eq!(found.last(), Some(&Target::Address(0x1018)));
    }

    #[test]
    fn a_jump_through_a_slot_of_the_program_is_followed() {
        // adrp x1, +0x2000; ldr x1, [x1, #24]; br x1
        let through_slot = [0xD000_0001, 0xF940_0C21, 0xD61F_0020];
        assert_eq!(jumps_of(&through_slot), [Jump { at: 0x1008, target: Target::Slot(0x3018) }]);
        // The register is overwritten: mov x1, x2
        let overwritten = [0xD000_0001, 0xF940_0C21, 0xAA02_03E1, 0xD61F_0020];
        assert_eq!(jumps_of(&overwritten), [Jump { at: 0x100C, target: Target::Unknown }]);
        // Other code is reached by jumps only, and may have other registers:
        // adrp x1; ldr x1; ret, b +4 or br x1; then br x1
        for end in [RET, 0x1400_0001, 0xD61F_0020] {
            let jumps = jumps_of(&[0xD000_0001, 0xF940_0C21, end, 0xD61F_0020]);
            assert_eq!(jumps.last(), Some(&Jump { at: 0x100C, target: Target::Unknown }), "{end:#x}");
        }
        // So may code to which a branch leads: cbz x0, +12; adrp; ldr; br
        let joined = [0xB400_0060, 0xD000_0001, 0xF940_0C21, 0xD61F_0020];
        assert_eq!(jumps_of(&joined).last(), Some(&Jump { at: 0x100C, target: Target::Unknown }));
        // A call may change any register.
        let called = [0xD000_0001, 0xF940_0C21, 0x9400_0003, 0xD61F_0020];
        assert_eq!(jumps_of(&called), [Jump { at: 0x100C, target: Target::Unknown }]);
    }

    #[test]
    fn the_jump_of_a_match_stays_inside() {
        // add x8, x9, w8, sxtw #2; br x8, and with lsl #2
        assert_eq!(jumps_of(&[0x8B28_C928, 0xD61F_0100]), []);
        assert_eq!(jumps_of(&[0x8B08_0928, 0xD61F_0100]), []);
        let other_register = [0x8B28_C929, 0xD61F_0100];
        assert_eq!(jumps_of(&other_register), [Jump { at: 0x1004, target: Target::Unknown }]);
    }

    #[test]
    fn the_target_of_a_call_is_read_from_its_end() {
        assert_eq!(call_target(&bytes(&[0x97FF_FFFE]), 0x1004), Target::Address(0xFF8));
        assert_eq!(call_target(&bytes(&[0xD63F_0000]), 0x1004), Target::Unknown);
        assert_eq!(call_target(&[], 0x1004), Target::Unknown);
    }

    #[test]
    fn stubs_are_followed_and_other_code_is_not() {
        // bti c; adrp x16, +0x2000; ldr x17, [x16, #24]; add x16, x16, #24;
        // br x17
        let stub = [0xD503_245F, 0xD000_0010, 0xF940_0E11, 0x9100_6210, 0xD61F_0220];
        assert_eq!(stub_target(&bytes(&stub), 0x1000), Some(Target::Slot(0x3018)));
        // The linker's bridge to a far function: adrp, add, br.
        let bridge = [0xD000_0010, 0x9100_6210, 0xD61F_0200];
        assert_eq!(stub_target(&bytes(&bridge), 0x1000), Some(Target::Address(0x3018)));
        assert_eq!(stub_target(&bytes(&[0xAA02_03E1, 0xD61F_0220]), 0x1000), None);
        assert_eq!(stub_target(&[], 0x1000), None);
    }

    #[test]
    fn code_over_the_budget_has_no_list_of_jumps() {
        assert_eq!(jumps(&bytes(&[RET; 3]), 0, &mut 2), None);
    }
}
