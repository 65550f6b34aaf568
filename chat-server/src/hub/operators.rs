//! Operators of the server: OPER makes one, KILL is what one may do.

use super::{Checks, ClientId, Next, World};
use crate::irc::message::Message;
use crate::irc::names::Key;
use crate::irc::reply::{Line, Replies};
use crate::irc::truncate::cut;

/// The most bytes of the reason for a KILL; with it, every line that tells it is whole.
const KILL_LENGTH: usize = 300;

impl World {
    pub(super) fn oper(
        &mut self,
        id: ClientId,
        message: &Message<'_>,
        checks: Checks,
        replies: &mut Replies,
    ) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        if message.param(1).is_none() {
            replies.numeric(461, &[b"OPER"], "Not enough parameters");
        } else if !self.identity.has_operators {
            replies.numeric(491, &[], "No O-lines for your host");
        } else if !checks.password {
            replies.numeric(464, &[], "Password incorrect");
        } else {
            self.operators += usize::from(!std::mem::replace(&mut client.operator, true));
            let nick = client.nick_or_star();
            replies.numeric(381, &[], "You are now an IRC operator");
            replies.line(&[b":", nick, b" MODE ", nick, b" :+o"]);
        }
    }

    /// `KILL nick [reason]`
    pub(super) async fn kill(&mut self, id: ClientId, message: &Message<'_>, replies: &mut Replies) -> Next {
        let Some(nick) = message.param(0) else {
            replies.numeric(461, &[b"KILL"], "Not enough parameters");
            return Next::Done;
        };
        let Some(by) = self.clients.get(&id).filter(|client| client.operator) else {
            replies.numeric(481, &[], "Permission Denied- You're not an IRC operator");
            return Next::Done;
        };
        let victim = self.nicks.get(&Key::new(nick)).and_then(|id| self.clients.get(id));
        let Some(victim) = victim.filter(|client| client.registered) else {
            replies.numeric(401, &[nick], "No such nick/channel");
            return Next::Done;
        };
        let reason = cut(message.param(1).unwrap_or(b"no reason given"), KILL_LENGTH);
        let line = Line::new(&[b":", &by.prefix(), b" KILL ", victim.nick_or_star(), b" :", reason]);
        let reason = [b"Killed (", by.nick_or_star(), b" (", reason, b"))"].concat();
        if victim.id == id {
            // Its replies go out before it is let go, and its session learns of the end by the outcome.
            replies.copy(&line);
            return Next::Close(reason);
        }
        self.post.one(victim.id, &victim.outbox, &line, 1);
        self.remove(victim.id, &reason).await;
        Next::Done
    }
}
