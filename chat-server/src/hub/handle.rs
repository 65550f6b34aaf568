//! The way to the hub, for sessions and the server.

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::request::{ClientId, HubEvent, LeaveRequest, Request, RequestOutcome, ServerIdentity};
use super::task::run;
use crate::metrics::Metrics;
use crate::outbox::Outbox;

/// Events that may wait; beyond it sessions wait, and with them their clients.
const MAX_QUEUED_EVENTS: usize = 1024;

/// A handle of the hub; cloning is cheap.
#[derive(Debug, Clone)]
pub(crate) struct Hub {
    events: mpsc::Sender<HubEvent>,
    leaving: mpsc::Sender<LeaveRequest>,
}

impl Hub {
    /// Starts the hub. It ends after the last handle is dropped.
    pub(crate) fn start(identity: ServerIdentity, metrics: Metrics) -> (Self, JoinHandle<()>) {
        let (events, receiver) = mpsc::channel(MAX_QUEUED_EVENTS);
        let (leaving, leavers) = mpsc::channel(MAX_QUEUED_EVENTS);
        (Self { events, leaving }, loopscope::spawn("hub", run(receiver, leavers, identity, metrics)))
    }

    /// A client is here. Waits until the hub knows, so that it cannot hear of the end before.
    pub(crate) async fn connect(&self, id: ClientId, host: Box<[u8]>, outbox: Outbox) {
        let (done, known) = oneshot::channel();
        self.send(HubEvent::Connect { id, host, outbox, done }).await;
        let _ = known.await;
    }

    /// Does what a client wants, as soon as it is its turn.
    pub(crate) async fn ask(&self, id: ClientId, request: Request) -> RequestOutcome {
        let (outcome, result) = oneshot::channel();
        self.send(HubEvent::Request { id, request, outcome }).await;
        result.await.unwrap_or(RequestOutcome::Disconnected)
    }

    /// A client is gone, or to be let go.
    pub(crate) async fn leave(&self, id: ClientId, reason: String) {
        // As below.
        let _ = self.leaving.send(LeaveRequest { id, reason }).await;
    }

    /// Lets everybody go, after what was asked before.
    pub(crate) async fn drain(&self, reason: &'static str) {
        self.send(HubEvent::Drain { reason }).await;
    }

    async fn send(&self, event: HubEvent) {
        // The hub outlives its handles; if it is gone all the same, the session's queue is closed too.
        let _ = self.events.send(event).await;
    }
}
