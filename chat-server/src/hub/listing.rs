//! Answers of many lines: NAMES, LIST, WHO. They rest between entries, so that no poll takes long.

use super::{World, client::Client};
use crate::{
    message::{Message, list},
    names::Key,
    reply::Replies,
};

/// Names put on lines in one go.
const CHUNK: usize = 512;

impl World {
    pub(super) async fn names(&mut self, message: &Message<'_>, replies: &mut Replies) {
        let Some(names) = message.param(0) else {
            replies.numeric(366, &[b"*"], "End of /NAMES list");
            return;
        };
        for name in list(names) {
            self.names_of(&Key::new(name), name, replies).await;
        }
    }

    /// Who is in the channel; just the end of the list if there is no such channel.
    pub(super) async fn names_of(&mut self, key: &Key, name: &[u8], replies: &mut Replies) {
        let channel = self.channels.get(key);
        let mut nicks: Vec<&[u8]> = Vec::new();
        for id in channel.iter().flat_map(|channel| channel.members.keys()) {
            nicks.extend(self.clients.get(id).map(Client::nick_or_star));
            if nicks.len() == CHUNK {
                replies.numeric_words(353, &[b"=", name], nicks.drain(..));
                self.post.step(CHUNK as u32 / 4).await;
            }
        }
        replies.numeric_words(353, &[b"=", name], nicks);
        replies.numeric(366, &[name], "End of /NAMES list");
    }

    pub(super) async fn list(&mut self, message: &Message<'_>, replies: &mut Replies) {
        let wanted: Option<Vec<Key>> = message.param(0).map(|names| list(names).map(Key::new).collect());
        replies.numeric(321, &[b"Channel"], "Users  Name");
        let all = self.channels.iter();
        for (_, channel) in all.filter(|(key, _)| wanted.as_ref().is_none_or(|wanted| wanted.contains(key))) {
            let topic: &[u8] = channel.topic.as_ref().map_or(b"", |topic| &topic.text);
            replies.numeric(322, &[&channel.name, channel.members.len().to_string().as_bytes()], topic);
            self.post.step(1).await;
        }
        replies.numeric(323, &[], "End of /LIST");
    }

    pub(super) async fn who(&mut self, message: &Message<'_>, replies: &mut Replies) {
        let mask = message.param(0).unwrap_or(b"*");
        let key = Key::new(mask);
        if let Some(channel) = self.channels.get(&key) {
            for client in channel.members.keys().filter_map(|id| self.clients.get(id)) {
                who_line(&self.identity.name, &channel.name, client, replies);
                self.post.step(1).await;
            }
        } else if let Some(client) = self.nicks.get(&key).and_then(|id| self.clients.get(id)) {
            who_line(&self.identity.name, b"*", client, replies);
        }
        replies.numeric(315, &[mask], "End of /WHO list");
    }
}

fn who_line(server: &str, channel: &[u8], client: &Client, replies: &mut Replies) {
    let flags: &[u8] = if client.operator { b"H*" } else { b"H" };
    let nick = client.nick_or_star();
    let params = [channel, client.user_name(), &client.host, server.as_bytes(), nick, flags];
    replies.numeric(352, &params, [b"0 ", client.real_name()].concat());
}
