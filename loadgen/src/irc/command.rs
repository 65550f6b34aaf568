//! The lines of the planned commands.

use std::io::Write as _;

use super::session::Member;
use crate::plan::{Action, Due, Plan};
use crate::record::Payload;

/// Formats planned commands as lines, in one buffer for all of them.
#[derive(Debug)]
pub(crate) struct CommandWriter {
    line: Vec<u8>,
    run: u32,
    payload_bytes: usize,
    oper: String,
    /// Whether each member is in its scratch channel, by index.
    in_scratch: Vec<bool>,
}

impl CommandWriter {
    /// Returns a writer for `members` members.
    pub(crate) fn new(plan: &Plan, run: u32, members: usize) -> Self {
        let oper = plan.oper.as_ref().map(|login| format!("OPER {} {}", login.name, login.password));
        Self {
            line: Vec::with_capacity(512),
            run,
            payload_bytes: plan.payload_bytes,
            oper: oper.unwrap_or_default(),
            in_scratch: vec![false; members],
        }
    }

    /// Formats the line of the command `due` of `member`. The command is sent
    /// `lag_ns` after its due time.
    pub(crate) fn line(&mut self, due: &Due, lag_ns: u64, member: &Member) -> &[u8] {
        self.line.clear();
        let channel = &member.channel;
        // Writing into a vector cannot fail.
        let _ = match due.action {
            Action::Privmsg => self.privmsg(due, lag_ns, member),
            Action::Join => self.join_or_part(due.sender, channel),
            Action::Names => write!(self.line, "NAMES {channel}"),
            Action::Who => write!(self.line, "WHO {channel}"),
            Action::Whois => write!(self.line, "WHOIS {}", member.nick),
            Action::Topic => write!(self.line, "TOPIC {channel}"),
            Action::List => write!(self.line, "LIST"),
            Action::Oper => write!(self.line, "{}", self.oper),
            Action::Motd => write!(self.line, "MOTD"),
            Action::Chathistory => write!(self.line, "CHATHISTORY BEFORE {channel} msgid=1 50"),
            // `get` is not an IRC command; the plan of a chat target never has
            // it.
            Action::Ping | Action::Get => write!(self.line, "PING {}", due.at_ns),
        };
        self.line.extend_from_slice(b"\r\n");
        &self.line
    }

    fn privmsg(&mut self, due: &Due, lag_ns: u64, member: &Member) -> std::io::Result<()> {
        write!(self.line, "PRIVMSG {} :", member.channel)?;
        let payload =
            Payload { run: self.run, sender: member.id, sequence: due.sequence, due_ns: due.at_ns, lag_ns };
        payload.write(&mut self.line, self.payload_bytes);
        Ok(())
    }

    /// Joins the scratch channel of the member's channel, or leaves it again.
    /// The members of the measured channels never change, so the receivers of
    /// every message are known.
    fn join_or_part(&mut self, member: usize, channel: &str) -> std::io::Result<()> {
        let verb = if self.in_scratch[member] { "PART" } else { "JOIN" };
        self.in_scratch[member] = !self.in_scratch[member];
        write!(self.line, "{verb} {channel}-scratch")
    }
}
