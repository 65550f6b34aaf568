//! JOIN, PART and TOPIC.

use std::time::SystemTime;

use super::channel::{Channel, Topic};
use super::client::unix_seconds;
use super::limits::{MAX_CHANNELS_PER_CLIENT, MAX_TOPIC_BYTES};
use super::request::ClientId;
use super::state::HubState;
use crate::irc::message::{Message, split_commas};
use crate::irc::names::{NameKey, is_channel};
use crate::irc::numeric::{ERR_TOOMANYCHANNELS, RPL_NOTOPIC, RPL_TOPIC, RPL_TOPICWHOTIME};
use crate::irc::reply::Replies;
use crate::irc::truncate::truncate;

/// How many bans the hub removes in one step.
const BANS_PER_STEP: u32 = 4;

impl HubState {
    pub(super) async fn join(&mut self, id: ClientId, message: &Message<'_>, replies: &mut Replies) {
        let Some(names) = message.param(0) else {
            replies.need_more_params("JOIN");
            return;
        };
        if names == b"0" {
            return self.leave_all(id, replies).await;
        }
        let mut channel_keys = message.param(1).unwrap_or_default().split(|&byte| byte == b',');
        for name in split_commas(names) {
            let channel_key = channel_keys.next().filter(|key| !key.is_empty());
            self.join_one(id, name, channel_key, replies).await;
        }
    }

    async fn join_one(
        &mut self,
        id: ClientId,
        name: &[u8],
        channel_key: Option<&[u8]>,
        replies: &mut Replies,
    ) {
        if !is_channel(name) {
            replies.no_such_channel(name);
            return;
        }
        let Some(client) = self.clients.get_mut(&id) else { return };
        let key = NameKey::new(name);
        if client.channels.contains(&key) {
            return;
        }
        if client.channels.len() >= MAX_CHANNELS_PER_CLIENT {
            replies.standard(ERR_TOOMANYCHANNELS, &[name]);
            return;
        }
        if let Some(channel) = self.channels.get(&key) {
            let is_invited = client.invitations.get(&key) == Some(&channel.id);
            if let Err(error) = channel.check_entry(client, channel_key, is_invited) {
                replies.standard(error, &[&channel.name]);
                return;
            }
        }
        client.invitations.remove(&key);
        client.channels.insert(key.clone());
        let new_id = || self.ids.next(SystemTime::now());
        let channel = self.channels.entry(key.clone()).or_insert_with(|| Channel::new(name, new_id()));
        let plain = client.line(&[b" JOIN ", &channel.name]);
        let extended = client.line(&[
            b" JOIN ",
            &channel.name,
            b" ",
            client.account_or_star(),
            b" :",
            client.real_name(),
        ]);
        let away = client.away_reason.is_some().then(|| client.away_line());
        let outbox = client.outbox.clone();
        replies.push_copy(if client.capabilities.extended_join { &extended } else { &plain });
        let clients = &self.clients;
        let joins = channel.all_members().map(|(member, outbox)| {
            let wants = clients.get(&member).is_some_and(|it| it.capabilities.extended_join);
            (member, outbox, if wants { &extended } else { &plain })
        });
        self.delivery.deliver_each(joins).await;
        if let Some(away) = &away {
            let notified = channel.all_members().filter(|(member, _)| {
                clients.get(member).is_some_and(|member| member.capabilities.away_notify)
            });
            self.delivery.deliver(notified, away).await;
        }
        channel.add_member(id, outbox);
        if channel.topic.is_some() {
            send_topic(channel, replies);
        }
        self.send_names(id, &key, name, replies).await;
    }

    pub(super) async fn part(&mut self, id: ClientId, message: &Message<'_>, replies: &mut Replies) {
        let Some(names) = message.param(0) else {
            replies.need_more_params("PART");
            return;
        };
        for name in split_commas(names) {
            if self.joined_channel(id, name, replies).is_some() {
                self.part_one(id, &NameKey::new(name), message.param(1), replies).await;
            }
        }
    }

    /// Returns the channel of that name if `id` is a member. Otherwise sends
    /// the client an error.
    pub(super) fn joined_channel(
        &self,
        id: ClientId,
        name: &[u8],
        replies: &mut Replies,
    ) -> Option<&Channel> {
        let channel = self.channels.get(&NameKey::new(name)).filter(|channel| channel.is_visible_to(id));
        match channel {
            Some(channel) if channel.has_member(id) => return Some(channel),
            // The error spells the name as the channel does: clients find the
            // window of a channel by that spelling.
            Some(channel) => replies.not_on_channel(&channel.name),
            // A secret channel does not reveal how it spells its name.
            None => replies.no_such_channel(name),
        }
        None
    }

    async fn part_one(&mut self, id: ClientId, key: &NameKey, reason: Option<&[u8]>, replies: &mut Replies) {
        let (Some(client), Some(channel)) = (self.clients.get_mut(&id), self.channels.get_mut(key)) else {
            return;
        };
        let (colon, reason) = reason.map_or((&b""[..], &b""[..]), |reason| (b" :", reason));
        let line = client.line(&[b" PART ", &channel.name, colon, reason]);
        client.channels.remove(key);
        channel.members.remove(&id);
        replies.push_copy(&line);
        self.delivery.deliver(channel.all_members(), &line).await;
        self.end_if_empty(key).await;
    }

    /// Removes a channel that has no members.
    pub(super) async fn end_if_empty(&mut self, key: &NameKey) {
        if !self.channels.get(key).is_some_and(|channel| channel.members.is_empty()) {
            return;
        }
        let bans = self.channels.remove(key).map_or_else(Vec::new, |channel| channel.bans);
        self.delivery.add_steps(bans.len() as u32 / BANS_PER_STEP).await;
        bans.into_iter().for_each(|ban| ban.end(&mut self.clients));
    }

    async fn leave_all(&mut self, id: ClientId, replies: &mut Replies) {
        let channels = self.clients.get(&id).map(|client| client.channels.clone()).unwrap_or_default();
        for key in channels {
            self.part_one(id, &key, None, replies).await;
        }
    }

    pub(super) async fn topic(&mut self, id: ClientId, message: &Message<'_>, replies: &mut Replies) {
        let Some(name) = message.param(0) else {
            replies.need_more_params("TOPIC");
            return;
        };
        let channel = self.channels.get_mut(&NameKey::new(name)).filter(|channel| channel.is_visible_to(id));
        let (Some(client), Some(channel)) = (self.clients.get(&id), channel) else {
            replies.no_such_channel(name);
            return;
        };
        let Some(&text) = message.params().get(1) else {
            send_topic(channel, replies);
            return;
        };
        if !channel.has_member(id) {
            replies.not_on_channel(&channel.name);
            return;
        }
        if channel.modes.topic_locked && !channel.is_operator(id) {
            replies.not_channel_operator(&channel.name);
            return;
        }
        let text = truncate(text, MAX_TOPIC_BYTES);
        let topic = || Topic { text: text.into(), set_by: client.prefix(), set_at: SystemTime::now() };
        channel.topic = (!text.is_empty()).then(topic);
        let line = client.line(&[b" TOPIC ", &channel.name, b" :", text]);
        replies.push_copy(&line);
        self.delivery.deliver(channel.other_members(id), &line).await;
    }
}

fn send_topic(channel: &Channel, replies: &mut Replies) {
    let Some(topic) = &channel.topic else {
        replies.standard(RPL_NOTOPIC, &[&channel.name]);
        return;
    };
    replies.numeric(RPL_TOPIC, &[&channel.name], &topic.text);
    let at = unix_seconds(topic.set_at).to_string();
    replies.numeric_params(RPL_TOPICWHOTIME, &[&channel.name, &topic.set_by, at.as_bytes()]);
}
