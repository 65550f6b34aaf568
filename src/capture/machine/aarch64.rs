//! Registers and machine code of aarch64.

use framehop::aarch64::{PtrAuthMask, UnwindRegsAarch64};

use crate::capture::machine::{Registers, code_before};
use crate::process::Process;

/// Reads the registers from the context of a signal handler. This is
/// async-signal-safe.
pub(crate) fn registers(context: &libc::ucontext_t) -> Registers {
    let all = &context.uc_mcontext;
    Registers {
        ip: all.pc,
        sp: all.sp,
        frame_pointer: all.regs[29],
        link: all.regs[30],
        first_argument: all.regs[0],
    }
}

/// The registers that a sample of the kernel has, as bits of its numbers of
/// registers: the first argument, frame pointer, link, `sp` and `pc`.
#[cfg(feature = "attach")]
pub(crate) const SAMPLED_REGISTERS: u64 = 1 | 1 << 29 | 1 << 30 | 1 << 31 | 1 << 32;

/// The numbers that debug information has for registers: the stack pointer, the
/// frame pointer, and those that a call leaves as they are.
#[cfg(feature = "attach")]
pub(crate) const STACK_POINTER: u16 = 31;
#[cfg(feature = "attach")]
pub(crate) const FRAME_POINTER: u16 = 29;
#[cfg(feature = "attach")]
pub(crate) const FRAME_REGISTERS: [u16; 2] = [STACK_POINTER, FRAME_POINTER];
#[cfg(feature = "attach")]
pub(crate) const KEPT_REGISTERS: [u16; 11] = [19, 20, 21, 22, 23, 24, 25, 26, 27, 28, FRAME_POINTER];

/// Returns the registers of a sample, which has those of
/// [`SAMPLED_REGISTERS`].
#[cfg(feature = "attach")]
pub(crate) fn registers_of_sample(words: &[u64]) -> Option<Registers> {
    let [first_argument, frame_pointer, link, sp, ip] = *words else { return None };
    Some(Registers { ip, sp, frame_pointer, link, first_argument })
}

/// Returns the registers of a thread that is stopped.
#[cfg(feature = "attach")]
pub(crate) fn registers_of_stopped(all: &libc::user_regs_struct) -> Registers {
    Registers {
        ip: all.pc,
        sp: all.sp,
        frame_pointer: all.regs[29],
        link: all.regs[30],
        first_argument: all.regs[0],
    }
}

/// Converts the registers. Return addresses may contain a signature in their
/// upper bits. Stacks are at high addresses, so the bits above the highest bit
/// of the stack pointer cannot belong to an address.
pub(crate) fn unwind_registers(_ip: u64, sp: u64, frame_pointer: u64, link: u64) -> UnwindRegsAarch64 {
    let mask = PtrAuthMask::from_max_known_address(sp.max(1));
    UnwindRegsAarch64::new_with_ptr_auth_mask(mask, link, sp, frame_pointer)
}

/// Returns the target of the call that returns to `return_address`, if the call
/// instruction contains its target: the lower 26 bits of `bl` are the distance
/// in instructions.
pub(crate) fn direct_call_target(process: Process, return_address: u64) -> Option<u64> {
    const BL: u32 = 0b10_0101;
    let instruction = u32::from_le_bytes(code_before(process, return_address)?);
    let instructions = i64::from((instruction << 6).cast_signed() >> 6);
    (instruction >> 26 == BL).then(|| return_address.wrapping_sub(4).wrapping_add_signed(instructions * 4))
}

/// Returns where the jump at an address leads, if one is there: the compiler
/// and the linker make a function that is equal to another one from such a jump
/// alone.
pub(crate) fn jump_target(process: Process, address: u64) -> Option<u64> {
    possible_jump_targets(&process.read(address, 4)?, address).next()
}

/// Returns how far the frame pointer is above the stack pointer in a function
/// that begins with `code`: not known here.
pub(crate) fn frame_bytes(_code: &[u8]) -> Option<u64> {
    None
}

/// Returns where jumps in `code`, which is at `address`, lead.
pub(crate) fn possible_jump_targets(code: &[u8], address: u64) -> impl Iterator<Item = u64> {
    const B: u32 = 0b00_0101;
    code.chunks_exact(4).enumerate().filter_map(move |(at, bytes)| {
        let instruction = u32::from_le_bytes(bytes.try_into().ok()?);
        let instructions = i64::from((instruction << 6).cast_signed() >> 6);
        let jump = address.wrapping_add(at as u64 * 4);
        (instruction >> 26 == B).then(|| jump.wrapping_add_signed(instructions * 4))
    })
}

/// Returns the calls in the code of a function that pass an address in its own
/// frame as their first argument: the distance from the stack pointer, and the
/// function that is called.
#[cfg(feature = "attach")]
pub(crate) fn calls_with_own_address(code: &[u8], start: u64) -> Vec<(u64, u64)> {
    let mut calls = Vec::new();
    let mut argument = None;
    for (at, word) in (start..).step_by(4).zip(code.as_chunks::<4>().0) {
        let word = u32::from_le_bytes(*word);
        // add x0, sp, bytes
        if word & 0xFFC0_03FF == 0x9100_03E0 {
            argument = Some(u64::from(word >> 10 & 0xFFF));
        } else if word >> 26 == 0b10_0101 {
            let instructions = i64::from((word << 6).cast_signed() >> 6);
            let target = at.wrapping_add_signed(4 * instructions);
            calls.extend(argument.take().map(|argument| (argument, target)));
        } else if word & 0x1F == 0 || word >> 26 & 0b111 == 0b101 {
            // It may write to x0, or it is another jump.
            argument = None;
        }
    }
    calls
}

/// Returns whether the instruction before `ip` is `svc`.
pub(crate) fn follows_syscall(process: Process, ip: u64) -> bool {
    code_before::<4>(process, ip).map(u32::from_le_bytes) == Some(SVC)
}

const SVC: u32 = 0xD400_0001;

/// Returns the number of the system call whose instruction is directly before
/// `ip`. Except in `syscall(2)`, the code has `mov x8, #number` directly before
/// that instruction.
pub(crate) fn syscall_number(process: Process, ip: u64) -> Option<i64> {
    const MOV_X8: u32 = 0xD280_0008;
    let [a, b, c, d, ..] = code_before::<8>(process, ip)?;
    let instruction = u32::from_le_bytes([a, b, c, d]);
    (instruction & !0x001F_FFE0 == MOV_X8).then_some(i64::from(instruction >> 5 & 0xFFFF))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(code: &[u32]) -> u64 {
        code.as_ptr_range().end.addr() as u64
    }

    #[test]
    fn the_target_of_a_direct_call_is_read_from_its_code() {
        let forward = [0x9400_0003_u32];
        assert_eq!(direct_call_target(Process::Own, end(&forward)), Some(end(&forward) - 4 + 12));
        let backward = [0x97FF_FFFE_u32];
        assert_eq!(direct_call_target(Process::Own, end(&backward)), Some(end(&backward) - 4 - 8));
        let through_a_register = [0xD63F_0000_u32];
        assert_eq!(direct_call_target(Process::Own, end(&through_a_register)), None);
    }

    #[test]
    fn a_jump_within_a_function_is_found() {
        // nop; b +8
        let code: Vec<u8> =
            [0xD503_201F_u32, 0x1400_0002].iter().flat_map(|word| word.to_le_bytes()).collect();
        assert_eq!(possible_jump_targets(&code, 0x1000).collect::<Vec<_>>(), [0x100C]);
        assert_eq!(possible_jump_targets(&code[..4], 0x1000).count(), 0);
    }

    #[test]
    fn the_number_of_a_system_call_is_read_from_its_code() {
        let write = [0xD280_0808_u32, SVC];
        assert!(follows_syscall(Process::Own, end(&write)));
        assert_eq!(syscall_number(Process::Own, end(&write)), Some(64));
        let from_a_register = [0xAA00_03E8_u32, SVC];
        assert_eq!(syscall_number(Process::Own, end(&from_a_register)), None);
    }

    #[test]
    fn the_signature_of_a_return_address_is_removed() {
        let registers = unwind_registers(0, 0x0000_FFFF_F000_0000, 0, 0x0030_AAAA_0000_1234);
        assert_eq!(registers.lr(), 0x0000_AAAA_0000_1234);
    }
}
