//! REHASH: an operator makes the server read its certificate again.

use super::request::{ClientId, CommandOutcome};
use super::state::HubState;
use crate::irc::numeric::{ERR_NOPRIVILEGES, RPL_REHASHING};
use crate::irc::reply::Replies;

impl HubState {
    /// `REHASH`
    pub(super) fn rehash(&self, id: ClientId, replies: &mut Replies) -> CommandOutcome {
        if !self.clients.get(&id).is_some_and(|client| client.is_operator) {
            replies.standard(ERR_NOPRIVILEGES, &[]);
            return CommandOutcome::Done;
        }
        CommandOutcome::Reload
    }

    /// Sends the result of the reload.
    pub(super) fn send_reloaded(&self, sentence: &str, replies: &mut Replies) {
        replies.standard(RPL_REHASHING, &[b"certificate"]);
        let target = replies.target().to_vec();
        // A path may contain any character.
        let sentence = sentence.replace(|it: char| it.is_control(), "?");
        replies.server_text(&[b"NOTICE ", &target, b" :"], sentence.as_bytes());
    }
}
