//! A client and a channel, as the hub knows them.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::SystemTime,
};

use super::ClientId;
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
    pub(super) channels: BTreeSet<Key>,
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
            channels: BTreeSet::new(),
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
        Channel { name: name.into(), topic: None, members: BTreeMap::new(), created: SystemTime::now() }
    }

    pub(super) fn has(&self, id: ClientId) -> bool {
        self.members.contains_key(&id)
    }
}
