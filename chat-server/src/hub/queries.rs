//! Commands that are answered at once: PING, WHOIS, OPER, and what the server says about itself.

use std::time::SystemTime;

use super::{
    Checks, ClientId, World,
    client::{Client, unix_seconds},
    registration::VERSION,
};
use crate::{command::Command, message::Message, reply::Replies};

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
            Command::Invite => self.invite(id, message, replies),
            Command::Away => self.away(id, message, replies),
            Command::Ison => self.ison(message, replies),
            Command::Userhost => self.userhost(message, replies),
            Command::Whois => self.whois(id, message, replies),
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

    fn whois(&self, id: ClientId, message: &Message<'_>, replies: &mut Replies) {
        let Some(wanted) = message.param(1).or(message.param(0)) else {
            return replies.numeric(431, &[], "No nickname given");
        };
        match self.find(wanted).and_then(|wanted| Some((wanted, self.clients.get(&wanted)?))) {
            None => replies.numeric(401, &[wanted], "No such nick/channel"),
            Some((wanted, client)) => self.tell_of(wanted, client, id, replies),
        }
        replies.numeric(318, &[wanted], "End of /WHOIS list");
    }

    fn tell_of(&self, wanted: ClientId, client: &Client, asker: ClientId, replies: &mut Replies) {
        let nick = client.nick_or_star();
        let channels = client.channels.iter().filter_map(|key| self.channels.get(key));
        let shown = channels.filter(|it| it.has(asker) || !it.modes.secret && !client.invisible);
        let names: Vec<Vec<u8>> =
            shown.map(|channel| [channel.rank(wanted).sign(), &channel.name].concat()).collect();
        replies.numeric(311, &[nick, client.user_name(), &client.host, b"*"], client.real_name());
        replies.numeric_words(319, &[nick], &names);
        replies.numeric(312, &[nick, self.identity.name.as_bytes()], VERSION);
        if client.operator {
            replies.numeric(313, &[nick], "is an IRC operator");
        }
        if let Some(away) = &client.away {
            replies.numeric(301, &[nick], away);
        }
        let idle = client.spoke.elapsed().as_secs().to_string();
        let since = unix_seconds(client.since).to_string();
        replies.numeric(317, &[nick, idle.as_bytes(), since.as_bytes()], "seconds idle, signon time");
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
            self.operators += usize::from(!std::mem::replace(&mut client.operator, true));
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
}
