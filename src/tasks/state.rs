//! The word with a task's state.

/// It is being polled.
pub(crate) const RUNNING: u64 = 1;
pub(crate) const COMPLETE: u64 = 1 << 1;
/// It is in a queue, or will be polled again.
pub(crate) const NOTIFIED: u64 = 1 << 2;
pub(crate) const JOIN_INTEREST: u64 = 1 << 3;
/// The state of a new task: three references, one of them a `JoinHandle`, and
/// notified. Copies of new tasks remain where they were created.
pub(crate) const INITIAL: u64 = 3 << REFERENCES_SHIFT | JOIN_INTEREST | NOTIFIED;
const REFERENCES_SHIFT: u32 = 6;
/// More references than this are not plausible.
const MAX_REFERENCES: u64 = 1 << 20;

pub(crate) fn references(state: u64) -> u64 {
    state >> REFERENCES_SHIFT
}

/// Returns whether a task can have this state while its memory is in use.
pub(crate) fn is_plausible(state: u64) -> bool {
    (1..MAX_REFERENCES).contains(&references(state)) && state & (RUNNING | COMPLETE) != RUNNING | COMPLETE
}
