//! Answers of many lines: NAMES, LIST, WHO. They rest between entries, so that no poll takes long, and are
//! cut where they would fill the asker's queue.

use std::collections::BTreeMap;

use super::{
    ClientId, World,
    client::{Channel, Client},
};
use crate::{
    masks,
    message::{Message, list},
    names::Key,
    reply::Replies,
};

/// Names put on lines in one go.
const CHUNK: usize = 512;
/// The most entries of one LIST or WHO.
const ENTRIES: usize = 1_000;

impl World {
    pub(super) async fn names(&mut self, id: ClientId, message: &Message<'_>, replies: &mut Replies) {
        let Some(names) = message.param(0) else {
            replies.numeric(366, &[b"*"], "End of /NAMES list");
            return;
        };
        for name in list(names) {
            self.names_of(id, &Key::new(name), name, replies).await;
        }
    }

    /// Who is in the channel, as far as `id` may know; just the end of the list if there is no such channel.
    pub(super) async fn names_of(&mut self, id: ClientId, key: &Key, name: &[u8], replies: &mut Replies) {
        let channel = self.channels.get(key).filter(|channel| channel.shows_to(id));
        let symbol: &[u8] = if channel.is_some_and(|it| it.modes.secret) { b"@" } else { b"=" };
        let inside = channel.is_some_and(|channel| channel.has(id));
        let mut nicks: Vec<Vec<u8>> = Vec::new();
        let nobody = BTreeMap::new();
        for member in channel.map_or(&nobody, |channel| &channel.members).keys() {
            let sign = channel.map_or(&b""[..], |channel| channel.rank(*member).sign());
            let client = self.clients.get(member).filter(|client| inside || !client.invisible);
            nicks.extend(client.map(|it| [sign, it.nick_or_star()].concat()));
            if nicks.len() == CHUNK {
                replies.numeric_words(353, &[symbol, name], &nicks);
                nicks.clear();
                self.post.step(CHUNK as u32 / 4).await;
            }
        }
        replies.numeric_words(353, &[symbol, name], &nicks);
        replies.numeric(366, &[name], "End of /NAMES list");
    }

    pub(super) async fn list(&mut self, id: ClientId, message: &Message<'_>, replies: &mut Replies) {
        replies.numeric(321, &[b"Channel"], "Users  Name");
        match message.param(0) {
            Some(names) => {
                for name in list(names) {
                    if let Some(channel) = self.channels.get(&Key::new(name)) {
                        list_line(channel, id, replies);
                    }
                    self.post.step(1).await;
                }
            }
            None => {
                for (index, channel) in self.channels.values().enumerate() {
                    if index >= ENTRIES {
                        replies.numeric(416, &[b"LIST"], "Too many matches, name the channels");
                        break;
                    }
                    list_line(channel, id, replies);
                    self.post.step(1).await;
                }
            }
        }
        replies.numeric(323, &[], "End of /LIST");
    }

    pub(super) async fn who(&mut self, id: ClientId, message: &Message<'_>, replies: &mut Replies) {
        let mask = message.param(0).unwrap_or(b"*");
        let operators_only = message.param(1) == Some(b"o");
        let key = Key::new(mask);
        if let Some(channel) = self.channels.get(&key).filter(|channel| channel.shows_to(id)) {
            let inside = channel.has(id);
            for (member, client) in channel.members.keys().filter_map(|it| Some((it, self.clients.get(it)?)))
            {
                if (inside || !client.invisible) && (client.operator || !operators_only) {
                    let sign = channel.rank(*member).sign();
                    who_line(&self.identity.name, &channel.name, sign, client, replies);
                }
                self.post.step(1).await;
            }
        } else if let Some(client) = self.find(mask).and_then(|id| self.clients.get(&id)) {
            if client.operator || !operators_only {
                who_line(&self.identity.name, b"*", b"", client, replies);
            }
        } else if let Some(asker) = self.clients.get(&id).filter(|_| !mask.starts_with(b"#")) {
            let mask: &[u8] = if mask == b"0" { b"*" } else { mask };
            let mut entries = 0;
            for (other, client) in &self.clients {
                let seen = !client.invisible || *other == id || !asker.channels.is_disjoint(&client.channels);
                let wanted = client.registered && (client.operator || !operators_only);
                if wanted && seen && client.fits(mask) {
                    who_line(&self.identity.name, b"*", b"", client, replies);
                    entries += 1;
                }
                self.post.step(1).await;
                if entries == ENTRIES {
                    replies.numeric(416, &[b"WHO"], "Too many matches");
                    break;
                }
            }
        }
        replies.numeric(315, &[mask], "End of /WHO list");
    }
}

impl Client {
    fn fits(&self, mask: &[u8]) -> bool {
        [self.nick_or_star(), self.user_name(), &self.host, self.real_name()]
            .iter()
            .any(|text| masks::fits(mask, text))
    }
}

fn list_line(channel: &Channel, id: ClientId, replies: &mut Replies) {
    if channel.shows_to(id) {
        let topic: &[u8] = channel.topic.as_ref().map_or(b"", |topic| &topic.text);
        replies.numeric(322, &[&channel.name, channel.members.len().to_string().as_bytes()], topic);
    }
}

fn who_line(server: &str, channel: &[u8], sign: &[u8], client: &Client, replies: &mut Replies) {
    let here: &[u8] = if client.away.is_some() { b"G" } else { b"H" };
    let operator: &[u8] = if client.operator { b"*" } else { b"" };
    let flags = [here, operator, sign].concat();
    let nick = client.nick_or_star();
    let params = [channel, client.user_name(), &client.host, server.as_bytes(), nick, &flags];
    replies.numeric(352, &params, [b"0 ", client.real_name()].concat());
}
