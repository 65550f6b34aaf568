//! Getting the stack of another thread without stopping it, and unwinding it
//! somewhere else.
//!
//! Two ways to a copy of registers and stack: [`signal`] asks the thread itself
//! to copy them, in a handler that does nothing else; [`passive`] reads them
//! from outside while the thread waits in a system call. [`unwind`] makes
//! addresses of either, on the asking thread.

pub(crate) mod descriptor;
pub(crate) mod machine;
pub(crate) mod modules;
pub(crate) mod passive;
pub(crate) mod signal;
pub(crate) mod unwind;

/// Bytes of a stack that are copied at most, from the innermost frame outward.
pub(crate) const STACK_BYTES: usize = 64 * 1024;

/// Registers and stack of a thread at one moment.
#[derive(Debug, Clone, Default)]
pub(crate) struct CopiedStack {
    pub(crate) ip: u64,
    pub(crate) sp: u64,
    /// All registers, where they are known.
    pub(crate) registers: Option<machine::Registers>,
    /// The stack from `sp` on.
    pub(crate) bytes: Vec<u8>,
}

impl CopiedStack {
    /// The word at an address of the stack.
    pub(crate) fn word(&self, address: u64) -> Option<u64> {
        let offset = usize::try_from(address.checked_sub(self.sp)?).ok()?;
        let bytes = self.bytes.get(offset..offset.checked_add(8)?)?;
        Some(u64::from_ne_bytes(bytes.try_into().ok()?))
    }
}
