//! KICK and INVITE.

use super::limits::{MAX_CHANNELS_PER_CLIENT, MAX_KICK_REASON_BYTES, MAX_KICK_TARGETS};
use super::request::ClientId;
use super::state::HubState;
use crate::irc::message::{Message, split_commas};
use crate::irc::names::NameKey;
use crate::irc::numeric::{
    ERR_TOOMANYTARGETS, ERR_USERNOTINCHANNEL, ERR_USERONCHANNEL, RPL_AWAY, RPL_INVITING,
};
use crate::irc::reply::{OutputLine, Replies};
use crate::irc::truncate::truncate;

impl HubState {
    pub(super) async fn kick(&mut self, id: ClientId, message: &Message<'_>, replies: &mut Replies) {
        let (Some(names), Some(nicks)) = (message.param(0), message.param(1)) else {
            return replies.need_more_params("KICK");
        };
        let (name_count, nick_count) = (split_commas(names).count(), split_commas(nicks).count());
        if name_count <= 1 {
            return self.kick_from(id, names, nicks, message.param(2), replies).await;
        }
        // RFC 2812: each nick has its own channel.
        if name_count != nick_count {
            return replies.need_more_params("KICK");
        }
        for (index, (name, nick)) in split_commas(names).zip(split_commas(nicks)).enumerate() {
            if index == MAX_KICK_TARGETS {
                return replies.standard(ERR_TOOMANYTARGETS, &[nick]);
            }
            self.kick_from(id, name, nick, message.param(2), replies).await;
        }
    }

    /// Kicks clients from one channel.
    async fn kick_from(
        &mut self,
        id: ClientId,
        name: &[u8],
        nicks: &[u8],
        reason: Option<&[u8]>,
        replies: &mut Replies,
    ) {
        let Some(channel) = self.joined_channel(id, name, replies) else { return };
        if !channel.is_operator(id) {
            return replies.not_channel_operator(&channel.name);
        }
        let key = NameKey::new(name);
        for (index, nick) in split_commas(nicks).enumerate() {
            if index == MAX_KICK_TARGETS {
                return replies.standard(ERR_TOOMANYTARGETS, &[nick]);
            }
            self.kick_one(id, &key, nick, reason, replies).await;
        }
    }

    async fn kick_one(
        &mut self,
        id: ClientId,
        key: &NameKey,
        nick: &[u8],
        reason: Option<&[u8]>,
        replies: &mut Replies,
    ) {
        let kicker = self
            .clients
            .get(&id)
            .map(|client| (client.prefix(), client.account.clone(), client.nick_or_star().to_vec()));
        let (Some((kicker_prefix, account, kicker_nick)), Some(channel)) =
            (kicker, self.channels.get_mut(key))
        else {
            return;
        };
        // An earlier nick in the same KICK may have been that of the client
        // itself.
        if !channel.has_member(id) {
            return replies.not_on_channel(&channel.name);
        }
        let target = self.nicks.get(&NameKey::new(nick)).and_then(|id| self.clients.get_mut(id));
        let Some(target) = target.filter(|client| client.is_registered) else {
            return replies.no_such_nick(nick);
        };
        if !channel.has_member(target.id) {
            return replies.standard(ERR_USERNOTINCHANNEL, &[nick, &channel.name]);
        }
        let reason = truncate(reason.unwrap_or(&kicker_nick), MAX_KICK_REASON_BYTES);
        let line =
            [b":", &kicker_prefix[..], b" KICK ", &channel.name, b" ", target.nick_or_star(), b" :", reason];
        let line = OutputLine::new(&line).with_account(account.as_deref());
        replies.push_copy(&line);
        self.delivery.deliver(channel.other_members(id), &line).await;
        target.channels.remove(key);
        channel.members.remove(&target.id);
        self.end_if_empty(key).await;
    }

    pub(super) fn invite(&mut self, id: ClientId, message: &Message<'_>, replies: &mut Replies) {
        let (Some(nick), Some(name)) = (message.param(0), message.param(1)) else {
            return replies.need_more_params("INVITE");
        };
        let Some(channel) = self.joined_channel(id, name, replies) else { return };
        if channel.modes.invite_only && !channel.is_operator(id) {
            return replies.not_channel_operator(&channel.name);
        }
        let key = NameKey::new(name);
        let inviter = self.clients.get(&id).map(|client| (client.prefix(), client.account.clone()));
        let (inviter_prefix, account) = inviter.unwrap_or_default();
        let Some(channel) = self.channels.get(&key) else { return };
        let target = self.nicks.get(&NameKey::new(nick)).and_then(|id| self.clients.get_mut(id));
        let Some(target) = target.filter(|client| client.is_registered) else {
            return replies.no_such_nick(nick);
        };
        if channel.has_member(target.id) {
            return replies.standard(ERR_USERONCHANNEL, &[target.nick_or_star(), &channel.name]);
        }
        // Only an operator can lift bans, keys and limits, so only the
        // invitation of an operator overrides them. Any other invitation is
        // just a message.
        if channel.is_operator(id) {
            // The invitation whose channel name sorts first is dropped.
            // Otherwise one client could fill the memory of another with
            // invitations.
            if target.invitations.len() >= MAX_CHANNELS_PER_CLIENT {
                target.invitations.pop_first();
            }
            target.invitations.insert(key, channel.id);
        }
        replies.numeric_params(RPL_INVITING, &[target.nick_or_star(), &channel.name]);
        if let Some(reason) = &target.away_reason {
            replies.numeric(RPL_AWAY, &[target.nick_or_star()], reason);
        }
        let line = OutputLine::new(&[
            b":",
            &inviter_prefix,
            b" INVITE ",
            target.nick_or_star(),
            b" :",
            &channel.name,
        ])
        .with_account(account.as_deref());
        self.delivery.send(target.id, &target.outbox, &line, 1);
    }
}
