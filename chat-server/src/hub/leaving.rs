//! How clients leave: QUIT and disconnection.

use std::collections::BTreeMap;

use super::client::Client;
use super::request::{ClientId, CommandOutcome};
use super::state::HubState;
use crate::irc::message::Message;
use crate::irc::names::NameKey;
use crate::outbox::Outbox;

impl HubState {
    pub(super) fn quit(&self, message: &Message<'_>) -> CommandOutcome {
        CommandOutcome::Disconnect(
            message.param(0).map_or_else(|| b"Client quit".to_vec(), |it| [b"Quit: ", it].concat()),
        )
    }

    /// Removes a client. Its peers receive a QUIT. The client itself receives
    /// an ERROR after the lines queued for it.
    pub(super) async fn remove(&mut self, id: ClientId, reason: &[u8]) {
        let Some(client) = self.clients.remove(&id) else { return };
        if let Some(nick) = client.nick.as_ref().filter(|_| client.is_registered) {
            self.nicks.remove(&NameKey::new(nick));
        }
        self.registered_count -= usize::from(client.is_registered);
        self.operator_count -= usize::from(client.is_operator);
        self.invisible_count -= usize::from(client.is_invisible);
        self.former_clients.add(&client);
        client.send_closing_error(reason);
        let peers = self.peers(&client);
        for key in &client.channels {
            if let Some(channel) = self.channels.get_mut(key) {
                channel.members.remove(&id);
                if channel.members.is_empty() {
                    self.channels.remove(key);
                }
            }
        }
        let quit = client.line(&[b" QUIT :", reason]);
        self.delivery.deliver(peers.iter().map(|(&id, outbox)| (id, outbox)), &quit).await;
    }

    /// Returns all clients that share a channel with `client`, each once,
    /// without the client itself.
    pub(super) fn peers(&self, client: &Client) -> BTreeMap<ClientId, Outbox> {
        let channels = client.channels.iter().filter_map(|key| self.channels.get(key));
        let others = channels.flat_map(|channel| channel.other_members(client.id));
        others.map(|(member, outbox)| (member, outbox.clone())).collect()
    }

    /// Disconnects all clients. Nobody receives a QUIT, as all leave.
    pub(super) async fn drain(&mut self, reason: &[u8]) {
        self.nicks.clear();
        self.channels.clear();
        for (_, client) in std::mem::take(&mut self.clients) {
            client.send_closing_error(reason);
            self.delivery.end_event().await;
        }
    }
}
