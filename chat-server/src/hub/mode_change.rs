//! What one letter of a MODE changes in a channel.

use std::time::SystemTime;

use super::channel::{BANS, Ban, Channel, Refusal};
use super::client::Client;
use crate::irc::masks;
use crate::irc::names::Key;

/// The most bytes of a mask; with [`CHANGES`](super::modes::CHANGES) of them the line that tells it to all is whole.
pub(super) const MASK_LENGTH: usize = 80;
/// The most bytes of a channel's key.
pub(super) const KEY_LENGTH: usize = 23;
/// The most members that `l` can ask for.
const HIGHEST_LIMIT: u32 = 1_000_000;

/// One letter of a MODE, with what belongs to it.
#[derive(Clone, Copy)]
pub(super) struct Wish<'a> {
    pub(super) on: bool,
    pub(super) letter: u8,
    pub(super) param: Option<&'a [u8]>,
}

/// What was changed, as it is told to all.
#[derive(Default)]
pub(super) struct Changes {
    pub(super) letters: Vec<u8>,
    pub(super) params: Vec<u8>,
    sign: Option<bool>,
}

impl Changes {
    pub(super) fn note(&mut self, on: bool, letter: u8, param: Option<&[u8]>) {
        if self.sign.replace(on) != Some(on) {
            self.letters.push(if on { b'+' } else { b'-' });
        }
        self.letters.push(letter);
        param.iter().for_each(|param| self.params.extend([b" ", *param].concat()));
    }
}

const MISSING: Refusal = (461, "Not enough parameters");

impl Channel {
    /// `o` and `v`.
    pub(super) fn rank(
        &mut self,
        client: &Client,
        wish: Wish<'_>,
        done: &mut Changes,
    ) -> Result<(), Refusal> {
        let member = self.members.get_mut(&client.id).ok_or((441, "They aren't on that channel"))?;
        let right = if wish.letter == b'o' { &mut member.operator } else { &mut member.voice };
        if std::mem::replace(right, wish.on) != wish.on {
            done.note(wish.on, wish.letter, Some(client.nick_or_star()));
        }
        Ok(())
    }

    /// `b`.
    pub(super) fn ban(
        &mut self,
        mask: &[u8],
        on: bool,
        by: &Client,
        done: &mut Changes,
    ) -> Result<(), Refusal> {
        let mask = masks::of_user(mask);
        if mask.len() > MASK_LENGTH {
            return Err((696, "The mask is too long"));
        }
        // All members read it as one parameter of a line.
        if mask.contains(&b' ') || mask.starts_with(b":") {
            return Err((696, "The mask must have no space and no colon in front"));
        }
        let key = Key::new(&mask);
        match (on, self.bans.iter().position(|ban| Key::new(&ban.mask) == key)) {
            (true, None) if self.bans.len() >= BANS => return Err((478, "Channel ban list is full")),
            (true, None) => {
                self.bans.push(Ban { mask: mask.clone(), by: by.prefix(), at: SystemTime::now() });
            }
            (false, Some(index)) => drop(self.bans.remove(index)),
            _ => return Ok(()),
        }
        done.note(on, b'b', Some(&mask));
        Ok(())
    }

    /// `k`. It is taken away whatever is said of it, as the members know it anyway.
    pub(super) fn lock(&mut self, wish: Wish<'_>, done: &mut Changes) -> Result<(), Refusal> {
        if !wish.on {
            if let Some(key) = self.modes.key.take() {
                done.note(false, b'k', Some(&key));
            }
            return Ok(());
        }
        let key = wish.param.ok_or(MISSING)?;
        let plain = |byte: &u8| byte.is_ascii_graphic() && !b",:".contains(byte);
        if key.len() > KEY_LENGTH || !key.iter().all(plain) {
            return Err((525, "Key is not well-formed"));
        }
        self.modes.key = Some(key.into());
        done.note(true, b'k', Some(key));
        Ok(())
    }

    /// `l`.
    pub(super) fn limit(&mut self, wish: Wish<'_>, done: &mut Changes) -> Result<(), Refusal> {
        if !wish.on {
            if self.modes.limit.take().is_some() {
                done.note(false, b'l', None);
            }
            return Ok(());
        }
        let number = std::str::from_utf8(wish.param.ok_or(MISSING)?).ok();
        let limit = number.and_then(|text| text.parse().ok()).filter(|it| (1..=HIGHEST_LIMIT).contains(it));
        let limit = limit.ok_or((696, "The limit must be 1 to 1000000"))?;
        self.modes.limit = Some(limit);
        done.note(true, b'l', Some(limit.to_string().as_bytes()));
        Ok(())
    }

    /// The letters that stand alone.
    pub(super) fn switch(&mut self, wish: Wish<'_>, done: &mut Changes) -> Result<(), Refusal> {
        let flag = self.modes.flag(wish.letter).ok_or(MISSING)?;
        if std::mem::replace(flag, wish.on) != wish.on {
            done.note(wish.on, wish.letter, None);
        }
        Ok(())
    }
}
