//! The lines that the load consists of.

use std::io::Write as _;

use super::payload::Payload;
use super::session::Member;
use crate::plan::{Action, Due, Plan};

/// Writes planned commands as lines, into one buffer for all of them.
#[derive(Debug)]
pub(crate) struct CommandWriter {
    line: Vec<u8>,
    run: u32,
    payload: usize,
    oper: String,
    /// Which members are in their scratch channel, by index.
    in_scratch: Vec<bool>,
}

impl CommandWriter {
    /// For a run of `members` members.
    pub(crate) fn new(plan: &Plan, run: u32, members: usize) -> Self {
        let oper = plan.oper.as_ref().map(|login| format!("OPER {} {}", login.name, login.password));
        Self {
            line: Vec::with_capacity(512),
            run,
            payload: plan.payload,
            oper: oper.unwrap_or_default(),
            in_scratch: vec![false; members],
        }
    }

    /// The line for what is due, from `member`, now that it is `lag_ns` late.
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
            // `get` is no command of this protocol; a plan never has it here.
            Action::Ping | Action::Get => write!(self.line, "PING {}", due.at_ns),
        };
        self.line.extend_from_slice(b"\r\n");
        &self.line
    }

    fn privmsg(&mut self, due: &Due, lag_ns: u64, member: &Member) -> std::io::Result<()> {
        write!(self.line, "PRIVMSG {} :", member.channel)?;
        let payload =
            Payload { run: self.run, sender: member.id, sequence: due.sequence, due_ns: due.at_ns, lag_ns };
        payload.write(&mut self.line, self.payload);
        Ok(())
    }

    /// Joins the scratch channel beside the member's own, or leaves it again: who
    /// is in the measured channels never changes, so that everybody who should
    /// receive is known.
    fn join_or_part(&mut self, member: usize, channel: &str) -> std::io::Result<()> {
        let verb = if self.in_scratch[member] { "PART" } else { "JOIN" };
        self.in_scratch[member] = !self.in_scratch[member];
        write!(self.line, "{verb} {channel}-scratch")
    }
}
