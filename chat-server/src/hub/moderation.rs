//! Who gets in and who is put out: INVITE and KICK.

use super::{ClientId, World, client::Channel};
use crate::{
    masks,
    message::{Message, list},
    names::Key,
    reply::{Line, Replies},
};

/// The most nicks of one KICK.
pub(super) const KICKS: usize = 4;
/// The most bytes of a reason to kick.
pub(super) const KICK_LENGTH: usize = 200;
/// Invitations that a client holds at most; older ones are forgotten.
const INVITATIONS: usize = 32;

/// Why somebody cannot join.
pub(super) type Refusal = (u16, &'static str);

impl World {
    /// Whether the modes of `channel` let the client in.
    pub(super) fn admits(&self, channel: &Channel, id: ClientId, key: Option<&[u8]>) -> Result<(), Refusal> {
        let Some(client) = self.clients.get(&id) else { return Ok(()) };
        let invited = client.invitations.contains(&(Key::new(&channel.name), channel.created));
        let full = channel.modes.limit.is_some_and(|limit| channel.members.len() >= limit as usize);
        match &channel.modes.key {
            _ if channel.modes.invite_only && !invited => Err((473, "Cannot join channel (+i)")),
            // An invitation is the word of an operator: it counts for more than a ban.
            _ if !invited && channel.bans(&client.prefix()) => Err((474, "Cannot join channel (+b)")),
            Some(right) if key != Some(&**right) => Err((475, "Cannot join channel (+k)")),
            _ if full => Err((471, "Cannot join channel (+l)")),
            _ => Ok(()),
        }
    }

    pub(super) fn invite(&mut self, id: ClientId, message: &Message<'_>, replies: &mut Replies) {
        let (Some(nick), Some(name)) = (message.param(0), message.param(1)) else {
            return replies.numeric(461, &[b"INVITE"], "Not enough parameters");
        };
        let Some(guest) = self.find(nick) else {
            return replies.numeric(401, &[nick], "No such nick/channel");
        };
        let key = Key::new(name);
        let Some(channel) = self.channels.get(&key) else {
            return replies.numeric(403, &[name], "No such channel");
        };
        if !channel.has(id) {
            return replies.numeric(442, &[name], "You're not on that channel");
        }
        if channel.has(guest) {
            return replies.numeric(443, &[nick, name], "is already on channel");
        }
        if channel.modes.invite_only && !channel.rank(id).operator {
            return replies.numeric(482, &[name], "You're not channel operator");
        }
        let Some(prefix) = self.clients.get(&id).map(|client| client.prefix()) else { return };
        let Some(client) = self.clients.get_mut(&guest) else { return };
        let invitation = (key, channel.created);
        client.invitations.retain(|it| *it != invitation);
        if client.invitations.len() >= INVITATIONS {
            client.invitations.remove(0);
        }
        client.invitations.push(invitation);
        let line = Line::new(&[b":", &prefix, b" INVITE ", client.nick_or_star(), b" :", &channel.name]);
        self.post.one(guest, &client.outbox, &line, 1);
        replies.numeric_params(341, &[client.nick_or_star(), &channel.name]);
        if let Some(away) = &client.away {
            replies.numeric(301, &[client.nick_or_star()], away);
        }
    }

    pub(super) async fn kick(&mut self, id: ClientId, message: &Message<'_>, replies: &mut Replies) {
        let (Some(name), Some(nicks)) = (message.param(0), message.param(1)) else {
            return replies.numeric(461, &[b"KICK"], "Not enough parameters");
        };
        let key = Key::new(name);
        let Some(channel) = self.channels.get(&key) else {
            return replies.numeric(403, &[name], "No such channel");
        };
        if !channel.has(id) {
            return replies.numeric(442, &[name], "You're not on that channel");
        }
        if !channel.rank(id).operator {
            return replies.numeric(482, &[name], "You're not channel operator");
        }
        for (index, nick) in list(nicks).enumerate() {
            if index >= KICKS {
                return replies.numeric(407, &[nick], "Too many targets");
            }
            self.kick_one(id, &key, nick, message.param(2), replies).await;
        }
    }

    async fn kick_one(
        &mut self,
        id: ClientId,
        key: &Key,
        nick: &[u8],
        reason: Option<&[u8]>,
        replies: &mut Replies,
    ) {
        // The kicker may have put itself out just before.
        let Some(channel) = self.channels.get(key) else { return };
        let Some(victim) = self.find(nick) else {
            return replies.numeric(401, &[nick], "No such nick/channel");
        };
        if !channel.has(victim) {
            return replies.numeric(441, &[nick, &channel.name], "They aren't on that channel");
        }
        let (Some(kicker), Some(client)) = (self.clients.get(&id), self.clients.get(&victim)) else { return };
        let reason = reason.unwrap_or(kicker.nick_or_star());
        let reason = &reason[..reason.len().min(KICK_LENGTH)];
        let (prefix, nick) = (kicker.prefix(), client.nick_or_star());
        let line = Line::new(&[b":", &prefix, b" KICK ", &channel.name, b" ", nick, b" :", reason]);
        replies.copy(&line);
        // The victim reads it too, and nothing of the channel after it.
        self.post.deliver(&channel.members, &line, Some(id)).await;
        self.leave_channel(victim, key);
    }
}

impl Channel {
    /// Whether a ban fits whoever is called `prefix`.
    pub(super) fn bans(&self, prefix: &[u8]) -> bool {
        self.bans.iter().any(|ban| masks::fits(&ban.mask, prefix))
    }

    /// Whether the member may talk here: a ban or `m` silences whoever has no rank.
    pub(super) fn hears(&self, id: ClientId, prefix: &[u8]) -> bool {
        let rank = self.rank(id);
        let ranked = rank.operator || rank.voice;
        let inside = self.has(id) || !self.modes.inside_only;
        inside && (ranked || !self.modes.moderated && !self.bans(prefix))
    }
}
