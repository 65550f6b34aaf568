//! The clients that WHOWAS knows.

use std::collections::VecDeque;

use super::client::Client;
use crate::irc::names::NameKey;

const MAX_FORMER_CLIENTS: usize = 1_000;

/// The clients that left or took another nick, the newest first.
#[derive(Default)]
pub(super) struct FormerClients(VecDeque<FormerClient>);

pub(super) struct FormerClient {
    key: NameKey,
    pub(super) nick: Box<[u8]>,
    pub(super) user_name: Box<[u8]>,
    pub(super) host: Box<[u8]>,
    pub(super) real_name: Box<[u8]>,
}

impl FormerClients {
    /// Records the current nick and user of `client`.
    pub(super) fn add(&mut self, client: &Client) {
        let Some(nick) = client.nick.as_deref().filter(|_| client.is_registered) else { return };
        self.0.truncate(MAX_FORMER_CLIENTS - 1);
        self.0.push_front(FormerClient {
            key: NameKey::new(nick),
            nick: nick.into(),
            user_name: client.user_name().into(),
            host: client.host.clone(),
            real_name: client.real_name().into(),
        });
    }

    /// Returns the records of one nick, the newest first.
    pub(super) fn with_nick(&self, key: &NameKey) -> impl Iterator<Item = &FormerClient> {
        self.0.iter().filter(move |former| former.key == *key)
    }
}
