//! A client and a channel, as the hub knows them.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use super::{
    ClientId,
    modes::{Ban, Modes, Rank},
};
use crate::{names::Key, outbox::Outbox};

/// A connection and who is behind it.
pub(super) struct Client {
    pub(super) outbox: Outbox,
    pub(super) host: Box<[u8]>,
    pub(super) nick: Option<Box<[u8]>>,
    pub(super) user: Option<User>,
    /// Between CAP LS and CAP END; registration waits.
    pub(super) negotiating: bool,
    /// It gets what it says itself, too.
    pub(super) echo: bool,
    /// The server's password was given, or there is none.
    pub(super) admitted: bool,
    pub(super) registered: bool,
    pub(super) invisible: bool,
    pub(super) operator: bool,
    /// What is told to whoever talks to it.
    pub(super) away: Option<Box<[u8]>>,
    pub(super) channels: BTreeSet<Key>,
    /// Channels that it may join all the same, and when they came to be: another of the name is another.
    pub(super) invitations: Vec<(Key, SystemTime)>,
    pub(super) since: SystemTime,
    pub(super) spoke: Instant,
}

/// What USER said.
pub(super) struct User {
    pub(super) name: Box<[u8]>,
    pub(super) real: Box<[u8]>,
}

impl Client {
    pub(super) fn new(host: Box<[u8]>, outbox: Outbox, admitted: bool) -> Self {
        Client {
            outbox,
            host,
            nick: None,
            user: None,
            negotiating: false,
            echo: false,
            admitted,
            registered: false,
            invisible: false,
            operator: false,
            away: None,
            channels: BTreeSet::new(),
            invitations: Vec::new(),
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
}

/// A room; it exists while somebody is in it.
pub(super) struct Channel {
    /// As the first visitor wrote it.
    pub(super) name: Box<[u8]>,
    pub(super) topic: Option<Topic>,
    pub(super) members: BTreeMap<ClientId, Outbox>,
    /// Of the few that have one.
    ranks: BTreeMap<ClientId, Rank>,
    pub(super) modes: Modes,
    pub(super) bans: Vec<Ban>,
    pub(super) created: SystemTime,
}

/// A channel's topic, by whom and since when.
pub(super) struct Topic {
    pub(super) text: Box<[u8]>,
    pub(super) by: Vec<u8>,
    pub(super) at: SystemTime,
}

impl Channel {
    pub(super) fn new(name: &[u8]) -> Self {
        let (members, ranks, modes, bans) = Default::default();
        Channel { name: name.into(), topic: None, members, ranks, modes, bans, created: SystemTime::now() }
    }

    pub(super) fn has(&self, id: ClientId) -> bool {
        self.members.contains_key(&id)
    }

    /// Whether the client may know of it.
    pub(super) fn shows_to(&self, id: ClientId) -> bool {
        !self.modes.secret || self.has(id)
    }

    pub(super) fn rank(&self, id: ClientId) -> Rank {
        self.ranks.get(&id).copied().unwrap_or_default()
    }

    pub(super) fn set_rank(&mut self, id: ClientId, rank: Rank) {
        if rank == Rank::default() {
            self.ranks.remove(&id);
        } else {
            self.ranks.insert(id, rank);
        }
    }

    pub(super) fn remove(&mut self, id: ClientId) {
        self.members.remove(&id);
        self.ranks.remove(&id);
    }
}

pub(super) fn unix_seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
