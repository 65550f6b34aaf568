//! The state of the hub.

use std::collections::HashMap;

use super::channel::Channel;
use super::client::Client;
use super::delivery::Delivery;
use super::former_clients::FormerClients;
use super::request::{ClientId, ServerIdentity};
use crate::irc::names::NameKey;
use crate::metrics::Metrics;
use crate::services::history::HistoryQueue;
use crate::services::message_ids::MessageIds;

/// The state, owned by the hub's task. Each file of commands adds methods.
pub(super) struct HubState {
    pub(super) identity: ServerIdentity,
    /// Generates the ids of messages.
    pub(super) ids: MessageIds,
    pub(super) clients: HashMap<ClientId, Client>,
    /// The registered clients by nick.
    pub(super) nicks: HashMap<NameKey, ClientId>,
    pub(super) channels: HashMap<NameKey, Channel>,
    pub(super) former_clients: FormerClients,
    /// How many clients are registered now.
    pub(super) registered_count: usize,
    /// How many registered clients are operators of the server.
    pub(super) operator_count: usize,
    /// How many clients are invisible.
    pub(super) invisible_count: usize,
    /// The most clients that were registered at one time.
    pub(super) max_registered: usize,
    pub(super) delivery: Delivery,
    /// Takes the messages of channels.
    pub(super) history: HistoryQueue,
    /// Set when all clients were disconnected, to the reason. Connections whose
    /// sessions start late get it too.
    pub(super) drained_for: Option<&'static str>,
}

impl HubState {
    pub(super) fn new(
        identity: ServerIdentity,
        ids: MessageIds,
        history: HistoryQueue,
        metrics: Metrics,
    ) -> Self {
        let (clients, nicks, channels, former_clients) = Default::default();
        Self {
            identity,
            ids,
            clients,
            nicks,
            channels,
            former_clients,
            registered_count: 0,
            operator_count: 0,
            invisible_count: 0,
            max_registered: 0,
            delivery: Delivery::new(metrics),
            history,
            drained_for: None,
        }
    }

    /// Returns the registered client with that nick.
    pub(super) fn registered_client(&self, nick: &[u8]) -> Option<&Client> {
        self.clients.get(self.nicks.get(&NameKey::new(nick))?)
    }
}

#[cfg(test)]
impl ServerIdentity {
    pub(super) fn of_test() -> Self {
        Self {
            name: "s".into(),
            motd: None,
            needs_password: false,
            has_operators: false,
            tls_port: None,
            account_policy: crate::account_policy::AccountPolicy {
                sasl: crate::account_policy::SaslUse::Off,
                registrations_per_hour: None,
                allows_plain_text: false,
            },
            started_at: std::time::SystemTime::now(),
        }
    }
}

#[cfg(test)]
impl HubState {
    /// Returns a hub with `client_count` registered clients, and their queues.
    /// The clients' nicks have 30 bytes.
    pub(super) fn with_clients(client_count: u64) -> (Self, Vec<crate::outbox::SendQueue>) {
        let metrics = Metrics::default();
        let mut state = Self::new(
            ServerIdentity::of_test(),
            MessageIds::default(),
            HistoryQueue::closed(),
            metrics.clone(),
        );
        let mut queues = Vec::new();
        for number in 0..client_count {
            let (outbox, queue) = crate::outbox::bounded(Default::default(), metrics.clone());
            queues.push(queue);
            let mut client = Client::new(
                ClientId(number),
                b"h"[..].into(),
                crate::transport::Transport::SameMachine,
                outbox,
                true,
            );
            client.nick = Some(format!("{number:030}").into_bytes().into());
            client.is_registered = true;
            state.registered_count += 1;
            state.clients.insert(client.id, client);
        }
        (state, queues)
    }

    /// Adds a channel with the first `member_count` clients.
    pub(super) fn add_channel(&mut self, name: &str, member_count: u64) {
        let (key, mut channel) = (NameKey::new(name.as_bytes()), Channel::new(name.as_bytes(), 0));
        for id in (0..member_count).map(ClientId) {
            let Some(client) = self.clients.get_mut(&id) else { continue };
            channel.add_member(id, client.outbox.clone());
            client.channels.insert(key.clone());
        }
        self.channels.insert(key, channel);
    }
}
