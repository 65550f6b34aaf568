//! A client, as the hub knows it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use super::capabilities::Capabilities;
use super::request::ClientId;
use crate::irc::masks;
use crate::irc::names::NameKey;
use crate::irc::reply::OutputLine;
use crate::irc::sasl::SaslMessage;
use crate::outbox::Outbox;
use crate::transport::Transport;

/// A connection and its user.
pub(super) struct Client {
    pub(super) id: ClientId,
    pub(super) outbox: Outbox,
    pub(super) host: Box<[u8]>,
    pub(super) transport: Transport,
    pub(super) nick: Option<Box<[u8]>>,
    pub(super) user: Option<User>,
    /// Set between CAP LS or REQ and CAP END. Registration waits for CAP END.
    pub(super) is_negotiating: bool,
    pub(super) capabilities: Capabilities,
    /// The client has requested CAP version 302 or later.
    pub(super) knows_cap_302: bool,
    /// The message of AUTHENTICATE that has not ended.
    pub(super) sasl: Option<SaslMessage>,
    /// The account to which the client is logged in.
    pub(super) account: Option<Box<[u8]>>,
    /// The label of a request for whose response the session must do something.
    pub(super) waiting_label: Option<Box<[u8]>>,
    /// What the client sent with PASS. It is verified once, when the client
    /// registers.
    pub(super) password: Option<Box<[u8]>>,
    /// The client has sent the server's password, or the server has none.
    pub(super) is_admitted: bool,
    pub(super) is_registered: bool,
    pub(super) is_invisible: bool,
    pub(super) is_operator: bool,
    /// Set while the client is away.
    pub(super) away_reason: Option<Box<[u8]>>,
    pub(super) channels: BTreeSet<NameKey>,
    /// Channels that the client may join once, regardless of their modes. The
    /// value is the channel's id: an invitation is not valid for a later
    /// channel of the same name.
    pub(super) invitations: BTreeMap<NameKey, u64>,
    /// How many bans that the client has set exist.
    pub(super) ban_count: usize,
    pub(super) connected_at: SystemTime,
    /// When the client last sent a message. WHOIS shows it as idle time.
    pub(super) last_message_at: Instant,
}

/// The parameters of USER.
pub(super) struct User {
    pub(super) name: Box<[u8]>,
    pub(super) real: Box<[u8]>,
}

impl Client {
    pub(super) fn new(
        id: ClientId,
        host: Box<[u8]>,
        transport: Transport,
        outbox: Outbox,
        is_admitted: bool,
    ) -> Self {
        Self {
            id,
            outbox,
            host,
            transport,
            nick: None,
            user: None,
            is_negotiating: false,
            capabilities: Capabilities::default(),
            knows_cap_302: false,
            sasl: None,
            account: None,
            waiting_label: None,
            password: None,
            is_admitted,
            is_registered: false,
            is_invisible: false,
            is_operator: false,
            away_reason: None,
            channels: BTreeSet::new(),
            invitations: BTreeMap::new(),
            ban_count: 0,
            connected_at: SystemTime::now(),
            last_message_at: Instant::now(),
        }
    }

    pub(super) fn nick_or_star(&self) -> &[u8] {
        self.nick.as_deref().unwrap_or(b"*")
    }

    pub(super) fn account_or_star(&self) -> &[u8] {
        self.account.as_deref().unwrap_or(b"*")
    }

    pub(super) fn user_name(&self) -> &[u8] {
        self.user.as_ref().map_or(b"*", |user| &user.name)
    }

    pub(super) fn real_name(&self) -> &[u8] {
        self.user.as_ref().map_or(b"", |user| &user.real)
    }

    /// Returns `nick!user@host`, the source of the client's messages.
    pub(super) fn prefix(&self) -> Vec<u8> {
        [self.nick_or_star(), b"!", self.user_name(), b"@", &self.host].concat()
    }

    /// Returns a line from the client: its prefix, and then these parts.
    pub(super) fn line(&self, parts: &[&[u8]]) -> OutputLine {
        let prefix = self.prefix();
        OutputLine::new(&[&[b":", &prefix[..]], parts].concat()).with_account(self.account.as_deref())
    }

    pub(super) fn modes(&self) -> String {
        let flags =
            [(self.is_invisible, 'i'), (self.is_operator, 'o'), (self.transport == Transport::Tls, 'z')];
        std::iter::once('+')
            .chain(flags.into_iter().filter(|(is_set, _)| *is_set).map(|(_, it)| it))
            .collect()
    }

    /// Returns whether `mask` matches the nick, user name, host or whole
    /// prefix.
    pub(super) fn matches_mask(&self, mask: &[u8]) -> bool {
        [self.nick_or_star(), self.user_name(), &self.host, &self.prefix()]
            .iter()
            .any(|text| masks::matches(mask, text))
    }

    /// Queues ERROR, the last line that the client receives, and starts to
    /// close its connection.
    pub(super) fn send_closing_error(&self, reason: &[u8]) {
        self.outbox.push_last(&OutputLine::new(&[b"ERROR :Closing Link: ", &self.host, b" (", reason, b")"]));
        self.outbox.close();
    }

    /// Returns whether both clients are in a common channel.
    pub(super) fn shares_channel_with(&self, other: &Self) -> bool {
        !self.channels.is_disjoint(&other.channels)
    }
}

/// Returns `time` as seconds of Unix time, as numerics show it.
pub(super) fn unix_seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
