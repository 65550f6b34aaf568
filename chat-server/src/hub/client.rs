//! A client, as the hub knows it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use super::capabilities::Capabilities;
use super::request::ClientId;
use crate::irc::masks;
use crate::irc::names::NameKey;
use crate::irc::reply::OutputLine;
use crate::outbox::Outbox;

/// A connection and who is behind it.
pub(super) struct Client {
    pub(super) id: ClientId,
    pub(super) outbox: Outbox,
    pub(super) host: Box<[u8]>,
    pub(super) nick: Option<Box<[u8]>>,
    pub(super) user: Option<User>,
    /// Between CAP LS and CAP END; registration waits.
    pub(super) negotiating: bool,
    pub(super) capabilities: Capabilities,
    /// The server's password was given, or there is none.
    pub(super) admitted: bool,
    pub(super) registered: bool,
    pub(super) invisible: bool,
    pub(super) operator: bool,
    /// Why it is away, if it is.
    pub(super) away: Option<Box<[u8]>>,
    pub(super) channels: BTreeSet<NameKey>,
    /// Channels that it may enter once, whatever their modes; and when those were created, as another one
    /// of the same name knows nothing of the invitation.
    pub(super) invitations: BTreeMap<NameKey, SystemTime>,
    pub(super) since: SystemTime,
    /// When it last said something.
    pub(super) spoke: Instant,
}

/// What USER said.
pub(super) struct User {
    pub(super) name: Box<[u8]>,
    pub(super) real: Box<[u8]>,
}

impl Client {
    pub(super) fn new(id: ClientId, host: Box<[u8]>, outbox: Outbox, admitted: bool) -> Self {
        Self {
            id,
            outbox,
            host,
            nick: None,
            user: None,
            negotiating: false,
            capabilities: Capabilities::default(),
            admitted,
            registered: false,
            invisible: false,
            operator: false,
            away: None,
            channels: BTreeSet::new(),
            invitations: BTreeMap::new(),
            since: SystemTime::now(),
            spoke: Instant::now(),
        }
    }

    pub(super) fn nick_or_star(&self) -> &[u8] {
        self.nick.as_deref().unwrap_or(b"*")
    }

    pub(super) fn user_name(&self) -> &[u8] {
        self.user.as_ref().map_or(b"*", |user| &user.name)
    }

    pub(super) fn real_name(&self) -> &[u8] {
        self.user.as_ref().map_or(b"", |user| &user.real)
    }

    /// `nick!user@host`: where its messages come from.
    pub(super) fn prefix(&self) -> Vec<u8> {
        [self.nick_or_star(), b"!", self.user_name(), b"@", &self.host].concat()
    }

    pub(super) fn modes(&self) -> String {
        format!("+{}{}", if self.invisible { "i" } else { "" }, if self.operator { "o" } else { "" })
    }

    /// Whether `mask` means it: by its nick, user name, host, or all of its prefix.
    pub(super) fn matches_mask(&self, mask: &[u8]) -> bool {
        [self.nick_or_star(), self.user_name(), &self.host, &self.prefix()]
            .iter()
            .any(|text| masks::matches(mask, text))
    }

    /// The last line it gets, after what is queued for it.
    pub(super) fn send_closing_error(&self, reason: &[u8]) {
        self.outbox.push_last(&OutputLine::new(&[b"ERROR :Closing Link: ", &self.host, b" (", reason, b")"]));
        self.outbox.close();
    }

    /// Whether both are in one channel.
    pub(super) fn shares_channel_with(&self, other: &Self) -> bool {
        !self.channels.is_disjoint(&other.channels)
    }
}

/// Returns `time` as seconds of Unix time, as numerics show it.
pub(super) fn unix_seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
