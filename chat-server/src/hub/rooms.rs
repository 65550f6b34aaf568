//! Channels: JOIN, PART, TOPIC.

use std::time::SystemTime;

use super::{
    ClientId, World,
    client::{Channel, Topic, unix_seconds},
    modes::Rank,
    registration::{CHANNELS_EACH, TOPIC_LENGTH},
};
use crate::{
    message::{Message, list},
    names::{Key, is_channel},
    reply::{Line, Replies},
};

impl World {
    pub(super) async fn join(&mut self, id: ClientId, message: &Message<'_>, replies: &mut Replies) {
        let Some(names) = message.param(0) else {
            replies.numeric(461, &[b"JOIN"], "Not enough parameters");
            return;
        };
        if names == b"0" {
            return self.leave_all(id, replies).await;
        }
        // The keys go with the channels in turn; an empty one is one that is left out.
        let keys: Vec<&[u8]> = message.param(1).unwrap_or_default().split(|&byte| byte == b',').collect();
        for (index, name) in list(names).enumerate() {
            self.join_one(id, name, keys.get(index).copied(), replies).await;
        }
    }

    async fn join_one(&mut self, id: ClientId, name: &[u8], password: Option<&[u8]>, replies: &mut Replies) {
        if !is_channel(name) {
            replies.numeric(403, &[name], "No such channel");
            return;
        }
        let Some(client) = self.clients.get(&id) else { return };
        let key = Key::new(name);
        if client.channels.contains(&key) {
            return;
        }
        if client.channels.len() >= CHANNELS_EACH {
            replies.numeric(405, &[name], "You have joined too many channels");
            return;
        }
        if let Some(channel) = self.channels.get(&key)
            && let Err((code, text)) = self.admits(channel, id, password)
        {
            replies.numeric(code, &[name], text);
            return;
        }
        let Some(client) = self.clients.get_mut(&id) else { return };
        client.channels.insert(key.clone());
        client.invitations.retain(|(invited, _)| *invited != key);
        let channel = self.channels.entry(key.clone()).or_insert_with(|| Channel::new(name));
        if channel.members.is_empty() {
            channel.set_rank(id, Rank { operator: true, voice: false });
        }
        let line = Line::new(&[b":", &client.prefix(), b" JOIN ", &channel.name]);
        replies.copy(&line);
        self.post.deliver(&channel.members, &line, None).await;
        channel.members.insert(id, client.outbox.clone());
        if channel.topic.is_some() {
            tell_topic(channel, replies);
        }
        self.names_of(id, &key, name, replies).await;
    }

    pub(super) async fn part(&mut self, id: ClientId, message: &Message<'_>, replies: &mut Replies) {
        let Some(names) = message.param(0) else {
            replies.numeric(461, &[b"PART"], "Not enough parameters");
            return;
        };
        for name in list(names) {
            let key = Key::new(name);
            match self.channels.get(&key) {
                None => replies.numeric(403, &[name], "No such channel"),
                Some(channel) if !channel.has(id) => {
                    replies.numeric(442, &[name], "You're not on that channel")
                }
                Some(_) => self.part_one(id, &key, message.param(1), replies).await,
            }
        }
    }

    async fn part_one(&mut self, id: ClientId, key: &Key, reason: Option<&[u8]>, replies: &mut Replies) {
        let (Some(client), Some(channel)) = (self.clients.get(&id), self.channels.get(key)) else { return };
        let (colon, reason) = reason.map_or((&b""[..], &b""[..]), |reason| (b" :", reason));
        let line = Line::new(&[b":", &client.prefix(), b" PART ", &channel.name, colon, reason]);
        replies.copy(&line);
        self.post.deliver(&channel.members, &line, Some(id)).await;
        self.leave_channel(id, key);
    }

    /// Forgets that the client is in the channel, and the channel with its last member.
    pub(super) fn leave_channel(&mut self, id: ClientId, key: &Key) {
        if let Some(client) = self.clients.get_mut(&id) {
            client.channels.remove(key);
        }
        let Some(channel) = self.channels.get_mut(key) else { return };
        channel.remove(id);
        if channel.members.is_empty() {
            self.channels.remove(key);
        }
    }

    async fn leave_all(&mut self, id: ClientId, replies: &mut Replies) {
        let channels = self.clients.get(&id).map(|client| client.channels.clone()).unwrap_or_default();
        for key in channels {
            self.part_one(id, &key, None, replies).await;
        }
    }

    pub(super) async fn topic(&mut self, id: ClientId, message: &Message<'_>, replies: &mut Replies) {
        let Some(name) = message.param(0) else {
            replies.numeric(461, &[b"TOPIC"], "Not enough parameters");
            return;
        };
        let (Some(client), Some(channel)) = (self.clients.get(&id), self.channels.get_mut(&Key::new(name)))
        else {
            replies.numeric(403, &[name], "No such channel");
            return;
        };
        if !channel.shows_to(id) {
            replies.numeric(442, &[name], "You're not on that channel");
            return;
        }
        let Some(&text) = message.params().get(1) else {
            tell_topic(channel, replies);
            return;
        };
        if !channel.has(id) {
            replies.numeric(442, &[name], "You're not on that channel");
            return;
        }
        if channel.modes.topic_locked && !channel.rank(id).operator {
            replies.numeric(482, &[name], "You're not channel operator");
            return;
        }
        let text = &text[..text.len().min(TOPIC_LENGTH)];
        let topic = || Topic { text: text.into(), by: client.prefix(), at: SystemTime::now() };
        channel.topic = (!text.is_empty()).then(topic);
        let line = Line::new(&[b":", &client.prefix(), b" TOPIC ", &channel.name, b" :", text]);
        replies.copy(&line);
        self.post.deliver(&channel.members, &line, Some(id)).await;
    }
}

fn tell_topic(channel: &Channel, replies: &mut Replies) {
    let Some(topic) = &channel.topic else {
        replies.numeric(331, &[&channel.name], "No topic is set");
        return;
    };
    replies.numeric(332, &[&channel.name], &topic.text);
    let at = unix_seconds(topic.at).to_string();
    replies.numeric_params(333, &[&channel.name, &topic.by, at.as_bytes()]);
}
