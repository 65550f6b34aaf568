//! What differs from CPU to CPU: registers, and how a call and a system call
//! look in the code.

#[cfg_attr(target_arch = "x86_64", path = "x86_64.rs")]
#[cfg_attr(target_arch = "aarch64", path = "aarch64.rs")]
mod cpu;

pub(crate) use cpu::{direct_call_target, follows_syscall, registers, syscall_number, unwind_registers};

use crate::os;

/// The registers of an interrupted thread that a walk up its stack begins with.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Registers {
    pub(crate) ip: u64,
    pub(crate) sp: u64,
    pub(crate) frame_pointer: u64,
    /// Where the innermost function returns to; zero on a CPU that keeps this on
    /// the stack.
    pub(crate) link: u64,
    /// The first argument of a call.
    pub(crate) first_argument: u64,
}

impl Registers {
    pub(crate) const COUNT: usize = 5;

    /// In the order of the fields.
    pub(crate) const fn words(self) -> [u64; Self::COUNT] {
        [self.ip, self.sp, self.frame_pointer, self.link, self.first_argument]
    }

    pub(crate) const fn from_words(words: [u64; Self::COUNT]) -> Self {
        let [ip, sp, frame_pointer, link, first_argument] = words;
        Self { ip, sp, frame_pointer, link, first_argument }
    }
}

/// The bytes of code that end where `ip` points.
fn code_before<const N: usize>(ip: u64) -> Option<[u8; N]> {
    let at = usize::try_from(ip).ok()?.checked_sub(N)?;
    os::read_memory(at, N)?.try_into().ok()
}
