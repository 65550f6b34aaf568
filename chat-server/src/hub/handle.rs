//! The handle through which sessions and the server use the hub.

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::request::{ClientId, HubEvent, LeaveRequest, Request, RequestOutcome, ServerIdentity};
use super::state::HubState;
use super::task::run;
use crate::metrics::Metrics;
use crate::outbox::Outbox;
use crate::services::message_ids::MessageIds;
use crate::transport::Transport;

/// Maximum queued events. When the queue is full, sessions wait and read no
/// more from their clients.
const MAX_QUEUED_EVENTS: usize = 1024;

/// A handle of the hub. Cloning is cheap.
#[derive(Debug, Clone)]
pub(crate) struct Hub {
    events: mpsc::Sender<HubEvent>,
    leaving: mpsc::Sender<LeaveRequest>,
}

impl Hub {
    /// Starts the hub. Its task ends after the last handle is dropped.
    pub(crate) fn start(
        identity: ServerIdentity,
        ids: MessageIds,
        metrics: Metrics,
    ) -> (Self, JoinHandle<()>) {
        let (events, events_receiver) = mpsc::channel(MAX_QUEUED_EVENTS);
        let (leaving, leaving_receiver) = mpsc::channel(MAX_QUEUED_EVENTS);
        (
            Self { events, leaving },
            loopscope::spawn(
                "hub",
                run(events_receiver, leaving_receiver, HubState::new(identity, ids, metrics)),
            ),
        )
    }

    /// Registers a connection. Waits until the hub has recorded it: a leave
    /// request uses another queue and must not arrive first.
    pub(crate) async fn connect(&self, id: ClientId, host: Box<[u8]>, transport: Transport, outbox: Outbox) {
        let (done, done_receiver) = oneshot::channel();
        self.send(HubEvent::Connect { id, host, transport, outbox, done }).await;
        let _ = done_receiver.await;
    }

    /// Sends a request and waits for its outcome.
    pub(crate) async fn ask(&self, id: ClientId, request: Request) -> RequestOutcome {
        let (outcome, outcome_receiver) = oneshot::channel();
        self.send(HubEvent::Request { id, request, outcome }).await;
        outcome_receiver.await.unwrap_or(RequestOutcome::Disconnected)
    }

    /// Reports that a client has disconnected or must be disconnected.
    pub(crate) async fn leave(&self, id: ClientId, reason: String) {
        // An error means that the hub has ended; see `send`.
        let _ = self.leaving.send(LeaveRequest { id, reason }).await;
    }

    /// Disconnects all clients, after all earlier requests. Those that connect
    /// later get the same reason at once.
    pub(crate) async fn drain(&self, reason: &'static str) {
        self.send(HubEvent::Drain { reason }).await;
    }

    async fn send(&self, event: HubEvent) {
        // The hub outlives its handles. If it has ended anyway, the queues of
        // all sessions are closed too, which ends the sessions.
        // A reservation is a smaller part of every session than a send, which
        // has copies of the event.
        if let Ok(permit) = self.events.reserve().await {
            permit.send(event);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outbox;

    #[tokio::test]
    async fn a_client_that_connects_after_the_drain_gets_the_reason() {
        let metrics = Metrics::default();
        let (hub, _) = Hub::start(ServerIdentity::of_test(), MessageIds::default(), metrics.clone());
        let (outbox, queue) = outbox::bounded(Default::default(), metrics);
        let (id, mut written) = (ClientId(0), Vec::new());
        // The hub handles both in this order.
        hub.drain("Server shutting down").await;
        hub.connect(id, b"h"[..].into(), Transport::SameMachine, outbox).await;
        assert!(matches!(hub.ask(id, Request::Ping).await, RequestOutcome::Disconnected));
        // If the hub had kept the client, its queue would end here, without the
        // reason.
        drop(hub);
        queue.drain(&mut written).await.expect("a Vec accepts everything");
        assert_eq!(written, b"ERROR :Closing Link: h (Server shutting down)\r\n");
    }
}
