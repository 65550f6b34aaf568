//! Replies of many lines: NAMES, LIST and WHO.
//!
//! They yield between entries, so that no poll takes long. They stop early
//! because a reply that overfills the client's queue would disconnect the
//! client.

use super::channel::{Channel, ListFilter};
use super::client::Client;
use super::request::ClientId;
use super::state::HubState;
use crate::irc::message::{Message, split_commas};
use crate::irc::names::NameKey;
use crate::irc::numeric::{
    ERR_TOOMANYMATCHES, RPL_ENDOFNAMES, RPL_ENDOFWHO, RPL_LIST, RPL_LISTEND, RPL_LISTSTART, RPL_NAMREPLY,
    RPL_WHOREPLY,
};
use crate::irc::reply::Replies;

/// Names collected before they are formatted as lines.
const NAMES_PER_CHUNK: usize = 512;
/// Reply size from which no further entry is added. It is half of the default
/// hard queue limit.
const MAX_REPLY_BYTES: usize = 512 * 1024;

/// Returns what it costs, in addition to looking at an entry, to match it with
/// masks of this length.
fn match_steps(masks: &[u8]) -> u32 {
    masks.len() as u32 / 16
}

/// Returns whether one more entry fits. Otherwise sends an error.
fn check_space(command: &[u8], replies: &mut Replies) -> bool {
    let has_space = replies.bytes() < MAX_REPLY_BYTES;
    if !has_space {
        replies.standard(ERR_TOOMANYMATCHES, &[command]);
    }
    has_space
}

impl HubState {
    pub(super) async fn names(&mut self, id: ClientId, message: &Message<'_>, replies: &mut Replies) {
        let Some(names) = message.param(0) else {
            replies.standard(RPL_ENDOFNAMES, &[b"*"]);
            return;
        };
        for name in split_commas(names) {
            self.send_names(id, &NameKey::new(name), name, replies).await;
        }
    }

    /// Sends the members of a channel that `id` may see. If it may see none,
    /// only the end of the list follows.
    pub(super) async fn send_names(
        &mut self,
        id: ClientId,
        key: &NameKey,
        name: &[u8],
        replies: &mut Replies,
    ) {
        let channel = self.channels.get(key).filter(|channel| channel.is_visible_to(id));
        if let (Some(channel), Some(asker)) = (channel, self.clients.get(&id)) {
            let symbol: &[u8] = if channel.modes.secret { b"@" } else { b"=" };
            let (is_member, all_sigils) = (channel.has_member(id), asker.capabilities.multi_prefix);
            let has_prefixes = asker.capabilities.userhost_in_names;
            let mut nicks: Vec<Vec<u8>> = Vec::new();
            // NAMES and JOIN collect the members of many channels in one reply.
            let mut has_space = check_space(b"NAMES", replies);
            for (member_id, member) in &channel.members {
                if !has_space {
                    break;
                }
                let Some(client) = self.clients.get(member_id) else { continue };
                if is_member || !client.is_invisible {
                    let sigils = member.sigils(all_sigils);
                    nicks.push(if has_prefixes {
                        [sigils, &client.prefix()].concat()
                    } else {
                        [sigils, client.nick_or_star()].concat()
                    });
                }
                if nicks.len() == NAMES_PER_CHUNK {
                    replies.numeric_words(RPL_NAMREPLY, &[symbol, &channel.name], &nicks);
                    nicks.clear();
                    // A name costs a quarter of a step.
                    self.delivery.add_steps(NAMES_PER_CHUNK as u32 / 4).await;
                    has_space = check_space(b"NAMES", replies);
                }
            }
            replies.numeric_words(RPL_NAMREPLY, &[symbol, &channel.name], &nicks);
        }
        replies.standard(RPL_ENDOFNAMES, &[channel.map_or(name, |it| &it.name)]);
    }

    /// LIST of all channels, or of those that match any of the conditions.
    pub(super) async fn list(&mut self, id: ClientId, message: &Message<'_>, replies: &mut Replies) {
        let filters: Vec<ListFilter<'_>> =
            message.param(0).map_or_else(Vec::new, |it| split_commas(it).map(ListFilter::parse).collect());
        let is_wanted =
            |channel: &Channel| filters.is_empty() || filters.iter().any(|it| it.matches(channel));
        replies.standard(RPL_LISTSTART, &[b"Channel"]);
        let steps = 1 + message.param(0).map_or(0, match_steps);
        for channel in self.channels.values() {
            self.delivery.add_steps(steps).await;
            if !channel.is_visible_to(id) || !is_wanted(channel) {
                continue;
            }
            if !check_space(b"LIST", replies) {
                break;
            }
            let topic: &[u8] = channel.topic.as_ref().map_or(b"", |topic| &topic.text);
            replies.numeric(RPL_LIST, &[&channel.name, channel.members.len().to_string().as_bytes()], topic);
        }
        replies.standard(RPL_LISTEND, &[]);
    }

    /// WHO of a channel, or of all clients that match a mask. A mask finds an
    /// invisible client only if it is the client that asks or shares a channel
    /// with it.
    pub(super) async fn who(&mut self, id: ClientId, message: &Message<'_>, replies: &mut Replies) {
        let requested_mask = message.param(0).unwrap_or(b"*");
        let mask = if requested_mask == b"0" { b"*" } else { requested_mask };
        let operators_only = message.param(1) == Some(b"o");
        let Some(asker) = self.clients.get(&id) else { return };
        let key = NameKey::new(mask);
        if let Some(channel) = self.channels.get(&key).filter(|channel| channel.is_visible_to(id)) {
            let (is_member, all_sigils) = (channel.has_member(id), asker.capabilities.multi_prefix);
            for (member_id, member) in &channel.members {
                let Some(client) = self.clients.get(member_id) else { continue };
                if !check_space(b"WHO", replies) {
                    break;
                }
                if (is_member || !client.is_invisible) && (client.is_operator || !operators_only) {
                    let name = &self.identity.name;
                    who_line(name, &channel.name, client, member.sigils(all_sigils), replies);
                }
                self.delivery.add_steps(1).await;
            }
        } else if let Some(client) = self.registered_client(mask) {
            if client.is_operator || !operators_only {
                who_line(&self.identity.name, b"*", client, b"", replies);
            }
        } else if !crate::irc::names::is_channel_like(mask) {
            for client in self.clients.values().filter(|client| client.is_registered) {
                self.delivery.add_steps(2 + match_steps(mask)).await;
                let is_visible = !client.is_invisible || client.id == id || client.shares_channel_with(asker);
                if !is_visible || !client.matches_mask(mask) || (operators_only && !client.is_operator) {
                    continue;
                }
                if !check_space(b"WHO", replies) {
                    break;
                }
                who_line(&self.identity.name, b"*", client, b"", replies);
            }
        }
        replies.standard(RPL_ENDOFWHO, &[requested_mask]);
    }
}

fn who_line(server: &str, channel: &[u8], client: &Client, sigils: &[u8], replies: &mut Replies) {
    let presence: &[u8] = if client.away_reason.is_some() { b"G" } else { b"H" };
    let star: &[u8] = if client.is_operator { b"*" } else { b"" };
    let (nick, flags) = (client.nick_or_star(), [presence, star, sigils].concat());
    let params = [channel, client.user_name(), &client.host, server.as_bytes(), nick, &flags];
    replies.numeric(RPL_WHOREPLY, &params, [b"0 ", client.real_name()].concat());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_members_of_many_channels_have_a_bounded_reply() {
        const MEMBERS: u64 = 250;
        let (mut state, _queues) = HubState::with_clients(MEMBERS + 1);
        let names: Vec<String> = (0..100).map(|number| format!("#{number:049}")).collect();
        names.iter().for_each(|name| state.add_channel(name, MEMBERS));
        let newcomer = ClientId(MEMBERS);
        for command in ["JOIN", "NAMES"] {
            let line = format!("{command} {}", names.join(","));
            let message = Message::parse(line.as_bytes()).expect("a command");
            let mut replies = Replies::new("s".into(), b"n", Default::default());
            match command {
                "JOIN" => state.join(newcomer, &message, &mut replies).await,
                _ => state.names(newcomer, &message, &mut replies).await,
            }
            assert!(replies.bytes() < MAX_REPLY_BYTES + 100 * 1024, "{} bytes", replies.bytes());
            let (lines, _) = replies.take().expect("replies");
            let text = String::from_utf8_lossy(lines.plain()).into_owned();
            let count = |numeric| text.lines().filter(|line| line.contains(numeric)).count();
            assert_eq!(count(" 366 "), names.len(), "{command}: each list has its end");
            assert!(count(" 416 ") > 0, "{command} says that lists are incomplete");
        }
        assert_eq!(state.clients[&newcomer].channels.len(), 100);
    }
}
