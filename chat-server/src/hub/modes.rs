//! MODE of channels: checks each letter, applies it and announces the changes.

use super::channel::Channel;
use super::client::unix_seconds;
use super::limits::MAX_MODE_CHANGES;
use super::mode_change::{ModeChanges, ModeRequest};
use super::request::ClientId;
use super::state::HubState;
use crate::irc::message::Message;
use crate::irc::names::{NameKey, is_channel_like};
use crate::irc::numeric::{
    ERR_BANLISTFULL, ERR_INVALIDMODEPARAM, ERR_NEEDMOREPARAMS, ERR_UNKNOWNMODE, ERR_USERNOTINCHANNEL,
    RPL_BANLIST, RPL_CHANNELMODEIS, RPL_CREATIONTIME, RPL_ENDOFBANLIST, StandardReply,
};
use crate::irc::reply::Replies;

impl HubState {
    pub(super) async fn mode(&mut self, id: ClientId, message: &Message<'_>, replies: &mut Replies) {
        match message.param(0) {
            None => replies.need_more_params("MODE"),
            Some(target) if !is_channel_like(target) => {
                self.user_mode(id, target, message.param(1), replies);
            }
            Some(target) => {
                match self.channels.get(&NameKey::new(target)).filter(|it| it.is_visible_to(id)) {
                    None => replies.no_such_channel(target),
                    Some(channel) => match message.param(1) {
                        None => send_modes(channel, id, replies),
                        Some(_) => self.change_modes(id, target, message, replies).await,
                    },
                }
            }
        }
    }

    async fn change_modes(
        &mut self,
        id: ClientId,
        target: &[u8],
        message: &Message<'_>,
        replies: &mut Replies,
    ) {
        let (mut changes, mut on, mut has_sent_refusal, mut has_sent_bans) =
            (ModeChanges::default(), true, false, false);
        let mut params = message.params()[2..].iter().copied();
        let mut param_count = 0;
        let letters = message.params()[1];
        for (index, &letter) in letters.iter().enumerate() {
            match letter {
                b'+' | b'-' => {
                    on = letter == b'+';
                    continue;
                }
                // Only the last occurrence of a flag counts. Otherwise the line
                // that announces all changes could get too long.
                b'i' | b'm' | b'n' | b's' | b't' if letters[index + 1..].contains(&letter) => continue,
                b'i' | b'm' | b'n' | b's' | b't' | b'l' | b'k' | b'o' | b'v' | b'b' => {}
                _ if letters[..index].contains(&letter) => continue,
                _ => {
                    replies.standard(ERR_UNKNOWNMODE, &[&[letter]]);
                    continue;
                }
            }
            let takes_param = matches!(letter, b'k' | b'o' | b'v' | b'b') || (letter == b'l' && on);
            // A parameter may be empty. The letter then refuses it.
            let param = if takes_param { params.next() } else { None };
            if letter == b'b' && param.is_none_or(<[u8]>::is_empty) {
                // The list is sent once. 500 letters must not send 500 lists,
                // as all replies to a line are collected in one buffer.
                if !std::mem::replace(&mut has_sent_bans, true) {
                    self.send_bans(target, replies);
                }
                continue;
            }
            let Some(channel) = self.channels.get(&NameKey::new(target)) else { return };
            if !channel.is_operator(id) {
                // The error is sent once, as it applies to the whole line.
                if !std::mem::replace(&mut has_sent_refusal, true) {
                    replies.not_channel_operator(&channel.name);
                }
                continue;
            }
            if param.is_some() {
                param_count += 1;
                if param_count > MAX_MODE_CHANGES {
                    break;
                }
            }
            self.change(id, target, ModeRequest { on, letter, param }, &mut changes, replies);
        }
        self.announce_changes(id, target, &changes, replies).await;
    }

    /// Applies one change, requested by an operator of the channel.
    fn change(
        &mut self,
        id: ClientId,
        target: &[u8],
        request: ModeRequest<'_>,
        changes: &mut ModeChanges,
        replies: &mut Replies,
    ) {
        let Some(channel) = self.channels.get_mut(&NameKey::new(target)) else { return };
        let result = match request {
            ModeRequest { letter: b'o' | b'v', param: Some(nick), .. } => {
                let member = self.nicks.get(&NameKey::new(nick)).and_then(|id| self.clients.get(id));
                match member.filter(|client| client.is_registered) {
                    Some(member) => channel.set_rank(member, request, changes),
                    None => return replies.no_such_nick(nick),
                }
            }
            ModeRequest { letter: b'b', param: Some(mask), .. } => {
                channel.set_ban(mask, request.on, id, &mut self.clients, changes)
            }
            ModeRequest { letter: b'k', .. } => channel.set_key(request, changes),
            ModeRequest { letter: b'l', .. } => channel.set_limit(request, changes),
            _ => channel.set_flag(request, changes),
        };
        match result {
            Ok(()) => {}
            Err(ERR_USERNOTINCHANNEL) => {
                let nick = request.param.unwrap_or_default();
                replies.standard(ERR_USERNOTINCHANNEL, &[nick, &channel.name]);
            }
            Err(ERR_NEEDMOREPARAMS) => replies.need_more_params("MODE"),
            // The reply does not repeat the parameter, which may hold any
            // bytes.
            Err(error @ StandardReply { numeric: ERR_INVALIDMODEPARAM, .. }) => {
                replies.standard(error, &[&channel.name, &[request.letter], b"*"]);
            }
            Err(error) if error.numeric == ERR_BANLISTFULL.numeric => {
                replies.standard(error, &[&channel.name, &[request.letter]]);
            }
            Err(error) => replies.standard(error, &[&channel.name]),
        }
    }

    async fn announce_changes(
        &mut self,
        id: ClientId,
        target: &[u8],
        changes: &ModeChanges,
        replies: &mut Replies,
    ) {
        let (Some(client), Some(channel)) = (self.clients.get(&id), self.channels.get(&NameKey::new(target)))
        else {
            return;
        };
        if changes.letters.is_empty() {
            return;
        }
        let line = client.line(&[b" MODE ", &channel.name, b" ", &changes.letters, &changes.params]);
        replies.push_copy(&line);
        self.delivery.deliver(channel.other_members(id), &line).await;
    }

    fn send_bans(&self, target: &[u8], replies: &mut Replies) {
        let Some(channel) = self.channels.get(&NameKey::new(target)) else { return };
        for ban in &channel.bans {
            let at = unix_seconds(ban.set_at).to_string();
            replies.numeric_params(RPL_BANLIST, &[&channel.name, &ban.mask, &ban.set_by, at.as_bytes()]);
        }
        replies.standard(RPL_ENDOFBANLIST, &[&channel.name]);
    }
}

fn send_modes(channel: &Channel, id: ClientId, replies: &mut Replies) {
    let created = unix_seconds(channel.created_at).to_string();
    let modes = channel.modes.to_text(channel.has_member(id));
    let params: Vec<&[u8]> = [&channel.name[..]].into_iter().chain(modes.split(|&it| it == b' ')).collect();
    replies.numeric_params(RPL_CHANNELMODEIS, &params);
    replies.numeric_params(RPL_CREATIONTIME, &[&channel.name, created.as_bytes()]);
}
