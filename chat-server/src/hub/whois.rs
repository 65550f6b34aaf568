//! About people: WHOIS, WHOWAS, USERHOST, ISON, AWAY.

use super::client::{Client, unix_seconds};
use super::limits::{MAX_AWAY_REASON_BYTES, MAX_USERHOST_NICKS, VERSION};
use super::request::ClientId;
use super::state::HubState;
use crate::irc::message::Message;
use crate::irc::names::NameKey;
use crate::irc::reply::Replies;
use crate::irc::truncate::truncate;

impl HubState {
    pub(super) fn whois(&self, id: ClientId, message: &Message<'_>, replies: &mut Replies) {
        // With two parameters, the first one names a server.
        let Some(wanted) = message.param(1).or(message.param(0)) else {
            return replies.numeric(431, &[], "No nickname given");
        };
        match self.registered_client(wanted) {
            None => replies.numeric(401, &[wanted], "No such nick/channel"),
            Some(client) => self.describe(client, id, replies),
        }
        replies.numeric(318, &[wanted], "End of /WHOIS list");
    }

    fn describe(&self, client: &Client, asker: ClientId, replies: &mut Replies) {
        let nick = client.nick_or_star();
        let channels = client.channels.iter().filter_map(|key| self.channels.get(key));
        let names: Vec<Vec<u8>> = channels
            .filter(|channel| channel.is_visible_to(asker))
            .map(|channel| {
                let sigils = channel.members.get(&client.id).map_or(&b""[..], |it| it.sigils(false));
                [sigils, &channel.name].concat()
            })
            .collect();
        replies.numeric(311, &[nick, client.user_name(), &client.host, b"*"], client.real_name());
        replies.numeric_words(319, &[nick], &names);
        replies.numeric(312, &[nick, self.identity.name.as_bytes()], VERSION);
        if let Some(reason) = &client.away {
            replies.numeric(301, &[nick], reason);
        }
        if client.operator {
            replies.numeric(313, &[nick], "is an IRC operator");
        }
        let idle = client.spoke.elapsed().as_secs().to_string();
        let since = unix_seconds(client.since).to_string();
        replies.numeric(317, &[nick, idle.as_bytes(), since.as_bytes()], "seconds idle, signon time");
    }

    pub(super) fn whowas(&self, message: &Message<'_>, replies: &mut Replies) {
        let Some(wanted) = message.param(0) else {
            return replies.numeric(431, &[], "No nickname given");
        };
        let key = NameKey::new(wanted);
        let most = message.param(1).and_then(|it| std::str::from_utf8(it).ok()?.parse().ok());
        let most = most.filter(|&most| most > 0).unwrap_or(usize::MAX);
        let mut found = self.former_clients.with_nick(&key).take(most).peekable();
        if found.peek().is_none() {
            replies.numeric(406, &[wanted], "There was no such nickname");
        }
        for former in found {
            replies.numeric(314, &[&former.nick, &former.user, &former.host, b"*"], &former.real);
        }
        replies.numeric(369, &[wanted], "End of WHOWAS");
    }

    pub(super) fn userhost(&self, message: &Message<'_>, replies: &mut Replies) {
        if message.param(0).is_none() {
            return replies.numeric(461, &[b"USERHOST"], "Not enough parameters");
        }
        let about = |client: &Client| {
            let (star, sign) =
                (if client.operator { "*" } else { "" }, if client.away.is_some() { "-" } else { "+" });
            let marks = format!("{star}={sign}");
            [client.nick_or_star(), marks.as_bytes(), client.user_name(), b"@", &client.host].concat()
        };
        let nicks = message.params().iter().take(MAX_USERHOST_NICKS);
        let found: Vec<_> = nicks.filter_map(|nick| self.registered_client(nick)).map(about).collect();
        replies.numeric(302, &[], found.join(&b' '));
    }

    pub(super) fn ison(&self, message: &Message<'_>, replies: &mut Replies) {
        if message.param(0).is_none() {
            return replies.numeric(461, &[b"ISON"], "Not enough parameters");
        }
        let nicks = message.params().iter().flat_map(|param| param.split(|&byte| byte == b' '));
        let here: Vec<_> =
            nicks.filter_map(|nick| self.registered_client(nick)).map(Client::nick_or_star).collect();
        replies.numeric(303, &[], here.join(&b' '));
    }

    pub(super) fn away(&mut self, id: ClientId, message: &Message<'_>, replies: &mut Replies) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        client.away = message.param(0).map(|reason| truncate(reason, MAX_AWAY_REASON_BYTES).into());
        match client.away {
            Some(_) => replies.numeric(306, &[], "You have been marked as being away"),
            None => replies.numeric(305, &[], "You are no longer marked as being away"),
        }
    }
}
