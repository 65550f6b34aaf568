//! OPER and KILL: the operators of the server.

use super::limits::MAX_KILL_REASON_BYTES;
use super::request::{ClientId, CommandOutcome};
use super::state::HubState;
use crate::irc::message::Message;
use crate::irc::names::NameKey;
use crate::irc::numeric::{ERR_NOOPERHOST, ERR_NOPRIVILEGES, ERR_PASSWDMISMATCH, RPL_YOUREOPER};
use crate::irc::reply::Replies;
use crate::irc::truncate::truncate;
use crate::services::line_checks::LineChecks;

impl HubState {
    pub(super) fn oper(
        &mut self,
        id: ClientId,
        message: &Message<'_>,
        checks: LineChecks,
        replies: &mut Replies,
    ) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        if message.param(1).is_none() {
            replies.need_more_params("OPER");
        } else if !self.identity.has_operators {
            replies.standard(ERR_NOOPERHOST, &[]);
        } else if !checks.is_password_right {
            replies.standard(ERR_PASSWDMISMATCH, &[]);
        } else {
            self.operator_count += usize::from(!std::mem::replace(&mut client.is_operator, true));
            let nick = client.nick_or_star();
            replies.standard(RPL_YOUREOPER, &[]);
            replies.line(&[b":", nick, b" MODE ", nick, b" :+o"]);
        }
    }

    /// `KILL nick [reason]`
    pub(super) async fn kill(
        &mut self,
        id: ClientId,
        message: &Message<'_>,
        replies: &mut Replies,
    ) -> CommandOutcome {
        let Some(nick) = message.param(0) else {
            replies.need_more_params("KILL");
            return CommandOutcome::Done;
        };
        let Some(operator) = self.clients.get(&id).filter(|client| client.is_operator) else {
            replies.standard(ERR_NOPRIVILEGES, &[]);
            return CommandOutcome::Done;
        };
        let target = self.nicks.get(&NameKey::new(nick)).and_then(|id| self.clients.get(id));
        let Some(target) = target.filter(|client| client.is_registered) else {
            replies.no_such_nick(nick);
            return CommandOutcome::Done;
        };
        let reason = truncate(message.param(1).unwrap_or(b"no reason given"), MAX_KILL_REASON_BYTES);
        let line = operator.line(&[b" KILL ", target.nick_or_star(), b" :", reason]);
        let reason = [b"Killed (", operator.nick_or_star(), b" (", reason, b"))"].concat();
        if target.id == id {
            // The hub first sends the replies and then disconnects the client.
            // The outcome reports this to the session.
            replies.push_copy(&line);
            return CommandOutcome::Disconnect(reason);
        }
        self.delivery.send(target.id, &target.outbox, &line, 1);
        self.remove(target.id, &reason).await;
        CommandOutcome::Done
    }
}
