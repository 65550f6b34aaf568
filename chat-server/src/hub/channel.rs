//! A channel: who is in it, what is allowed there, and who may enter.

use std::collections::BTreeMap;
use std::time::SystemTime;

use super::client::Client;
use super::request::ClientId;
use crate::irc::masks;
use crate::irc::numeric::{
    ERR_BADCHANNELKEY, ERR_BANNEDFROMCHAN, ERR_CHANNELISFULL, ERR_INVITEONLYCHAN, StandardReply,
};
use crate::outbox::Outbox;

/// A room; it exists while somebody is in it.
pub(super) struct Channel {
    /// As the first visitor wrote it.
    pub(super) name: Box<[u8]>,
    pub(super) topic: Option<Topic>,
    pub(super) members: BTreeMap<ClientId, Member>,
    pub(super) modes: ChannelModes,
    pub(super) bans: Vec<Ban>,
    pub(super) created: SystemTime,
}

/// Somebody in a channel, and what it may do there.
pub(super) struct Member {
    pub(super) outbox: Outbox,
    pub(super) operator: bool,
    pub(super) voice: bool,
}

/// What is allowed in a channel.
#[derive(Default)]
pub(super) struct ChannelModes {
    /// `i`: only the invited enter.
    pub(super) invite_only: bool,
    /// `m`: only operators and voices speak.
    pub(super) moderated: bool,
    /// `n`: only members speak.
    pub(super) members_only: bool,
    /// `s`: only members see that it is there.
    pub(super) secret: bool,
    /// `t`: only operators change the topic.
    pub(super) topic_locked: bool,
    /// `k`: who enters must know it.
    pub(super) key: Option<Box<[u8]>>,
    /// `l`: so many have room.
    pub(super) limit: Option<u32>,
}

/// Who is kept out, by whom and since when.
pub(super) struct Ban {
    pub(super) mask: Box<[u8]>,
    pub(super) by: Vec<u8>,
    pub(super) at: SystemTime,
}

/// A channel's topic, by whom and since when.
pub(super) struct Topic {
    pub(super) text: Box<[u8]>,
    pub(super) by: Vec<u8>,
    pub(super) at: SystemTime,
}

/// What LIST asks for: a name, a mask, or how many are inside.
pub(super) enum ListFilter<'a> {
    /// `#name`, or with `*` and `?` in it.
    Named(&'a [u8]),
    /// `>N`
    MoreThan(usize),
    /// `<N`
    FewerThan(usize),
}

impl<'a> ListFilter<'a> {
    pub(super) fn parse(text: &'a [u8]) -> Self {
        let number = || std::str::from_utf8(&text[1..]).ok()?.parse().ok();
        match text.first() {
            Some(b'>') => number().map_or(ListFilter::Named(text), ListFilter::MoreThan),
            Some(b'<') => number().map_or(ListFilter::Named(text), ListFilter::FewerThan),
            _ => ListFilter::Named(text),
        }
    }

    pub(super) fn matches(&self, channel: &Channel) -> bool {
        match *self {
            ListFilter::Named(mask) => masks::matches(mask, &channel.name),
            ListFilter::MoreThan(count) => channel.members.len() > count,
            ListFilter::FewerThan(count) => channel.members.len() < count,
        }
    }
}

impl Channel {
    pub(super) fn new(name: &[u8]) -> Self {
        let modes = ChannelModes { members_only: true, topic_locked: true, ..ChannelModes::default() };
        let (topic, members, bans) = Default::default();
        Self { name: name.into(), topic, members, modes, bans, created: SystemTime::now() }
    }

    pub(super) fn has_member(&self, id: ClientId) -> bool {
        self.members.contains_key(&id)
    }

    pub(super) fn is_operator(&self, id: ClientId) -> bool {
        self.members.get(&id).is_some_and(|member| member.operator)
    }

    /// Whether `id` may know that the channel is there.
    pub(super) fn is_visible_to(&self, id: ClientId) -> bool {
        !self.modes.secret || self.has_member(id)
    }

    /// All who are in it.
    pub(super) fn receivers(&self) -> impl Iterator<Item = (ClientId, &Outbox)> {
        self.members.iter().map(|(&id, member)| (id, &member.outbox))
    }

    /// All who are in it but `id`.
    pub(super) fn other_members(&self, id: ClientId) -> impl Iterator<Item = (ClientId, &Outbox)> {
        self.receivers().filter(move |(member, _)| *member != id)
    }

    /// Adds a member; the first one is its operator.
    pub(super) fn add_member(&mut self, id: ClientId, outbox: Outbox) {
        let operator = self.members.is_empty();
        self.members.insert(id, Member { outbox, operator, voice: false });
    }

    /// Whether `client` may enter with `key`. An invitation opens every door.
    pub(super) fn check_entry(
        &self,
        client: &Client,
        key: Option<&[u8]>,
        invited: bool,
    ) -> Result<(), StandardReply> {
        if invited {
            return Ok(());
        }
        if self.modes.invite_only {
            return Err(ERR_INVITEONLYCHAN);
        }
        if self.is_banned(client) {
            return Err(ERR_BANNEDFROMCHAN);
        }
        if self.modes.key.as_deref().is_some_and(|right| key != Some(right)) {
            return Err(ERR_BADCHANNELKEY);
        }
        if self.modes.limit.is_some_and(|most| self.members.len() >= most as usize) {
            return Err(ERR_CHANNELISFULL);
        }
        Ok(())
    }

    /// Whether `client` may speak.
    pub(super) fn can_speak(&self, client: &Client) -> bool {
        match self.members.get(&client.id) {
            Some(member) if member.operator || member.voice => true,
            Some(_) => !self.modes.moderated && !self.is_banned(client),
            None => !self.modes.members_only && !self.modes.moderated && !self.is_banned(client),
        }
    }

    fn is_banned(&self, client: &Client) -> bool {
        if self.bans.is_empty() {
            return false;
        }
        let prefix = client.prefix();
        self.bans.iter().any(|ban| masks::matches(&ban.mask, &prefix))
    }
}

impl Member {
    /// What stands before its nick: `@`, `+`, or with `all` both.
    pub(super) fn sigils(&self, all: bool) -> &'static [u8] {
        match (self.operator, self.voice) {
            (true, true) if all => b"@+",
            (true, _) => b"@",
            (false, true) => b"+",
            (false, false) => b"",
        }
    }
}

impl ChannelModes {
    /// The flag of a letter that stands alone.
    pub(super) fn flag(&mut self, letter: u8) -> Option<&mut bool> {
        match letter {
            b'i' => Some(&mut self.invite_only),
            b'm' => Some(&mut self.moderated),
            b'n' => Some(&mut self.members_only),
            b's' => Some(&mut self.secret),
            b't' => Some(&mut self.topic_locked),
            _ => None,
        }
    }

    /// `+nt`, with key and limit for members; others learn only that there are such.
    pub(super) fn to_text(&self, member: bool) -> Vec<u8> {
        let flags = [
            (self.invite_only, b'i'),
            (self.moderated, b'm'),
            (self.members_only, b'n'),
            (self.secret, b's'),
            (self.topic_locked, b't'),
            (self.key.is_some(), b'k'),
            (self.limit.is_some(), b'l'),
        ];
        let mut text = vec![b'+'];
        text.extend(flags.iter().filter(|(on, _)| *on).map(|(_, letter)| letter));
        if member {
            for value in [self.key.clone(), self.limit.map(|it| it.to_string().into_bytes().into())] {
                value.iter().for_each(|value| text.extend([b" ", &value[..]].concat()));
            }
        }
        text
    }
}
