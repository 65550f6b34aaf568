//! Sends due commands as lines on the connections of the members.

use std::collections::HashMap;

use super::command::CommandWriter;
use super::session::Member;
use crate::outlet::{Outlet, SendOutcome};
use crate::plan::{Action, Due};
use crate::record::{RunState, count};

/// Sends commands on the pacer's thread, without waiting.
#[derive(Debug)]
pub(crate) struct ChatOutlet {
    members: Vec<Member>,
    /// The number of receivers of each member's messages.
    fanout: Vec<u64>,
    commands: CommandWriter,
}

impl ChatOutlet {
    /// Returns an outlet for the commands of `members`.
    pub(crate) fn new(state: &RunState, members: Vec<Member>) -> Self {
        let mut sizes: HashMap<&str, u64> = HashMap::new();
        for member in &members {
            *sizes.entry(&member.channel).or_default() += 1;
        }
        let fanout = members.iter().map(|member| sizes[member.channel.as_str()] - 1).collect();
        let commands = CommandWriter::new(&state.plan, state.run, members.len());
        Self { members, fanout, commands }
    }
}

impl Outlet for ChatOutlet {
    fn senders(&self) -> usize {
        self.members.len()
    }

    fn send(&mut self, state: &RunState, due: &Due, lag_ns: u64) -> SendOutcome {
        let member = &self.members[due.sender];
        let measured = due.action == Action::Privmsg;
        if measured {
            state.issue(member.id, due.sequence);
        }
        let sent = member.link.send(self.commands.line(due, lag_ns, member));
        if measured && matches!(sent, SendOutcome::Written | SendOutcome::Queued) {
            count(&state.live.awaited, self.fanout[due.sender]);
        }
        sent
    }
}
