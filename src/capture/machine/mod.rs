//! The differences between CPUs: registers, and the machine code of calls and
//! system calls.

#[cfg_attr(target_arch = "x86_64", path = "x86_64.rs")]
#[cfg_attr(target_arch = "aarch64", path = "aarch64.rs")]
mod cpu;

pub(crate) use cpu::{
    direct_call_target, follows_syscall, frame_bytes, jump_target, possible_jump_targets, registers,
    syscall_number, unwind_registers,
};

#[cfg(feature = "attach")]
pub(crate) use cpu::{
    FRAME_POINTER, FRAME_REGISTERS, KEPT_REGISTERS, SAMPLED_REGISTERS, STACK_POINTER, calls_with_own_address,
    registers_of_sample, registers_of_stopped,
};

use crate::capture::target::REGISTERS;
use crate::process::Process;

/// The registers of an interrupted thread with which unwinding begins.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Registers {
    pub(crate) ip: u64,
    pub(crate) sp: u64,
    pub(crate) frame_pointer: u64,
    /// The return address of the innermost function; zero on a CPU that stores
    /// it on the stack.
    pub(crate) link: u64,
    /// The register of a call's first argument.
    pub(crate) first_argument: u64,
}

impl Registers {
    pub(crate) const COUNT: usize = REGISTERS;

    /// Returns the registers in the order of the fields.
    pub(crate) const fn words(self) -> [u64; Self::COUNT] {
        [self.ip, self.sp, self.frame_pointer, self.link, self.first_argument]
    }

    pub(crate) const fn from_words(words: [u64; Self::COUNT]) -> Self {
        let [ip, sp, frame_pointer, link, first_argument] = words;
        Self { ip, sp, frame_pointer, link, first_argument }
    }
}

/// Returns the `N` bytes of code before `ip`.
fn code_before<const N: usize>(process: Process, ip: u64) -> Option<[u8; N]> {
    process.read(ip.checked_sub(N as u64)?, N)?.try_into().ok()
}
