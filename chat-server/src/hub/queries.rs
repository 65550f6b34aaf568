//! Commands that deliver no messages to a channel: passes most of them to their
//! handlers, and answers PING and questions about the server.

use std::time::SystemTime;

use super::limits::VERSION;
use super::request::ClientId;
use super::state::HubState;
use crate::irc::command::Command;
use crate::irc::message::Message;
use crate::irc::numeric::{
    ERR_NOMOTD, ERR_NOORIGIN, ERR_UNKNOWNCOMMAND, RPL_ENDOFINFO, RPL_ENDOFMOTD, RPL_GLOBALUSERS, RPL_INFO,
    RPL_LOCALUSERS, RPL_LUSERCHANNELS, RPL_LUSERCLIENT, RPL_LUSERME, RPL_LUSEROP, RPL_LUSERUNKNOWN, RPL_MOTD,
    RPL_MOTDSTART, RPL_TIME, RPL_VERSION,
};
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
                None => replies.standard(ERR_NOORIGIN, &[]),
            },
            Command::Pong => {}
            Command::Whois => self.whois(id, message, replies),
            Command::Whowas => self.whowas(message, replies),
            Command::Userhost => self.userhost(message, replies),
            Command::Ison => self.ison(message, replies),
            Command::Invite => self.invite(id, message, replies),
            Command::Oper => self.oper(id, message, checks, replies),
            Command::Help | Command::Helpop => self.help(message, replies),
            Command::Motd => self.motd(replies),
            Command::Lusers => self.lusers(replies),
            Command::Version => {
                replies.numeric(RPL_VERSION, &[VERSION.as_bytes(), name.as_bytes()], "loopscope")
            }
            Command::Time => {
                let now = humantime::format_rfc3339_seconds(SystemTime::now());
                replies.numeric(RPL_TIME, &[name.as_bytes()], now.to_string());
            }
            Command::Info => {
                replies.numeric(
                    RPL_INFO,
                    &[],
                    format!("{VERSION}: an IRC chat server, watched by loopscope"),
                );
                let started = humantime::format_rfc3339_seconds(self.identity.started_at);
                replies.numeric(RPL_INFO, &[], format!("On-line since {started}"));
                replies.standard(RPL_ENDOFINFO, &[]);
            }
            _ => replies.standard(ERR_UNKNOWNCOMMAND, &[message.command]),
        }
    }

    pub(super) fn motd(&self, replies: &mut Replies) {
        let Some(lines) = &self.identity.motd else {
            return replies.standard(ERR_NOMOTD, &[]);
        };
        replies.numeric(RPL_MOTDSTART, &[], format!("- {} Message of the day -", self.identity.name));
        lines.iter().for_each(|line| replies.numeric(RPL_MOTD, &[], [b"- ", &line[..]].concat()));
        replies.standard(RPL_ENDOFMOTD, &[]);
    }

    pub(super) fn lusers(&self, replies: &mut Replies) {
        // These counts are kept up to date as clients come and go. Counting all
        // clients here would be quadratic when 1,000 clients register at once.
        let clients = self.registered_count;
        let (invisible, visible) = (self.invisible_count, clients.saturating_sub(self.invisible_count));
        let unknown = self.clients.len().saturating_sub(clients);
        replies.numeric(
            RPL_LUSERCLIENT,
            &[],
            format!("There are {visible} users and {invisible} invisible on 1 servers"),
        );
        for (reply, count) in [
            (RPL_LUSEROP, self.operator_count),
            (RPL_LUSERUNKNOWN, unknown),
            (RPL_LUSERCHANNELS, self.channels.len()),
        ] {
            // RFC 2812: these numerics are sent only for a count that is not
            // zero.
            if count > 0 {
                replies.standard(reply, &[count.to_string().as_bytes()]);
            }
        }
        replies.numeric(RPL_LUSERME, &[], format!("I have {clients} clients and 0 servers"));
        let (now, max) = (clients.to_string(), self.max_registered.max(clients).to_string());
        let text = |scope: &str| format!("Current {scope} users {now}, max {max}");
        replies.numeric(RPL_LOCALUSERS, &[now.as_bytes(), max.as_bytes()], text("local"));
        replies.numeric(RPL_GLOBALUSERS, &[now.as_bytes(), max.as_bytes()], text("global"));
    }
}
