//! The state of the hub.

use std::collections::HashMap;

use super::channel::Channel;
use super::client::Client;
use super::delivery::Delivery;
use super::former_clients::FormerClients;
use super::request::{ClientId, ServerIdentity};
use crate::irc::names::NameKey;
use crate::metrics::Metrics;

/// The state, owned by the hub's task. Each file of commands adds methods.
pub(super) struct HubState {
    pub(super) identity: ServerIdentity,
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
}

impl HubState {
    pub(super) fn new(identity: ServerIdentity, metrics: Metrics) -> Self {
        let (clients, nicks, channels, former_clients) = Default::default();
        Self {
            identity,
            clients,
            nicks,
            channels,
            former_clients,
            registered_count: 0,
            operator_count: 0,
            invisible_count: 0,
            max_registered: 0,
            delivery: Delivery::new(metrics),
        }
    }

    /// Returns the registered client with that nick.
    pub(super) fn registered_client(&self, nick: &[u8]) -> Option<&Client> {
        self.clients.get(self.nicks.get(&NameKey::new(nick))?)
    }
}
