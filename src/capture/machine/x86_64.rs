//! Registers and machine code of x86_64.

use framehop::x86_64::UnwindRegsX86_64;
#[cfg(feature = "attach")]
use iced_x86::{Decoder, DecoderOptions, Mnemonic, OpKind, Register};

use crate::capture::machine::{Registers, code_before};
use crate::process::Process;

/// Reads the registers from the context of a signal handler. This is
/// async-signal-safe.
pub(crate) fn registers(context: &libc::ucontext_t) -> Registers {
    let all = &context.uc_mcontext.gregs;
    Registers {
        ip: all[libc::REG_RIP as usize] as u64,
        sp: all[libc::REG_RSP as usize] as u64,
        frame_pointer: all[libc::REG_RBP as usize] as u64,
        link: 0,
        first_argument: all[libc::REG_RDI as usize] as u64,
    }
}

/// The registers that a sample of the kernel has, as bits of its numbers of
/// registers: the first argument, frame pointer, `sp` and `ip`.
#[cfg(feature = "attach")]
pub(crate) const SAMPLED_REGISTERS: u64 = 1 << 5 | 1 << 6 | 1 << 7 | 1 << 8;

/// The numbers that debug information has for registers: the stack pointer, the
/// frame pointer, and those that a call leaves as they are.
#[cfg(feature = "attach")]
pub(crate) const STACK_POINTER: u16 = 7;
#[cfg(feature = "attach")]
pub(crate) const FRAME_POINTER: u16 = 6;
#[cfg(feature = "attach")]
pub(crate) const FRAME_REGISTERS: [u16; 2] = [STACK_POINTER, FRAME_POINTER];
#[cfg(feature = "attach")]
pub(crate) const KEPT_REGISTERS: [u16; 6] = [3, FRAME_POINTER, 12, 13, 14, 15];

/// Returns the registers of a sample, which has those of
/// [`SAMPLED_REGISTERS`].
#[cfg(feature = "attach")]
pub(crate) fn registers_of_sample(words: &[u64]) -> Option<Registers> {
    let [first_argument, frame_pointer, sp, ip] = *words else { return None };
    Some(Registers { ip, sp, frame_pointer, link: 0, first_argument })
}

/// Returns the registers of a thread that is stopped.
#[cfg(feature = "attach")]
pub(crate) fn registers_of_stopped(all: &libc::user_regs_struct) -> Registers {
    Registers { ip: all.rip, sp: all.rsp, frame_pointer: all.rbp, link: 0, first_argument: all.rdi }
}

pub(crate) fn unwind_registers(ip: u64, sp: u64, frame_pointer: u64, _link: u64) -> UnwindRegsX86_64 {
    UnwindRegsX86_64::new(ip, sp, frame_pointer)
}

/// Returns the target of the call that returns to `return_address`, if the call
/// instruction contains its target, or the place of a pointer to it: that of
/// the table of the functions of other libraries.
pub(crate) fn direct_call_target(process: Process, return_address: u64) -> Option<u64> {
    const CALL: u8 = 0xE8;
    const CALL_THROUGH_POINTER: [u8; 2] = [0xFF, 0x15];
    let [first, second, a, b, c, d] = code_before::<6>(process, return_address)?;
    let target = return_address.wrapping_add_signed(i64::from(i32::from_le_bytes([a, b, c, d])));
    match [first, second] {
        CALL_THROUGH_POINTER => Some(u64::from_le_bytes(process.read(target, 8)?.try_into().ok()?)),
        [_, CALL] => Some(target),
        _ => call_through_register(process, return_address),
    }
}

/// Returns the target of a call through a register which the instruction before
/// it has loaded from a place that it contains: so calls code that was not
/// optimised.
fn call_through_register(process: Process, return_address: u64) -> Option<u64> {
    // mov rax, [rip + distance]; call rax
    const LOAD: [u8; 3] = [0x48, 0x8B, 0x05];
    const CALL: [u8; 2] = [0xFF, 0xD0];
    let code = code_before::<9>(process, return_address)?;
    let (load, call) = code.split_first_chunk::<7>()?;
    let distance = i32::from_le_bytes(*load.last_chunk()?);
    let is_call = load.starts_with(&LOAD) && call == CALL;
    let place = return_address.wrapping_sub(CALL.len() as u64).wrapping_add_signed(i64::from(distance));
    is_call.then(|| Some(u64::from_le_bytes(process.read(place, 8)?.try_into().ok()?)))?
}

/// Returns how far the frame pointer is above the stack pointer in a function
/// that begins with `code`, after its first instructions. `None` if it keeps no
/// frame pointer, or if the distance is not fixed.
pub(crate) fn frame_bytes(code: &[u8]) -> Option<u64> {
    const BRANCH_TARGET: [u8; 4] = [0xF3, 0x0F, 0x1E, 0xFA];
    // A larger frame is made in several steps, each of which touches its page.
    const PAGE_BYTES: u64 = 4096;
    // push rbp; mov rbp, rsp
    const KEEP_FRAME_POINTER: [u8; 4] = [0x55, 0x48, 0x89, 0xE5];
    let code = code.strip_prefix(&BRANCH_TARGET).unwrap_or(code);
    let mut code = code.strip_prefix(&KEEP_FRAME_POINTER)?;
    let mut bytes = 0;
    loop {
        code = match code {
            [0x50..=0x57, rest @ ..] | [0x41, 0x50..=0x57, rest @ ..] => rest,
            // sub rsp, a number of one byte, of four bytes
            [0x48, 0x83, 0xEC, length, ..] => return (*length < 0x80).then(|| bytes + u64::from(*length)),
            [0x48, 0x81, 0xEC, a, b, c, d, ..] => {
                let length = u64::from(u32::from_le_bytes([*a, *b, *c, *d]));
                return (length < PAGE_BYTES).then(|| bytes + length);
            }
            // and rsp, …: aligned, so the distance is not fixed
            [0x48, 0x83, 0xE4, ..] => return None,
            // The frame may be larger than the bytes that were read show.
            rest => return (rest.len() >= 7).then_some(bytes),
        };
        bytes += 8;
    }
}

/// Returns where jumps in `code`, which is at `address`, may lead. The code is
/// not decoded, so other bytes may look like a jump.
pub(crate) fn possible_jump_targets(code: &[u8], address: u64) -> impl Iterator<Item = u64> {
    const JUMP: u8 = 0xE9;
    // The second byte of a jump on a condition.
    const ON_CONDITION: std::ops::RangeInclusive<u8> = 0x80..=0x8F;
    const BYTES: u64 = 5;
    code.windows(BYTES as usize).enumerate().filter_map(move |(at, bytes)| {
        let (first, offset) = bytes.split_first()?;
        let is_jump = *first == JUMP || ON_CONDITION.contains(first);
        let offset = i32::from_le_bytes(*offset.first_chunk()?);
        let end = address.wrapping_add(at as u64 + BYTES);
        is_jump.then(|| end.wrapping_add_signed(i64::from(offset)))
    })
}

/// Returns where the jump at an address leads, if one is there: the compiler
/// and the linker make a function that is equal to another one, or is in a
/// library, from such a jump alone.
pub(crate) fn jump_target(process: Process, address: u64) -> Option<u64> {
    const JUMP: u8 = 0xE9;
    const JUMP_BYTES: u64 = 5;
    const JUMP_THROUGH_POINTER: [u8; 2] = [0xFF, 0x25];
    const JUMP_THROUGH_POINTER_BYTES: u64 = 6;
    let relative = |length: u64, bytes: &[u8]| {
        let offset = i32::from_le_bytes(*bytes.first_chunk()?);
        Some(address.wrapping_add(length).wrapping_add_signed(i64::from(offset)))
    };
    match process.read(address, JUMP_BYTES as usize)?.as_slice() {
        [JUMP, offset @ ..] => relative(JUMP_BYTES, offset),
        [first, second, ..] if [*first, *second] == JUMP_THROUGH_POINTER => {
            let code = process.read(address, JUMP_THROUGH_POINTER_BYTES as usize)?;
            let pointer = relative(JUMP_THROUGH_POINTER_BYTES, code.get(2..)?)?;
            Some(u64::from_le_bytes(process.read(pointer, 8)?.try_into().ok()?))
        }
        _ => None,
    }
}

/// Returns the calls in the code of a function that pass an address in its own
/// frame as their first argument: the distance from the stack pointer, and the
/// function that is called.
#[cfg(feature = "attach")]
pub(crate) fn calls_with_own_address(code: &[u8], start: u64) -> Vec<(u64, u64)> {
    const FIRST_ARGUMENT: [Register; 4] = [Register::RDI, Register::EDI, Register::DI, Register::DIL];
    let mut calls = Vec::new();
    let mut argument = None;
    for instruction in &mut Decoder::with_ip(64, code, start, DecoderOptions::NONE) {
        let is_of_stack = instruction.memory_base() == Register::RSP
            && instruction.memory_index() == Register::None
            && instruction.segment_prefix() == Register::None;
        let is_of_argument = instruction.op0_kind() == OpKind::Register
            && FIRST_ARGUMENT.contains(&instruction.op0_register());
        match (instruction.mnemonic(), instruction.op0_kind()) {
            (Mnemonic::Call, OpKind::NearBranch64) => {
                let target = instruction.near_branch_target();
                calls.extend(argument.take().map(|argument| (argument, target)));
            }
            (Mnemonic::Lea, _) if is_of_argument && is_of_stack => {
                argument = Some(instruction.memory_displacement64());
            }
            // Another value of the register, or another way to the next call.
            (Mnemonic::Call | Mnemonic::Jmp | Mnemonic::Ret | Mnemonic::Xchg | Mnemonic::INVALID, _)
            | (_, OpKind::NearBranch64 | OpKind::MemoryESRDI) => argument = None,
            _ if is_of_argument => argument = None,
            _ => {}
        }
    }
    calls
}

/// Returns whether the instruction before `ip` is `syscall`.
pub(crate) fn follows_syscall(process: Process, ip: u64) -> bool {
    code_before::<2>(process, ip) == Some(SYSCALL)
}

const SYSCALL: [u8; 2] = [0x0F, 0x05];

/// Returns the number of the system call whose instruction is directly before
/// `ip`. Except in `syscall(2)`, the code loads the number as a constant
/// directly before that instruction.
pub(crate) fn syscall_number(process: Process, ip: u64) -> Option<i64> {
    const MOV_EAX: u8 = 0xB8;
    const XOR_EAX: [u8; 2] = [0x31, 0xC0];
    match code_before::<7>(process, ip)? {
        [MOV_EAX, a, b, c, d, ..] => Some(i64::from(i32::from_le_bytes([a, b, c, d]))),
        [_, _, _, a, b, ..] if [a, b] == XOR_EAX => Some(0),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(code: &[u8]) -> u64 {
        code.as_ptr_range().end.addr() as u64
    }

    #[test]
    fn the_size_of_a_frame_is_read_from_its_first_instructions() {
        let pushes = [0x55, 0x48, 0x89, 0xE5, 0x41, 0x57, 0x41, 0x56, 0x53];
        let with = |rest: &[u8]| frame_bytes(&[&pushes, rest].concat());
        assert_eq!(with(&[0x48, 0x83, 0xEC, 0x28]), Some(3 * 8 + 0x28));
        assert_eq!(with(&[0x48, 0x81, 0xEC, 0, 1, 0, 0]), Some(3 * 8 + 0x100));
        assert_eq!(with(&[0x50, 0x31, 0xC0, 0x31, 0xC0, 0x31, 0xC0, 0xC3]), Some(4 * 8));
        assert_eq!(with(&[0x48, 0x83, 0xE4, 0xE0, 0, 0, 0]), None, "it is aligned");
        assert_eq!(with(&[0x48, 0x83]), None, "it is cut");
        assert_eq!(frame_bytes(&pushes[4..]), None, "it has no frame pointer");
        assert_eq!(frame_bytes(&[]), None);
    }

    #[test]
    fn possible_jumps_are_found_at_any_byte() {
        let code = [0x90, 0xE9, 0x0A, 0, 0, 0, 0x0F, 0x84, 0xFA, 0xFF, 0xFF, 0xFF];
        let targets: Vec<_> = possible_jump_targets(&code, 0x1000).collect();
        assert_eq!(targets, [0x1010, 0x1006]);
        assert_eq!(possible_jump_targets(&code[..5], 0x1000).count(), 0);
    }

    #[test]
    fn the_target_of_a_direct_call_is_read_from_its_code() {
        let backward = [0x90, 0xE8, 0xF8, 0xFF, 0xFF, 0xFF];
        assert_eq!(direct_call_target(Process::Own, end(&backward)), Some(end(&backward) - 8));
        // The pointer lies directly behind the call.
        let through_a_pointer = [0x90, 0xFF, 0x15, 0, 0, 0, 0, 0x77, 0x66, 0x55, 0, 0, 0, 0, 0];
        let return_address = end(&through_a_pointer[..7]);
        assert_eq!(direct_call_target(Process::Own, return_address), Some(0x0055_6677));
        // The pointer lies directly behind the call, which is two bytes long.
        let through_a_loaded_register =
            [0x48, 0x8B, 0x05, 2, 0, 0, 0, 0xFF, 0xD0, 0x77, 0x66, 0x55, 0, 0, 0, 0, 0];
        let return_address = end(&through_a_loaded_register[..9]);
        assert_eq!(direct_call_target(Process::Own, return_address), Some(0x0055_6677));
        let through_a_register = [0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0xFF, 0xD0];
        assert_eq!(direct_call_target(Process::Own, end(&through_a_register)), None);
    }

    #[cfg(feature = "attach")]
    #[test]
    fn calls_with_an_address_of_the_frame_are_found() {
        // lea rdi, [rsp+0x48]; mov rsi, r12; call; then a call with another rdi
        // and one after a jump.
        let code = [
            0x48, 0x8D, 0x7C, 0x24, 0x48, 0x4C, 0x89, 0xE6, 0xE8, 0x10, 0, 0, 0, 0x48, 0x8D, 0x7C, 0x24,
            0x10, 0x48, 0x89, 0xDF, 0xE8, 0, 0, 0, 0, 0x48, 0x8D, 0x7C, 0x24, 0x20, 0xEB, 0, 0xE8, 0, 0, 0,
            0, 0x48, 0x8D, 0x7F, 0x10, 0xE8, 0, 0, 0, 0,
        ];
        assert_eq!(calls_with_own_address(&code, 0x1000), [(0x48, 0x101D)]);
        assert_eq!(calls_with_own_address(&[0x06, 0xFF], 0), []);
    }

    #[test]
    fn a_function_that_is_a_jump_leads_to_another_one() {
        let begin = |code: &[u8]| code.as_ptr().addr() as u64;
        let forward = [0xE9, 0x10, 0, 0, 0];
        assert_eq!(jump_target(Process::Own, begin(&forward)), Some(begin(&forward) + 21));
        let through_pointer = [0xFF, 0x25, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];
        assert_eq!(jump_target(Process::Own, begin(&through_pointer)), Some(0x0807_0605_0403_0201));
        assert_eq!(jump_target(Process::Own, begin(&[0x55, 0x48, 0x89, 0xE5, 0x90])), None);
        assert_eq!(jump_target(Process::Own, 1), None);
    }

    #[test]
    fn the_number_of_a_system_call_is_read_from_its_code() {
        let write = [0xB8, 1, 0, 0, 0, 0x0F, 0x05];
        assert!(follows_syscall(Process::Own, end(&write)));
        assert_eq!(syscall_number(Process::Own, end(&write)), Some(1));
        let read = [0x90, 0x90, 0x90, 0x31, 0xC0, 0x0F, 0x05];
        assert_eq!(syscall_number(Process::Own, end(&read)), Some(0));
        let from_a_register = [0x90, 0x90, 0x48, 0x89, 0xF8, 0x0F, 0x05];
        assert_eq!(syscall_number(Process::Own, end(&from_a_register)), None);
    }
}
