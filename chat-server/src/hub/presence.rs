//! Who is here and who is away: AWAY, ISON, USERHOST, LUSERS.

use super::{ClientId, World};
use crate::{message::Message, names::Key, reply::Replies};

/// The most bytes of a note of absence.
pub(super) const AWAY_LENGTH: usize = 200;
/// The most nicks that one USERHOST answers.
const HOSTS: usize = 5;

impl World {
    pub(super) fn away(&mut self, id: ClientId, message: &Message<'_>, replies: &mut Replies) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        client.away = message.param(0).map(|note| note[..note.len().min(AWAY_LENGTH)].into());
        match client.away {
            Some(_) => replies.numeric(306, &[], "You have been marked as being away"),
            None => replies.numeric(305, &[], "You are no longer marked as being away"),
        }
    }

    pub(super) fn ison(&self, message: &Message<'_>, replies: &mut Replies) {
        let words = message.params().iter().flat_map(|param| param.split(|&byte| byte == b' '));
        let here: Vec<&[u8]> = words
            .filter_map(|nick| self.find(nick))
            .filter_map(|id| self.clients.get(&id))
            .map(|client| client.nick_or_star())
            .collect();
        if message.param(0).is_none() {
            return replies.numeric(461, &[b"ISON"], "Not enough parameters");
        }
        replies.numeric(303, &[], here.join(&b' '));
    }

    pub(super) fn userhost(&self, message: &Message<'_>, replies: &mut Replies) {
        if message.param(0).is_none() {
            return replies.numeric(461, &[b"USERHOST"], "Not enough parameters");
        }
        let ids = message.params().iter().take(HOSTS).filter_map(|nick| self.find(nick));
        let hosts: Vec<Vec<u8>> = ids
            .filter_map(|id| self.clients.get(&id))
            .map(|client| {
                let operator: &[u8] = if client.operator { b"*=" } else { b"=" };
                let away: &[u8] = if client.away.is_some() { b"-" } else { b"+" };
                [client.nick_or_star(), operator, away, client.user_name(), b"@", &client.host].concat()
            })
            .collect();
        replies.numeric(302, &[], hosts.join(&b' '));
    }

    pub(super) fn lusers(&self, replies: &mut Replies) {
        // Counted over the sizes of the maps: 1,000 clients registering at once must not each count 1,000.
        let (clients, channels) = (self.nicks.len(), self.channels.len().to_string());
        let unknown = self.clients.len().saturating_sub(clients).to_string();
        replies.numeric(251, &[], format!("There are {clients} users on 1 server"));
        if self.operators > 0 {
            replies.numeric(252, &[self.operators.to_string().as_bytes()], "operator(s) online");
        }
        replies.numeric(253, &[unknown.as_bytes()], "unknown connection(s)");
        replies.numeric(254, &[channels.as_bytes()], "channels formed");
        replies.numeric(255, &[], format!("I have {clients} clients and no servers"));
    }

    /// Who is called so and is registered.
    pub(super) fn find(&self, nick: &[u8]) -> Option<ClientId> {
        let id = *self.nicks.get(&Key::new(nick))?;
        self.clients.get(&id).filter(|client| client.registered).map(|_| id)
    }
}
