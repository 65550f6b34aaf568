//! The handle through which sessions and the server use the hub.

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::request::{ClientId, HubEvent, LeaveRequest, Request, RequestOutcome, ServerIdentity};
use super::state::HubState;
use super::task::run;
use crate::metrics::Metrics;
use crate::outbox::Outbox;
use crate::services::history::HistoryQueue;
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
        history: HistoryQueue,
        metrics: Metrics,
    ) -> (Self, JoinHandle<()>) {
        let (events, events_receiver) = mpsc::channel(MAX_QUEUED_EVENTS);
        let (leaving, leaving_receiver) = mpsc::channel(MAX_QUEUED_EVENTS);
        (
            Self { events, leaving },
            loopscope::spawn(
                "hub",
                run(events_receiver, leaving_receiver, HubState::new(identity, ids, history, metrics)),
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
    use crate::irc::names::NameKey;
    use crate::outbox::{self, SendQueue};
    use crate::services::history::History;
    use crate::services::history_query::{HistoryAnswer, HistoryChannel, HistoryRead, LineQuery, Selection};
    use crate::services::history_reader::ReadSlot;
    use crate::services::line_checks::LineChecks;

    /// Connects a client that is registered and in `#a`.
    async fn member(hub: &Hub, number: u64, metrics: &Metrics) -> (ClientId, SendQueue) {
        let (id, (outbox, queue)) = (ClientId(number), outbox::bounded(Default::default(), metrics.clone()));
        hub.connect(id, b"h"[..].into(), Transport::SameMachine, outbox).await;
        for line in [&format!("NICK n{number}"), "USER u 0 * :r", "JOIN #a"] {
            hub.ask(id, say(line)).await;
        }
        (id, queue)
    }

    fn say(line: &str) -> Request {
        Request::Line(line.as_bytes().into(), LineChecks::default())
    }

    #[tokio::test]
    async fn the_history_has_what_was_delivered_even_if_the_sender_ends_at_once() {
        let (directory, metrics) = (tempfile::tempdir().expect("a directory"), Metrics::default());
        let started = History::start(directory.path(), metrics.clone(), None, None).await;
        let (history, queue, ids, _) = started.expect("opened");
        let (hub, _) = Hub::start(ServerIdentity::of_test(), ids, queue, metrics.clone());
        let (ada, ada_queue) = member(&hub, 1, &metrics).await;
        let (bob, _bob_queue) = member(&hub, 2, &metrics).await;
        // Bob's message comes later. Neither session does anything about the
        // outcome: the first one ends.
        for (id, text) in [(ada, "one"), (bob, "two"), (ada, "three")] {
            hub.ask(id, say(&format!("PRIVMSG #a :{text}"))).await;
        }
        drop(ada_queue);
        let channel = HistoryChannel { name: NameKey::new(b"#a"), id: 0 };
        let read =
            HistoryRead::Notices(LineQuery { channel, selection: Selection::Latest(None), max_lines: 9 });
        let HistoryAnswer::Notices { page: Some(page), .. } = history.read(&ReadSlot::default(), read).await
        else {
            panic!("the history can be read");
        };
        let texts: Vec<_> = page.lines.expect("read").into_iter().map(|line| line.text).collect();
        assert_eq!(texts, [&b"one"[..], b"two", b"three"].map(Box::from));
    }

    #[tokio::test]
    async fn a_client_that_connects_after_the_drain_gets_the_reason() {
        let metrics = Metrics::default();
        let (hub, _) = Hub::start(
            ServerIdentity::of_test(),
            MessageIds::default(),
            HistoryQueue::closed(),
            metrics.clone(),
        );
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
