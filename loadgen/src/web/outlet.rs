//! Puts due requests into the queue for the next free connection.

use async_channel::{Sender, TrySendError};

use crate::outlet::{Outlet, SendOutcome};
use crate::plan::Due;
use crate::record::{RunState, count};

/// The queue of requests that wait for a free connection.
#[derive(Debug)]
pub(crate) struct WebOutlet {
    queue: Sender<Due>,
    connections: usize,
}

impl WebOutlet {
    /// Returns an outlet that feeds `queue`, for this many connections.
    pub(crate) const fn new(queue: Sender<Due>, connections: usize) -> Self {
        Self { queue, connections }
    }
}

impl Outlet for WebOutlet {
    fn senders(&self) -> usize {
        self.connections
    }

    fn send(&mut self, state: &RunState, due: &Due, _lag_ns: u64) -> SendOutcome {
        count(&state.live.awaited, 1);
        let outcome = match self.queue.try_send(*due) {
            Ok(()) => return SendOutcome::Queued,
            Err(TrySendError::Full(_)) => SendOutcome::Skipped,
            Err(TrySendError::Closed(_)) => SendOutcome::Closed,
        };
        state.on_request_lost(0, due.at_ns, state.now_ns());
        outcome
    }

    fn sends_at_once(&self) -> bool {
        false
    }
}
