//! Delivers buffers to clients. Yields often enough that no poll of the hub
//! takes long.

use std::collections::BTreeSet;

use super::request::ClientId;
use crate::irc::reply::{OutputLine, Replies};
use crate::metrics::{LoginResult, Metrics, Rejection};
use crate::outbox::Outbox;

/// Steps between two yields. A delivery is one step and takes a little less
/// than a microsecond, as it may wake a task. At each yield, tasks that write
/// to clients run before the hub continues: with 256 steps, they delay the hub
/// too much.
const STEPS_BETWEEN_YIELDS: u32 = 512;
/// The cost of an event in addition to its deliveries, in steps.
const STEPS_PER_EVENT: u32 = 8;

/// The hub's outgoing side.
pub(super) struct Delivery {
    metrics: Metrics,
    /// Clients whose queue exceeded its hard limit. The hub disconnects them
    /// one after the other.
    slow_readers: BTreeSet<ClientId>,
    steps: u32,
}

impl Delivery {
    pub(super) fn new(metrics: Metrics) -> Self {
        Self { metrics, slow_readers: BTreeSet::new(), steps: 0 }
    }

    /// Sends `line` to all `receivers`.
    pub(super) async fn deliver<'a>(
        &mut self,
        receivers: impl Iterator<Item = (ClientId, &'a Outbox)>,
        line: &OutputLine,
    ) {
        for (id, outbox) in receivers {
            self.send(id, outbox, line, 1);
            self.add_steps(1).await;
        }
    }

    /// Sends each receiver its own line.
    pub(super) async fn deliver_each<'a>(
        &mut self,
        receivers: impl Iterator<Item = (ClientId, &'a Outbox, &'a OutputLine)>,
    ) {
        for (id, outbox, line) in receivers {
            self.send(id, outbox, line, 1);
            self.add_steps(1).await;
        }
    }

    /// Sends `line` to one client. `line_count` is the number of
    /// protocol lines in it.
    pub(super) fn send(&mut self, id: ClientId, outbox: &Outbox, line: &OutputLine, line_count: u64) {
        match outbox.push(line) {
            Ok(()) => self.metrics.count_messages_out(line_count),
            Err(_) => {
                if self.slow_readers.insert(id) {
                    self.metrics.count_slow_reader();
                }
            }
        }
    }

    /// Sends a client the replies collected for it.
    pub(super) fn reply(&mut self, id: ClientId, outbox: &Outbox, replies: &mut Replies) {
        if let Some((line, line_count)) = replies.take() {
            self.send(id, outbox, &line, line_count);
            outbox.end_write_pause();
        }
    }

    /// Counts a connection that the server refused or closed.
    pub(super) fn count_rejected(&self, reason: Rejection) {
        self.metrics.count_rejected(reason);
    }

    /// Counts an AUTHENTICATE that ended without a check of a password.
    pub(super) fn count_login(&self, result: LoginResult) {
        self.metrics.count_login(result);
    }

    pub(super) fn has_slow_readers(&self) -> bool {
        !self.slow_readers.is_empty()
    }

    pub(super) fn take_slow_reader(&mut self) -> Option<ClientId> {
        self.slow_readers.pop_first()
    }

    /// Accounts for the fixed cost of an event.
    pub(super) async fn end_event(&mut self) {
        self.add_steps(STEPS_PER_EVENT).await;
    }

    /// Accounts for work done. Yields after [`STEPS_BETWEEN_YIELDS`] steps.
    pub(super) async fn add_steps(&mut self, steps: u32) {
        self.steps += steps;
        if self.steps >= STEPS_BETWEEN_YIELDS {
            self.steps = 0;
            tokio::task::yield_now().await;
        }
    }
}
