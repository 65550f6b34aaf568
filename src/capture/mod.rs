//! Copies the stack of another thread without stopping that thread, and unwinds
//! the copy on the watchdog.
//!
//! There are two ways to copy registers and stack. With [`signal`], the thread
//! copies them itself, in a handler that does nothing else. [`passive`] reads
//! the stack from outside while the thread waits in a system call. [`unwind`]
//! turns either copy into code addresses.

pub(crate) mod descriptor;
pub(crate) mod loaded_code;
pub(crate) mod machine;
pub(crate) mod modules;
pub(crate) mod passive;
pub(crate) mod signal;
pub(crate) mod unwind;

/// The maximum number of bytes copied from a stack, from the innermost frame
/// outward.
pub(crate) const STACK_BYTES: usize = 64 * 1024;

/// The registers and the stack of a thread at one moment.
#[derive(Debug, Clone, Default)]
pub(crate) struct CopiedStack {
    pub(crate) ip: u64,
    pub(crate) sp: u64,
    /// The registers; `None` if only `ip` and `sp` are known.
    pub(crate) registers: Option<machine::Registers>,
    /// The stack, starting at `sp`.
    pub(crate) bytes: Vec<u8>,
}

impl CopiedStack {
    /// Returns the word at an address of the stack.
    pub(crate) fn word(&self, address: u64) -> Option<u64> {
        let offset = usize::try_from(address.checked_sub(self.sp)?).ok()?;
        let bytes = self.bytes.get(offset..offset.checked_add(8)?)?;
        Some(u64::from_ne_bytes(bytes.try_into().ok()?))
    }
}
