//! MODE, of channels and users.

use std::time::SystemTime;

use super::{
    ClientId, World,
    channel::{BANS, Ban, Channel},
    queries::unix_seconds,
};
use crate::{
    masks,
    message::Message,
    names::{Key, is_channel_like},
    reply::{Line, Replies},
};

/// The most changes with a parameter in one MODE.
pub(super) const CHANGES: usize = 4;
/// The most bytes of a mask; with [`CHANGES`] of them the line that tells it to all is whole.
pub(super) const MASK_LENGTH: usize = 80;
/// The most bytes of a channel's key.
pub(super) const KEY_LENGTH: usize = 23;
/// The most members that `l` can ask for.
const HIGHEST_LIMIT: u32 = 1_000_000;

/// What was changed, as it is told to all.
#[derive(Default)]
struct Changes {
    letters: Vec<u8>,
    params: Vec<u8>,
    sign: Option<bool>,
}

impl Changes {
    fn note(&mut self, on: bool, letter: u8, param: Option<&[u8]>) {
        if self.sign.replace(on) != Some(on) {
            self.letters.push(if on { b'+' } else { b'-' });
        }
        self.letters.push(letter);
        param.iter().for_each(|param| self.params.extend([b" ", *param].concat()));
    }
}

impl World {
    pub(super) async fn mode(&mut self, id: ClientId, message: &Message<'_>, replies: &mut Replies) {
        match message.param(0) {
            None => replies.numeric(461, &[b"MODE"], "Not enough parameters"),
            Some(target) if !is_channel_like(target) => {
                self.user_mode(id, target, message.param(1), replies);
            }
            Some(target) => match self.channels.get(&Key::new(target)).filter(|it| it.shows_to(id)) {
                None => replies.numeric(403, &[target], "No such channel"),
                Some(channel) => match message.param(1) {
                    None => tell_modes(channel, id, replies),
                    Some(_) => self.change_modes(id, target, message, replies).await,
                },
            },
        }
    }

    async fn change_modes(
        &mut self,
        id: ClientId,
        target: &[u8],
        message: &Message<'_>,
        replies: &mut Replies,
    ) {
        let (mut done, mut on, mut refused) = (Changes::default(), true, false);
        let mut params = message.params()[2..].iter().copied();
        let mut taken = 0;
        for &letter in message.params()[1] {
            match letter {
                b'+' | b'-' => {
                    on = letter == b'+';
                    continue;
                }
                b'i' | b'm' | b'n' | b's' | b't' | b'l' | b'k' | b'o' | b'v' | b'b' => {}
                _ => {
                    replies.numeric(472, &[&[letter]], "is unknown mode char to me");
                    continue;
                }
            }
            let wants = matches!(letter, b'k' | b'o' | b'v' | b'b') || (letter == b'l' && on);
            let param = if wants { params.next().filter(|param| !param.is_empty()) } else { None };
            if letter == b'b' && param.is_none() {
                self.tell_bans(target, replies);
                continue;
            }
            if !self.channels.get(&Key::new(target)).is_some_and(|channel| channel.is_operator(id)) {
                // Said once: the rest of the line is no more allowed than its beginning.
                if !std::mem::replace(&mut refused, true) {
                    replies.numeric(482, &[target], "You're not channel operator");
                }
                continue;
            }
            if param.is_some() {
                taken += 1;
                if taken > CHANGES {
                    break;
                }
            }
            self.change(id, target, (on, letter, param), &mut done, replies);
        }
        self.tell_changes(id, target, &done, replies).await;
    }

    /// One change by an operator of the channel.
    fn change(
        &mut self,
        id: ClientId,
        target: &[u8],
        (on, letter, param): (bool, u8, Option<&[u8]>),
        done: &mut Changes,
        replies: &mut Replies,
    ) {
        let by = self.clients.get(&id).map(|client| client.prefix()).unwrap_or_default();
        let Some(channel) = self.channels.get_mut(&Key::new(target)) else { return };
        match (letter, param) {
            (b'o' | b'v', Some(nick)) => {
                let Some((member, client)) = self
                    .nicks
                    .get(&Key::new(nick))
                    .copied()
                    .and_then(|id| Some((id, self.clients.get(&id).filter(|client| client.registered)?)))
                else {
                    return replies.numeric(401, &[nick], "No such nick/channel");
                };
                let Some(member) = channel.members.get_mut(&member) else {
                    return replies.numeric(441, &[nick, target], "They aren't on that channel");
                };
                let right = if letter == b'o' { &mut member.operator } else { &mut member.voice };
                if std::mem::replace(right, on) != on {
                    done.note(on, letter, Some(client.nick_or_star()));
                }
            }
            (b'b', Some(mask)) => {
                let mask = masks::of_user(mask);
                if mask.len() > MASK_LENGTH {
                    return replies.numeric(696, &[target, b"b", b"*"], "The mask is too long");
                }
                match (on, channel.bans.iter().position(|ban| Key::new(&ban.mask) == Key::new(&mask))) {
                    (true, None) if channel.bans.len() >= BANS => {
                        return replies.numeric(478, &[target, b"b"], "Channel ban list is full");
                    }
                    (true, None) => {
                        channel.bans.push(Ban { mask: mask.clone(), by, at: SystemTime::now() });
                    }
                    (false, Some(index)) => drop(channel.bans.remove(index)),
                    _ => return,
                }
                done.note(on, b'b', Some(&mask));
            }
            (b'k', Some(key)) if on => {
                let plain = |byte: &u8| byte.is_ascii_graphic() && !b",:".contains(byte);
                if key.len() > KEY_LENGTH || !key.iter().all(plain) {
                    return replies.numeric(525, &[target], "Key is not well-formed");
                }
                channel.modes.key = Some(key.into());
                done.note(true, b'k', Some(key));
            }
            // A key is taken away whatever is said of it, as the members know it anyway.
            (b'k', _) if !on => {
                if let Some(key) = channel.modes.key.take() {
                    done.note(false, b'k', Some(&key));
                }
            }
            (b'l', Some(number)) => {
                let number = std::str::from_utf8(number).ok().and_then(|text| text.parse().ok());
                let Some(limit) = number.filter(|it| (1..=HIGHEST_LIMIT).contains(it)) else {
                    return replies.numeric(696, &[target, b"l", b"*"], "The limit must be 1 to 1000000");
                };
                channel.modes.limit = Some(limit);
                done.note(true, b'l', Some(limit.to_string().as_bytes()));
            }
            (b'l', None) if !on => {
                if channel.modes.limit.take().is_some() {
                    done.note(false, b'l', None);
                }
            }
            (b'o' | b'v' | b'k' | b'l', _) => replies.numeric(461, &[b"MODE"], "Not enough parameters"),
            _ => {
                let flag = channel.modes.flag(letter);
                if flag.is_some_and(|flag| std::mem::replace(flag, on) != on) {
                    done.note(on, letter, None);
                }
            }
        }
    }

    async fn tell_changes(&mut self, id: ClientId, target: &[u8], done: &Changes, replies: &mut Replies) {
        let (Some(client), Some(channel)) = (self.clients.get(&id), self.channels.get(&Key::new(target)))
        else {
            return;
        };
        if done.letters.is_empty() {
            return;
        }
        let by = client.prefix();
        let line = Line::new(&[b":", &by, b" MODE ", &channel.name, b" ", &done.letters, &done.params]);
        replies.copy(&line);
        self.post.deliver(channel.others(id), &line).await;
    }

    fn tell_bans(&self, target: &[u8], replies: &mut Replies) {
        let Some(channel) = self.channels.get(&Key::new(target)) else { return };
        for ban in &channel.bans {
            let at = unix_seconds(ban.at).to_string();
            replies.numeric_params(367, &[&channel.name, &ban.mask, &ban.by, at.as_bytes()]);
        }
        replies.numeric(368, &[&channel.name], "End of channel ban list");
    }

    fn user_mode(&mut self, id: ClientId, target: &[u8], change: Option<&[u8]>, replies: &mut Replies) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        if Key::new(target) != Key::new(client.nick_or_star()) {
            return match self.nicks.contains_key(&Key::new(target)) {
                true => replies.numeric(502, &[], "Cannot change mode for other users"),
                false => replies.numeric(401, &[target], "No such nick/channel"),
            };
        }
        let Some(change) = change else {
            return replies.numeric_params(221, &[client.modes().as_bytes()]);
        };
        let (mut done, mut on, mut unknown) = (Changes::default(), true, false);
        for &letter in change {
            let (flag, value) = match (letter, on) {
                (b'+' | b'-', _) => {
                    on = letter == b'+';
                    continue;
                }
                (b'i', _) => (&mut client.invisible, on),
                (b'o', false) => (&mut client.operator, false),
                // Only OPER makes operators.
                (b'o', true) => continue,
                _ => {
                    unknown = true;
                    continue;
                }
            };
            if std::mem::replace(flag, value) != value {
                done.note(value, letter, None);
                if letter == b'o' {
                    self.operators -= 1;
                }
            }
        }
        if unknown {
            replies.numeric(501, &[], "Unknown MODE flag");
        }
        if !done.letters.is_empty() {
            let nick = client.nick_or_star();
            replies.line(&[b":", nick, b" MODE ", nick, b" :", &done.letters]);
        }
    }
}

fn tell_modes(channel: &Channel, id: ClientId, replies: &mut Replies) {
    let created = unix_seconds(channel.created).to_string();
    replies.numeric_params(324, &[&channel.name, &channel.modes.shown(channel.has(id))]);
    replies.numeric_params(329, &[&channel.name, created.as_bytes()]);
}
