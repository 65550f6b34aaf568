//! How clients leave: QUIT and disconnection.

use super::request::{ClientId, CommandOutcome};
use super::state::HubState;
use crate::irc::message::Message;
use crate::irc::names::NameKey;

impl HubState {
    pub(super) fn quit(&self, message: &Message<'_>) -> CommandOutcome {
        CommandOutcome::Disconnect(
            message.param(0).map_or_else(|| b"Client quit".to_vec(), |it| [b"Quit: ", it].concat()),
        )
    }

    /// Removes a client. Its peers receive a QUIT. The client itself receives
    /// an ERROR after the lines queued for it.
    pub(super) async fn remove(&mut self, id: ClientId, reason: &[u8]) {
        let Some(client) = self.clients.get(&id) else { return };
        client.send_closing_error(reason);
        let quit = client.line(&[b" QUIT :", reason]);
        self.tell_peers(id, |_| true, &quit).await;
        let Some(client) = self.clients.remove(&id) else { return };
        if let Some(nick) = client.nick.as_ref().filter(|_| client.is_registered) {
            self.nicks.remove(&NameKey::new(nick));
        }
        self.registered_count -= usize::from(client.is_registered);
        self.operator_count -= usize::from(client.is_operator);
        self.invisible_count -= usize::from(client.is_invisible);
        self.former_clients.add(&client);
        for key in &client.channels {
            if let Some(channel) = self.channels.get_mut(key) {
                channel.members.remove(&id);
            }
            self.end_if_empty(key).await;
        }
    }

    /// Disconnects all clients, and those that connect from now on. Nobody
    /// receives a QUIT, as all leave.
    pub(super) async fn drain(&mut self, reason: &'static str) {
        self.drained_for = Some(reason);
        self.nicks.clear();
        self.channels.clear();
        for (_, client) in std::mem::take(&mut self.clients) {
            client.send_closing_error(reason.as_bytes());
            self.delivery.end_event().await;
        }
    }
}
