//! CAP: capability negotiation.

use super::capabilities::OFFERED;
use super::request::{ClientId, CommandOutcome};
use super::state::HubState;
use crate::irc::message::Message;
use crate::irc::numeric::ERR_INVALIDCAPCMD;
use crate::irc::reply::Replies;

impl HubState {
    pub(super) fn cap(
        &mut self,
        id: ClientId,
        message: &Message<'_>,
        replies: &mut Replies,
    ) -> CommandOutcome {
        let Some(client) = self.clients.get_mut(&id) else { return CommandOutcome::Done };
        let nick = client.nick_or_star().to_vec();
        let Some(subcommand) = message.param(0) else {
            replies.need_more_params("CAP");
            return CommandOutcome::Done;
        };
        let uppercase = subcommand.to_ascii_uppercase();
        if matches!(&uppercase[..], b"LS" | b"REQ") {
            client.is_negotiating = !client.is_registered;
        }
        let mut reply = |subcommand: &[u8], rest: &[u8]| {
            replies.server_line(&[b"CAP ", &nick, b" ", subcommand, b" :", rest])
        };
        match &uppercase[..] {
            b"LS" => reply(b"LS", OFFERED.join(" ").as_bytes()),
            b"LIST" => reply(b"LIST", client.capabilities.names().join(" ").as_bytes()),
            b"REQ" => {
                let requested = message.params().get(1).copied().unwrap_or_default();
                match client.capabilities.with(requested) {
                    Some(granted) => {
                        reply(b"ACK", requested);
                        client.capabilities = granted;
                        client.outbox.set_tag_kinds(granted.tag_kinds());
                        replies.set_kinds(granted.tag_kinds());
                    }
                    None => reply(b"NAK", requested),
                }
            }
            b"END" => {
                client.is_negotiating = false;
                return self.register(id, replies);
            }
            _ => replies.standard(ERR_INVALIDCAPCMD, &[subcommand]),
        }
        CommandOutcome::Done
    }
}
