//! Commands that are answered at once: PING, MODE, WHOIS, OPER, and what the server says about itself.

use std::time::{SystemTime, UNIX_EPOCH};

use super::{Checks, ClientId, World, registration::VERSION};
use crate::{
    command::Command,
    message::Message,
    names::{Key, is_channel_like},
    reply::Replies,
};

pub(super) fn unix_seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

impl World {
    pub(super) fn query(
        &mut self,
        id: ClientId,
        command: Command,
        message: &Message<'_>,
        checks: Checks,
        replies: &mut Replies,
    ) {
        let name = self.identity.name.clone();
        match command {
            Command::Ping => match message.param(0) {
                Some(token) => replies.server_line(&[b"PONG ", name.as_bytes(), b" :", token]),
                None => replies.numeric(409, &[], "No origin specified"),
            },
            Command::Pong => {}
            Command::Mode => self.mode(id, message, replies),
            Command::Whois => self.whois(message, replies),
            Command::Oper => self.oper(id, message, checks, replies),
            Command::Motd => self.motd(replies),
            Command::Lusers => self.lusers(replies),
            Command::Version => replies.numeric(351, &[VERSION.as_bytes(), name.as_bytes()], "loopscope"),
            Command::Time => {
                let now = humantime::format_rfc3339_seconds(SystemTime::now());
                replies.numeric(391, &[name.as_bytes()], now.to_string());
            }
            _ => replies.numeric(421, &[message.command], "Unknown command"),
        }
    }

    fn mode(&mut self, id: ClientId, message: &Message<'_>, replies: &mut Replies) {
        match message.param(0) {
            None => replies.numeric(461, &[b"MODE"], "Not enough parameters"),
            Some(target) if is_channel_like(target) => self.channel_mode(target, message.param(1), replies),
            Some(target) => self.user_mode(id, target, message.param(1), replies),
        }
    }

    fn channel_mode(&self, target: &[u8], change: Option<&[u8]>, replies: &mut Replies) {
        let Some(channel) = self.channels.get(&Key::new(target)) else {
            return replies.numeric(403, &[target], "No such channel");
        };
        match change.map(|change| change.strip_prefix(b"+").unwrap_or(change)) {
            None => {
                let created = unix_seconds(channel.created).to_string();
                replies.numeric_params(324, &[&channel.name, b"+n"]);
                replies.numeric_params(329, &[&channel.name, created.as_bytes()]);
            }
            // Clients ask for the bans as they join; there are none.
            Some(b"b") => replies.numeric(368, &[&channel.name], "End of channel ban list"),
            Some(change) => {
                let letter = change.iter().find(|byte| byte.is_ascii_alphabetic()).unwrap_or(&b'?');
                replies.numeric(472, &[&[*letter]], "is unknown mode char to me");
            }
        }
    }

    fn user_mode(&mut self, id: ClientId, target: &[u8], change: Option<&[u8]>, replies: &mut Replies) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        if Key::new(target) != Key::new(client.nick_or_star()) {
            replies.numeric(502, &[], "Cannot change mode for other users");
            return;
        }
        match change {
            None => return replies.numeric_params(221, &[client.modes().as_bytes()]),
            Some(b"+i" | b"i") => client.invisible = true,
            Some(b"-i") => client.invisible = false,
            Some(b"-o") => client.operator = false,
            Some(_) => return replies.numeric(501, &[], "Unknown MODE flag"),
        }
        let nick = client.nick_or_star();
        replies.line(&[b":", nick, b" MODE ", nick, b" :", change.unwrap_or_default()]);
    }

    fn whois(&self, message: &Message<'_>, replies: &mut Replies) {
        let Some(wanted) = message.param(1).or(message.param(0)) else {
            return replies.numeric(431, &[], "No nickname given");
        };
        let id = self.nicks.get(&Key::new(wanted));
        match id.and_then(|id| self.clients.get(id)).filter(|client| client.registered) {
            None => replies.numeric(401, &[wanted], "No such nick/channel"),
            Some(client) => {
                let nick = client.nick_or_star();
                let names =
                    client.channels.iter().filter_map(|key| self.channels.get(key)).map(|it| &*it.name);
                replies.numeric(311, &[nick, client.user_name(), &client.host, b"*"], client.real_name());
                replies.numeric_words(319, &[nick], names);
                replies.numeric(312, &[nick, self.identity.name.as_bytes()], VERSION);
                if client.operator {
                    replies.numeric(313, &[nick], "is an IRC operator");
                }
            }
        }
        replies.numeric(318, &[wanted], "End of /WHOIS list");
    }

    fn oper(&mut self, id: ClientId, message: &Message<'_>, checks: Checks, replies: &mut Replies) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        if message.param(1).is_none() {
            replies.numeric(461, &[b"OPER"], "Not enough parameters");
        } else if !self.identity.has_operators {
            replies.numeric(491, &[], "No O-lines for your host");
        } else if !checks.password {
            replies.numeric(464, &[], "Password incorrect");
        } else {
            client.operator = true;
            let nick = client.nick_or_star();
            replies.numeric(381, &[], "You are now an IRC operator");
            replies.line(&[b":", nick, b" MODE ", nick, b" :+o"]);
        }
    }

    pub(super) fn motd(&self, replies: &mut Replies) {
        let Some(lines) = &self.identity.motd else {
            return replies.numeric(422, &[], "MOTD File is missing");
        };
        replies.numeric(375, &[], format!("- {} Message of the day -", self.identity.name));
        lines.iter().for_each(|line| replies.numeric(372, &[], [b"- ", &line[..]].concat()));
        replies.numeric(376, &[], "End of /MOTD command");
    }

    pub(super) fn lusers(&self, replies: &mut Replies) {
        // Counted over the sizes of the maps: 1,000 clients registering at once must not each count 1,000.
        let (clients, channels) = (self.nicks.len(), self.channels.len().to_string());
        let unknown = self.clients.len().saturating_sub(clients).to_string();
        replies.numeric(251, &[], format!("There are {clients} users on 1 server"));
        replies.numeric(253, &[unknown.as_bytes()], "unknown connection(s)");
        replies.numeric(254, &[channels.as_bytes()], "channels formed");
        replies.numeric(255, &[], format!("I have {clients} clients and no servers"));
    }
}
