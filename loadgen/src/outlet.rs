//! The interface between the pacer, which knows when a command is due, and the
//! protocol, which sends it.

use crate::plan::Due;
use crate::record::RunState;

/// The result of sending a command that was due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SendOutcome {
    /// The kernel has taken it.
    Written,
    /// It waits in the outbox, or in the queue for a connection, from which it
    /// may never be sent.
    Queued,
    /// It is skipped, because too much is waiting already.
    Skipped,
    /// It is not sent, because the connection is closed.
    Closed,
}

/// Sends the commands that are due; there is one for each protocol.
pub(crate) trait Outlet: Send + 'static {
    /// Returns the number of senders.
    fn senders(&self) -> usize;

    /// Sends the command that is due, without waiting. `lag_ns` is the time
    /// since the command became due.
    fn send(&mut self, state: &RunState, due: &Due, lag_ns: u64) -> SendOutcome;

    /// Returns whether `send` sends at once. If not, the client that sends
    /// later records the send lag and counts what it sends.
    fn sends_at_once(&self) -> bool {
        true
    }
}
