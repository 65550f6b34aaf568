//! What was exercised and polled, on a terminal.

use super::units::{count, counted, duration};
use crate::report::document::{Coverage, Program, Report};

/// Maximum number of kinds of tasks that are named.
const MAX_NAMED_KINDS: usize = 4;

/// Returns the command that generated the load.
pub(super) fn program(program: &Program) -> String {
    let ended = match program.exit_code {
        Some(0) => String::new(),
        Some(code) => format!(", exit code {code}"),
        None => ", ended by a signal".to_owned(),
    };
    format!("{}, for {}{ended}", program.command.join(" "), duration(program.seconds))
}

/// Returns the polls by kind of task, the most frequent kinds by name.
pub(super) fn polls(coverage: &Coverage) -> String {
    let named = coverage.tasks.iter().take(MAX_NAMED_KINDS);
    let named: Vec<_> = named.map(|task| format!("{} {}", task.task, count(task.polls))).collect();
    let more = match coverage.tasks.len().saturating_sub(MAX_NAMED_KINDS) {
        0 => String::new(),
        more => format!(" and {}", counted(more as u64, "more kind")),
    };
    format!("{} of {}{more}", counted(coverage.polls, "poll"), named.join(", "))
}

/// Returns the number of commands and polls that were searched for findings.
pub(super) fn searched(report: &Report) -> String {
    let polls = report.coverage.as_ref().map(|coverage| counted(coverage.polls, "poll"));
    let commands = report.program.is_none().then(|| counted(report.load.commands.sent, "command"));
    let parts: Vec<_> = commands.into_iter().chain(polls).collect();
    if parts.is_empty() { "an unknown number of polls".to_owned() } else { parts.join(", ") }
}
