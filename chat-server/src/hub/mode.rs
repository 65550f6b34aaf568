//! MODE: asking for modes and changing them, of channels and of oneself.

use std::time::SystemTime;

use super::{
    ClientId, World,
    client::{Channel, unix_seconds},
    modes::{BANS, Ban, CHANGES, is_key},
};
use crate::{
    masks,
    message::Message,
    names::{Key, is_channel_like},
    reply::{Line, Replies},
};

/// The most bytes of a ban mask, so that it can be listed.
const MASK_LENGTH: usize = 200;

/// Who changes modes, and what came of it so far.
struct Changes<'a> {
    prefix: &'a [u8],
    name: &'a [u8],
    /// Letters that took effect, with their signs, and their parameters.
    letters: Vec<u8>,
    params: Vec<u8>,
    sign: u8,
    /// A `b` without a mask still asks for the list; once, as it is long.
    may_list: bool,
}

impl World {
    pub(super) async fn mode(&mut self, id: ClientId, message: &Message<'_>, replies: &mut Replies) {
        match message.param(0) {
            None => replies.numeric(461, &[b"MODE"], "Not enough parameters"),
            Some(target) if is_channel_like(target) => {
                self.channel_mode(id, target, &message.params()[1..], replies).await;
            }
            Some(target) => self.user_mode(id, target, message.param(1), replies),
        }
    }

    async fn channel_mode(&mut self, id: ClientId, target: &[u8], params: &[&[u8]], replies: &mut Replies) {
        let Some(channel) = self.channels.get(&Key::new(target)) else {
            return replies.numeric(403, &[target], "No such channel");
        };
        let Some((letters, params)) = params.split_first().filter(|(letters, _)| !letters.is_empty()) else {
            let created = unix_seconds(channel.created).to_string();
            replies.numeric_params(324, &[&channel.name, &channel.modes.text(channel.has(id))]);
            replies.numeric_params(329, &[&channel.name, created.as_bytes()]);
            return;
        };
        // Clients ask for the bans as they join, and anybody may.
        if params.is_empty() && letters.strip_prefix(b"+").unwrap_or(letters) == b"b" {
            return list_bans(channel, replies);
        }
        if !channel.has(id) {
            return replies.numeric(442, &[target], "You're not on that channel");
        }
        if !channel.rank(id).operator {
            return replies.numeric(482, &[target], "You're not channel operator");
        }
        self.change_modes(id, target, letters, params, replies).await;
    }

    async fn change_modes(
        &mut self,
        id: ClientId,
        target: &[u8],
        letters: &[u8],
        params: &[&[u8]],
        replies: &mut Replies,
    ) {
        let key = Key::new(target);
        let Some(client) = self.clients.get(&id) else { return };
        let prefix = client.prefix();
        let Some(name) = self.channels.get(&key).map(|channel| channel.name.clone()) else { return };
        // With more masks than may be changed at once, a letter that is left over asks for nothing.
        let mut changes = Changes {
            prefix: &prefix,
            name: &name,
            letters: Vec::new(),
            params: Vec::new(),
            sign: 0,
            may_list: params.len() < CHANGES,
        };
        let mut params = params.iter().copied().filter(|param| !param.is_empty()).take(CHANGES);
        let mut add = true;
        for &letter in letters {
            match letter {
                b'+' => add = true,
                b'-' => add = false,
                b'o' | b'v' => {
                    if let Some(nick) = params.next() {
                        self.rank(&key, letter, add, nick, &mut changes, replies);
                    }
                }
                _ => {
                    let takes = matches!((letter, add), (b'b' | b'k', _) | (b'l', true));
                    let param = if takes { params.next() } else { None };
                    if let Some(channel) = self.channels.get_mut(&key) {
                        changes.change(channel, letter, add, param, replies);
                    }
                }
            }
        }
        let Some(line) = changes.line() else { return };
        replies.copy(&line);
        if let Some(channel) = self.channels.get(&key) {
            self.post.deliver(&channel.members, &line, Some(id)).await;
        }
    }

    fn rank(
        &mut self,
        key: &Key,
        letter: u8,
        add: bool,
        nick: &[u8],
        changes: &mut Changes<'_>,
        replies: &mut Replies,
    ) {
        let Some(&id) = self.nicks.get(&Key::new(nick)) else {
            return replies.numeric(401, &[nick], "No such nick/channel");
        };
        let Some(channel) = self.channels.get_mut(key).filter(|channel| channel.has(id)) else {
            return replies.numeric(441, &[nick, changes.name], "They aren't on that channel");
        };
        let mut rank = channel.rank(id);
        let flag = if letter == b'o' { &mut rank.operator } else { &mut rank.voice };
        if std::mem::replace(flag, add) != add {
            channel.set_rank(id, rank);
            changes.note(add, letter, self.clients.get(&id).map(|client| client.nick_or_star()));
        }
    }

    fn user_mode(&mut self, id: ClientId, target: &[u8], change: Option<&[u8]>, replies: &mut Replies) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        if Key::new(target) != Key::new(client.nick_or_star()) {
            let known = self.nicks.contains_key(&Key::new(target));
            return match known {
                true => replies.numeric(502, &[], "Cannot change mode for other users"),
                false => replies.numeric(401, &[target], "No such nick/channel"),
            };
        }
        let Some(change) = change else {
            return replies.numeric_params(221, &[client.modes().as_bytes()]);
        };
        let (mut add, mut unknown, mut done) = (true, false, [Vec::new(), Vec::new()]);
        for &letter in change {
            let flag = match letter {
                b'+' | b'-' => {
                    add = letter == b'+';
                    continue;
                }
                b'i' => &mut client.invisible,
                // It is given by OPER alone.
                b'o' if !add => &mut client.operator,
                b'o' => continue,
                _ => {
                    unknown = true;
                    continue;
                }
            };
            if std::mem::replace(flag, add) != add {
                done[usize::from(add)].push(letter);
            }
        }
        if unknown {
            replies.numeric(501, &[], "Unknown MODE flag");
        }
        let [removed, added] = done;
        let mut text = Vec::new();
        for (sign, letters) in [(b'+', &added), (b'-', &removed)] {
            if !letters.is_empty() {
                text.push(sign);
                text.extend_from_slice(letters);
            }
        }
        if !text.is_empty() {
            let nick = client.nick_or_star();
            replies.line(&[b":", nick, b" MODE ", nick, b" :", &text]);
        }
        self.operators -= usize::from(removed.contains(&b'o'));
    }
}

impl Changes<'_> {
    fn change(
        &mut self,
        channel: &mut Channel,
        letter: u8,
        add: bool,
        param: Option<&[u8]>,
        replies: &mut Replies,
    ) {
        match (letter, param) {
            (b'b', None) => {
                if std::mem::take(&mut self.may_list) {
                    list_bans(channel, replies);
                }
            }
            (b'b', Some(mask)) => self.ban(channel, add, mask, replies),
            (b'k', Some(key)) if add && is_key(key) => {
                channel.modes.key = Some(key.into());
                self.note(true, b'k', Some(key));
            }
            (b'k', Some(_)) if add => replies.numeric(525, &[self.name], "Key is not well-formed"),
            (b'k', None) if add => {}
            (b'k', _) => {
                if channel.modes.key.take().is_some() {
                    self.note(false, b'k', Some(b"*"));
                }
            }
            (b'l', Some(text)) => {
                let limit = std::str::from_utf8(text).ok().and_then(|it| it.parse().ok());
                if let Some(limit @ 1..) = limit {
                    channel.modes.limit = Some(limit);
                    self.note(true, b'l', Some(limit.to_string().as_bytes()));
                }
            }
            (b'l', None) => {
                if !add && channel.modes.limit.take().is_some() {
                    self.note(false, b'l', None);
                }
            }
            _ => match channel.modes.switch(letter) {
                Some(switch) => {
                    if std::mem::replace(switch, add) != add {
                        self.note(add, letter, None);
                    }
                }
                None => replies.numeric(472, &[&[letter]], "is unknown mode char to me"),
            },
        }
    }

    fn ban(&mut self, channel: &mut Channel, add: bool, mask: &[u8], replies: &mut Replies) {
        let mask = masks::of_user(&mask[..mask.len().min(MASK_LENGTH)]);
        let place = channel.bans.iter().position(|ban| Key::new(&ban.mask) == Key::new(&mask));
        match (add, place) {
            (true, None) if channel.bans.len() >= BANS => {
                replies.numeric(478, &[self.name, b"b"], "Channel ban list is full");
            }
            (true, None) => {
                self.note(true, b'b', Some(&mask));
                let at = unix_seconds(SystemTime::now());
                channel.bans.push(Ban { mask, by: self.prefix.to_vec(), at });
            }
            (false, Some(place)) => {
                let ban = channel.bans.remove(place);
                self.note(false, b'b', Some(&ban.mask));
            }
            _ => {}
        }
    }

    fn note(&mut self, add: bool, letter: u8, param: Option<&[u8]>) {
        let sign = if add { b'+' } else { b'-' };
        if std::mem::replace(&mut self.sign, sign) != sign {
            self.letters.push(sign);
        }
        self.letters.push(letter);
        if let Some(param) = param {
            self.params.push(b' ');
            self.params.extend_from_slice(param);
        }
    }

    /// What all members get to read; `None` if nothing changed.
    fn line(&self) -> Option<Line> {
        let parts: [&[u8]; 7] = [b":", self.prefix, b" MODE ", self.name, b" ", &self.letters, &self.params];
        (!self.letters.is_empty()).then(|| Line::new(&parts))
    }
}

fn list_bans(channel: &Channel, replies: &mut Replies) {
    for ban in &channel.bans {
        replies.numeric_params(367, &[&channel.name, &ban.mask, &ban.by, ban.at.to_string().as_bytes()]);
    }
    replies.numeric(368, &[&channel.name], "End of channel ban list");
}
