//! The effect of each letter of a channel MODE.

use std::collections::HashMap;
use std::time::SystemTime;

use super::channel::{Ban, Channel};
use super::client::Client;
use super::limits::{MAX_BANS, MAX_BANS_PER_CLIENT, MAX_KEY_BYTES, MAX_MASK_BYTES, MAX_MEMBER_LIMIT};
use super::request::ClientId;
use crate::irc::masks;
use crate::irc::names::NameKey;
use crate::irc::numeric::{
    ERR_BANLISTFULL, ERR_INVALIDKEY, ERR_INVALIDMODEPARAM, ERR_NEEDMOREPARAMS, ERR_USERNOTINCHANNEL,
    StandardReply,
};

/// One letter of a MODE with its sign and parameter.
#[derive(Clone, Copy)]
pub(super) struct ModeRequest<'a> {
    pub(super) on: bool,
    pub(super) letter: u8,
    pub(super) param: Option<&'a [u8]>,
}

/// The changes that took effect, in the form that members receive.
#[derive(Default)]
pub(super) struct ModeChanges {
    pub(super) letters: Vec<u8>,
    pub(super) params: Vec<u8>,
    sign: Option<bool>,
}

impl ModeChanges {
    pub(super) fn add(&mut self, on: bool, letter: u8, param: Option<&[u8]>) {
        if self.sign.replace(on) != Some(on) {
            self.letters.push(if on { b'+' } else { b'-' });
        }
        self.letters.push(letter);
        param.iter().for_each(|param| self.params.extend([b" ", *param].concat()));
    }
}

impl Ban {
    /// Returns the ban's place to the client that has set it.
    pub(super) fn end(self, clients: &mut HashMap<ClientId, Client>) {
        // The client may have left.
        if let Some(owner) = clients.get_mut(&self.owner) {
            owner.ban_count = owner.ban_count.saturating_sub(1);
        }
    }
}

impl Channel {
    /// `o` and `v`: gives the rank to a member or removes it.
    pub(super) fn set_rank(
        &mut self,
        client: &Client,
        request: ModeRequest<'_>,
        changes: &mut ModeChanges,
    ) -> Result<(), StandardReply> {
        let member = self.members.get_mut(&client.id).ok_or(ERR_USERNOTINCHANNEL)?;
        let rank = if request.letter == b'o' { &mut member.is_operator } else { &mut member.has_voice };
        if std::mem::replace(rank, request.on) != request.on {
            changes.add(request.on, request.letter, Some(client.nick_or_star()));
        }
        Ok(())
    }

    /// `b`: adds or removes a ban.
    pub(super) fn set_ban(
        &mut self,
        mask: &[u8],
        on: bool,
        by: ClientId,
        clients: &mut HashMap<ClientId, Client>,
        changes: &mut ModeChanges,
    ) -> Result<(), StandardReply> {
        let mask = masks::full_user_mask(mask);
        if mask.len() > MAX_MASK_BYTES {
            return Err(ERR_INVALIDMODEPARAM.with_text("The mask is too long"));
        }
        // All members receive the mask as one parameter of a line.
        if mask.contains(&b' ') || mask.starts_with(b":") {
            return Err(
                ERR_INVALIDMODEPARAM.with_text("The mask must not contain a space or start with a colon")
            );
        }
        let key = NameKey::new(&mask);
        let Some(client) = clients.get_mut(&by) else { return Ok(()) };
        match (on, self.bans.iter().position(|ban| NameKey::new(&ban.mask) == key)) {
            (true, None) if self.bans.len() >= MAX_BANS => return Err(ERR_BANLISTFULL),
            (true, None) if client.ban_count >= MAX_BANS_PER_CLIENT => {
                return Err(ERR_BANLISTFULL.with_text("You have set too many bans"));
            }
            (true, None) => {
                client.ban_count += 1;
                let (set_by, set_at) = (client.prefix(), SystemTime::now());
                self.bans.push(Ban { mask: mask.clone(), owner: by, set_by, set_at });
            }
            (false, Some(index)) => self.bans.remove(index).end(clients),
            _ => return Ok(()),
        }
        changes.add(on, b'b', Some(&mask));
        Ok(())
    }

    /// `k`: sets or removes the key. `-k` needs no matching parameter, as the
    /// members know the key anyway.
    pub(super) fn set_key(
        &mut self,
        request: ModeRequest<'_>,
        changes: &mut ModeChanges,
    ) -> Result<(), StandardReply> {
        if !request.on {
            if let Some(key) = self.modes.key.take() {
                changes.add(false, b'k', Some(&key));
            }
            return Ok(());
        }
        let key = request.param.ok_or(ERR_NEEDMOREPARAMS)?;
        let plain = |byte: &u8| byte.is_ascii_graphic() && !b",:".contains(byte);
        if key.is_empty() || key.len() > MAX_KEY_BYTES || !key.iter().all(plain) {
            return Err(ERR_INVALIDKEY);
        }
        self.modes.key = Some(key.into());
        changes.add(true, b'k', Some(key));
        Ok(())
    }

    /// `l`: sets or removes the member limit.
    pub(super) fn set_limit(
        &mut self,
        request: ModeRequest<'_>,
        changes: &mut ModeChanges,
    ) -> Result<(), StandardReply> {
        if !request.on {
            if self.modes.limit.take().is_some() {
                changes.add(false, b'l', None);
            }
            return Ok(());
        }
        let number = std::str::from_utf8(request.param.ok_or(ERR_NEEDMOREPARAMS)?).ok();
        let limit =
            number.and_then(|text| text.parse().ok()).filter(|it| (1..=MAX_MEMBER_LIMIT).contains(it));
        let limit = limit.ok_or(ERR_INVALIDMODEPARAM.with_text("The limit must be 1 to 1000000"))?;
        self.modes.limit = Some(limit);
        changes.add(true, b'l', Some(limit.to_string().as_bytes()));
        Ok(())
    }

    /// `i`, `m`, `n`, `s` and `t`: sets or clears a flag. Any other letter here
    /// lacks its parameter.
    pub(super) fn set_flag(
        &mut self,
        request: ModeRequest<'_>,
        changes: &mut ModeChanges,
    ) -> Result<(), StandardReply> {
        let flag = self.modes.flag(request.letter).ok_or(ERR_NEEDMOREPARAMS)?;
        if std::mem::replace(flag, request.on) != request.on {
            changes.add(request.on, request.letter, None);
        }
        Ok(())
    }
}
