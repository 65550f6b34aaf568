//! Jumps, and where jumps and calls go.

/// A jump, or a branch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Jump {
    pub(super) at: u64,
    pub(super) target: Target,
}

/// Where a jump or call goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Target {
    Address(u64),
    /// To the address that the word at this address holds.
    Slot(u64),
    /// To the address in a register or in a table of the program.
    Unknown,
}
