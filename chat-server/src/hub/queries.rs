//! Commands that are answered at once: PING, and what the server says about itself.

use std::time::SystemTime;

use super::limits::VERSION;
use super::request::ClientId;
use super::state::HubState;
use crate::irc::command::Command;
use crate::irc::message::Message;
use crate::irc::reply::Replies;
use crate::services::line_checks::LineChecks;

impl HubState {
    pub(super) fn query(
        &mut self,
        id: ClientId,
        command: Command,
        message: &Message<'_>,
        checks: LineChecks,
        replies: &mut Replies,
    ) {
        let name = self.identity.name.clone();
        match command {
            Command::Ping => match message.param(0) {
                Some(token) => replies.server_line(&[b"PONG ", name.as_bytes(), b" :", token]),
                None => replies.numeric(409, &[], "No origin specified"),
            },
            Command::Pong => {}
            Command::Whois => self.whois(id, message, replies),
            Command::Whowas => self.whowas(message, replies),
            Command::Userhost => self.userhost(message, replies),
            Command::Ison => self.ison(message, replies),
            Command::Away => self.away(id, message, replies),
            Command::Invite => self.invite(id, message, replies),
            Command::Oper => self.oper(id, message, checks, replies),
            Command::Motd => self.motd(replies),
            Command::Lusers => self.lusers(replies),
            Command::Version => replies.numeric(351, &[VERSION.as_bytes(), name.as_bytes()], "loopscope"),
            Command::Time => {
                let now = humantime::format_rfc3339_seconds(SystemTime::now());
                replies.numeric(391, &[name.as_bytes()], now.to_string());
            }
            Command::Info => {
                replies.numeric(371, &[], format!("{VERSION}: an IRC chat server, watched by loopscope"));
                let started = humantime::format_rfc3339_seconds(self.identity.created);
                replies.numeric(371, &[], format!("On-line since {started}"));
                replies.numeric(374, &[], "End of /INFO list");
            }
            _ => replies.numeric(421, &[message.command], "Unknown command"),
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
        // Counted as they come and go: 1,000 clients registering at once must not each count 1,000.
        let clients = self.registered;
        let (hidden, seen) = (self.invisible, clients.saturating_sub(self.invisible));
        let unknown = self.clients.len().saturating_sub(clients);
        replies.numeric(251, &[], format!("There are {seen} users and {hidden} invisible on 1 servers"));
        for (code, count, text) in [
            (252, self.operators, "operator(s) online"),
            (253, unknown, "unknown connection(s)"),
            (254, self.channels.len(), "channels formed"),
        ] {
            // RFC 2812: these are only sent for a count that is not zero.
            if count > 0 {
                replies.numeric(code, &[count.to_string().as_bytes()], text);
            }
        }
        replies.numeric(255, &[], format!("I have {clients} clients and 0 servers"));
        let (now, most) = (clients.to_string(), self.max_registered.max(clients).to_string());
        let text = |scope: &str| format!("Current {scope} users {now}, max {most}");
        replies.numeric(265, &[now.as_bytes(), most.as_bytes()], text("local"));
        replies.numeric(266, &[now.as_bytes(), most.as_bytes()], text("global"));
    }
}
