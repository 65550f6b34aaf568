//! A channel: its members, its modes, and the rules for joining and speaking.

use std::collections::BTreeMap;
use std::time::SystemTime;

use super::client::Client;
use super::request::ClientId;
use crate::irc::masks;
use crate::irc::names::NameKey;
use crate::irc::numeric::{
    ERR_BADCHANNELKEY, ERR_BANNEDFROMCHAN, ERR_CHANNELISFULL, ERR_INVITEONLYCHAN, StandardReply,
};
use crate::outbox::Outbox;
use crate::services::history_query::HistoryChannel;

/// A channel. It exists as long as it has members.
pub(super) struct Channel {
    /// The name as the first member spelled it.
    pub(super) name: Box<[u8]>,
    pub(super) topic: Option<Topic>,
    pub(super) members: BTreeMap<ClientId, Member>,
    pub(super) modes: ChannelModes,
    pub(super) bans: Vec<Ban>,
    pub(super) created_at: SystemTime,
    /// An id of the same sequence as those of messages. The ids of messages in
    /// this channel are higher, and in earlier ones of the same name lower.
    pub(super) id: u64,
}

/// A member of a channel and its rank.
pub(super) struct Member {
    pub(super) outbox: Outbox,
    pub(super) is_operator: bool,
    pub(super) has_voice: bool,
}

/// The modes of a channel.
#[derive(Default)]
pub(super) struct ChannelModes {
    /// `i`: only invited clients may join.
    pub(super) invite_only: bool,
    /// `m`: only operators and voiced members may speak.
    pub(super) moderated: bool,
    /// `n`: only members may speak.
    pub(super) members_only: bool,
    /// `s`: only members see that the channel exists.
    pub(super) secret: bool,
    /// `t`: only operators may change the topic.
    pub(super) topic_locked: bool,
    /// `k`: the key that a client needs to join.
    pub(super) key: Option<Box<[u8]>>,
    /// `l`: the maximum number of members.
    pub(super) limit: Option<u32>,
}

/// A ban: its mask, the client that set it and its prefix, and when.
pub(super) struct Ban {
    pub(super) mask: Box<[u8]>,
    pub(super) owner: ClientId,
    pub(super) set_by: Vec<u8>,
    pub(super) set_at: SystemTime,
}

/// A topic: its text, the prefix of the client that set it, and when.
pub(super) struct Topic {
    pub(super) text: Box<[u8]>,
    pub(super) set_by: Vec<u8>,
    pub(super) set_at: SystemTime,
}

/// A condition of LIST: a name, a mask or a number of members.
pub(super) enum ListFilter<'a> {
    /// `#name`, or a mask with `*` and `?`.
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
    pub(super) fn new(name: &[u8], id: u64) -> Self {
        let modes = ChannelModes { members_only: true, topic_locked: true, ..ChannelModes::default() };
        let (topic, members, bans) = Default::default();
        Self { name: name.into(), topic, members, modes, bans, created_at: SystemTime::now(), id }
    }

    pub(super) fn has_member(&self, id: ClientId) -> bool {
        self.members.contains_key(&id)
    }

    pub(super) fn is_operator(&self, id: ClientId) -> bool {
        self.members.get(&id).is_some_and(|member| member.is_operator)
    }

    /// Returns whether `id` may know that the channel exists.
    pub(super) fn is_visible_to(&self, id: ClientId) -> bool {
        !self.modes.secret || self.has_member(id)
    }

    /// Returns what a member may read of the history.
    pub(super) fn in_history(&self) -> HistoryChannel {
        HistoryChannel { name: NameKey::new(&self.name), id: self.id }
    }

    /// Returns all members with their outboxes.
    pub(super) fn all_members(&self) -> impl Iterator<Item = (ClientId, &Outbox)> {
        self.members.iter().map(|(&id, member)| (id, &member.outbox))
    }

    /// Returns all members except `id`.
    pub(super) fn other_members(&self, id: ClientId) -> impl Iterator<Item = (ClientId, &Outbox)> {
        self.all_members().filter(move |(member, _)| *member != id)
    }

    /// Adds a member. The first member becomes operator.
    pub(super) fn add_member(&mut self, id: ClientId, outbox: Outbox) {
        let is_operator = self.members.is_empty();
        self.members.insert(id, Member { outbox, is_operator, has_voice: false });
    }

    /// Checks whether `client` may join with `key`. An invitation overrides
    /// every mode.
    pub(super) fn check_entry(
        &self,
        client: &Client,
        key: Option<&[u8]>,
        is_invited: bool,
    ) -> Result<(), StandardReply> {
        if is_invited {
            return Ok(());
        }
        if self.modes.invite_only {
            return Err(ERR_INVITEONLYCHAN);
        }
        if self.is_banned(client) {
            return Err(ERR_BANNEDFROMCHAN);
        }
        if self.modes.key.as_deref().is_some_and(|channel_key| key != Some(channel_key)) {
            return Err(ERR_BADCHANNELKEY);
        }
        if self.modes.limit.is_some_and(|limit| self.members.len() >= limit as usize) {
            return Err(ERR_CHANNELISFULL);
        }
        Ok(())
    }

    /// Returns whether `client` may speak.
    pub(super) fn can_speak(&self, client: &Client) -> bool {
        match self.members.get(&client.id) {
            Some(member) if member.is_operator || member.has_voice => true,
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
    /// Returns the sigil in front of the nick: `@`, `+`, or with `all` both.
    pub(super) fn sigils(&self, all: bool) -> &'static [u8] {
        match (self.is_operator, self.has_voice) {
            (true, true) if all => b"@+",
            (true, _) => b"@",
            (false, true) => b"+",
            (false, false) => b"",
        }
    }
}

impl ChannelModes {
    /// Returns the flag of a mode that takes no parameter.
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

    /// Returns whether these modes keep somebody out or hide the channel. What
    /// is said then is not for those who later create a channel of its name.
    pub(super) fn is_private(&self) -> bool {
        self.invite_only || self.secret || self.key.is_some()
    }

    /// Formats the modes, such as `+nt`. Only members see the values of key and
    /// limit; others see only that they are set.
    pub(super) fn to_text(&self, is_member: bool) -> Vec<u8> {
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
        if is_member {
            for value in [self.key.clone(), self.limit.map(|it| it.to_string().into_bytes().into())] {
                value.iter().for_each(|value| text.extend([b" ", &value[..]].concat()));
            }
        }
        text
    }
}
