//! Handing buffers to clients, in pieces small enough that no poll of the hub takes long.

use std::collections::BTreeSet;

use super::request::ClientId;
use crate::irc::reply::{OutputLine, Replies};
use crate::metrics::{Metrics, Rejection};
use crate::outbox::Outbox;

/// Steps between two yields. A delivery takes a little less than a microsecond, as it may wake a task; with half
/// as many, writers that are busy themselves let the hub have its turn too seldom.
const STEPS_BETWEEN_YIELDS: u32 = 512;
/// What an event costs beside its deliveries, in steps.
const STEPS_PER_EVENT: u32 = 8;

/// The hub's outgoing side.
pub(super) struct Delivery {
    metrics: Metrics,
    /// Clients whose queue was over its hard limit, to be let go one after the other.
    slow_readers: BTreeSet<ClientId>,
    steps: u32,
}

impl Delivery {
    pub(super) fn new(metrics: Metrics) -> Self {
        Self { metrics, slow_readers: BTreeSet::new(), steps: 0 }
    }

    /// Hands `line` to all of `receivers`.
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

    /// Hands `line`, which may be so many `lines`, to one client.
    pub(super) fn send(&mut self, id: ClientId, outbox: &Outbox, line: &OutputLine, lines: u64) {
        match outbox.push(line) {
            Ok(()) => self.metrics.count_messages_out(lines),
            Err(_) => {
                if self.slow_readers.insert(id) {
                    self.metrics.count_slow_reader();
                }
            }
        }
    }

    /// Hands a client the replies collected for it.
    pub(super) fn reply(&mut self, id: ClientId, outbox: &Outbox, replies: &mut Replies) {
        if let Some((line, lines)) = replies.take() {
            self.send(id, outbox, &line, lines);
            outbox.mark_reply_queued();
        }
    }

    /// A client is turned away.
    pub(super) fn count_rejected(&self, reason: Rejection) {
        self.metrics.count_rejected(reason);
    }

    pub(super) fn has_slow_readers(&self) -> bool {
        !self.slow_readers.is_empty()
    }

    pub(super) fn take_slow_reader(&mut self) -> Option<ClientId> {
        self.slow_readers.pop_first()
    }

    /// An event is done.
    pub(super) async fn end_event(&mut self) {
        self.add_steps(STEPS_PER_EVENT).await;
    }

    /// Accounts for work done, and lets others have the worker when it was enough.
    pub(super) async fn add_steps(&mut self, steps: u32) {
        self.steps += steps;
        if self.steps >= STEPS_BETWEEN_YIELDS {
            self.steps = 0;
            tokio::task::yield_now().await;
        }
    }
}
