//! What peers learn about a user who changes: AWAY and SETNAME.

use super::capabilities::Capabilities;
use super::client::Client;
use super::limits::{MAX_AWAY_REASON_BYTES, MAX_REAL_NAME_BYTES};
use super::request::ClientId;
use super::state::HubState;
use crate::irc::message::Message;
use crate::irc::numeric::{RPL_NOWAWAY, RPL_UNAWAY};
use crate::irc::reply::{OutputLine, Replies};
use crate::irc::truncate::truncate;
use crate::outbox::Outbox;

impl HubState {
    /// `AWAY [reason]`
    pub(super) async fn away(&mut self, id: ClientId, message: &Message<'_>, replies: &mut Replies) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        let reason: Option<Box<[u8]>> =
            message.param(0).map(|reason| truncate(reason, MAX_AWAY_REASON_BYTES).into());
        replies.standard(if reason.is_some() { RPL_NOWAWAY } else { RPL_UNAWAY }, &[]);
        if client.away_reason == reason {
            return;
        }
        client.away_reason = reason;
        let line = client.away_line();
        self.tell_peers(id, |capabilities| capabilities.away_notify, &line).await;
    }

    /// `SETNAME :real name`
    pub(super) async fn set_name(&mut self, id: ClientId, message: &Message<'_>, replies: &mut Replies) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        let Some(real_name) = message.param(0) else { return replies.need_more_params("SETNAME") };
        let wants_reply = client.capabilities.setname;
        if real_name.len() > MAX_REAL_NAME_BYTES {
            // Without the capability, a client does not know this reply.
            if wants_reply {
                replies.server_line(&[b"FAIL SETNAME INVALID_REALNAME :The real name is too long"]);
            }
            return;
        }
        if let Some(user) = &mut client.user {
            user.real = real_name.into();
        }
        let line = OutputLine::new(&[b":", &client.prefix(), b" SETNAME :", real_name]);
        if wants_reply {
            replies.push_copy(&line);
        }
        self.tell_peers(id, |capabilities| capabilities.setname, &line).await;
    }

    /// Sends `line` to those clients in a common channel that have requested a
    /// capability.
    async fn tell_peers(&mut self, id: ClientId, wants: impl Fn(&Capabilities) -> bool, line: &OutputLine) {
        let peers = self.clients.get(&id).map(|client| self.peers(client)).unwrap_or_default();
        let is_wanted = |peer: &ClientId| self.clients.get(peer).is_some_and(|it| wants(&it.capabilities));
        let receivers: Vec<(ClientId, Outbox)> = peers.into_iter().filter(|(id, _)| is_wanted(id)).collect();
        self.delivery.deliver(receivers.iter().map(|(id, outbox)| (*id, outbox)), line).await;
    }
}

impl Client {
    /// Returns what clients with `away-notify` receive.
    pub(super) fn away_line(&self) -> OutputLine {
        let (colon, reason) = self.away_reason.as_deref().map_or((&b""[..], &b""[..]), |it| (b" :", it));
        OutputLine::new(&[b":", &self.prefix(), b" AWAY", colon, reason])
    }
}
