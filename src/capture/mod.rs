//! Copies the stack of another thread without stopping that thread, and unwinds
//! the copy on the watchdog.
//!
//! There are two ways to copy registers and stack. With [`signal`], the thread
//! copies them itself, in a handler that does nothing else. [`passive`] reads
//! the stack from outside while the thread waits in a system call. [`unwind`]
//! turns either copy into code addresses.

mod call_check;
mod copy;
pub(crate) mod descriptor;
#[cfg(feature = "attach")]
pub(crate) mod frames;
pub(crate) mod loaded_code;
pub(crate) mod machine;
pub(crate) mod modules;
pub(crate) mod passive;
mod queue_signal;
pub(crate) mod signal;
pub(crate) mod signal_choice;
pub(crate) mod sockets;
mod sync;
mod target;
pub(crate) mod unwind;
mod unwind_tables;

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
    /// The outer end of the thread's own stack, if `sp` is on another stack: of
    /// a coroutine, or one that grew.
    pub(crate) own_stack: Option<OwnStack>,
}

/// The outer end of a thread's own stack: its first frames.
#[derive(Debug, Clone)]
pub(crate) struct OwnStack {
    /// The address of the first byte.
    pub(crate) start: u64,
    pub(crate) bytes: Vec<u8>,
}

impl CopiedStack {
    /// Returns the word at an address of the stack.
    pub(crate) fn word(&self, address: u64) -> Option<u64> {
        let own = || self.own_stack.as_ref().and_then(|own| word_at(&own.bytes, own.start, address));
        word_at(&self.bytes, self.sp, address).or_else(own)
    }

    /// Returns all words of the copy.
    pub(crate) fn words(&self) -> impl Iterator<Item = u64> {
        let own = self.own_stack.iter().flat_map(|own| own.bytes.chunks_exact(8));
        let words = self.bytes.chunks_exact(8).chain(own);
        words.filter_map(|word| Some(u64::from_ne_bytes(word.try_into().ok()?)))
    }
}

/// Returns the word at `address` in a copy of the memory from `start` on.
fn word_at(bytes: &[u8], start: u64, address: u64) -> Option<u64> {
    let offset = usize::try_from(address.checked_sub(start)?).ok()?;
    let bytes = bytes.get(offset..offset.checked_add(8)?)?;
    Some(u64::from_ne_bytes(bytes.try_into().ok()?))
}
