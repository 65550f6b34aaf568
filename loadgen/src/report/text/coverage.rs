//! What was exercised and watched, on a terminal.

use super::units::{count, counted, duration};
use crate::report::document::{Coverage, Program, Report};

/// The command that was the load.
pub(super) fn ran(program: &Program) -> String {
    let ended = match program.exit_code {
        Some(0) => String::new(),
        Some(code) => format!(", ended with {code}"),
        None => ", ended by a signal".to_owned(),
    };
    format!("{}, for {}{ended}", program.command.join(" "), duration(program.seconds))
}

/// What was watched meanwhile, by kind of task.
pub(super) fn watched(coverage: &Coverage) -> String {
    let named = coverage.tasks.iter().take(4);
    let named: Vec<_> = named.map(|task| format!("{} {}", task.task, count(task.polls))).collect();
    let more = match coverage.tasks.len().saturating_sub(4) {
        0 => String::new(),
        more => format!(" and {}", counted(more as u64, "more kind")),
    };
    format!("{} of {}{more}", counted(coverage.polls, "poll"), named.join(", "))
}

/// In how much of what nothing was found.
pub(super) fn denominator(report: &Report) -> String {
    let polls = report.coverage.as_ref().map(|coverage| counted(coverage.polls, "poll"));
    let commands = report.program.is_none().then(|| counted(report.load.commands.sent, "command"));
    let parts: Vec<_> = commands.into_iter().chain(polls).collect();
    if parts.is_empty() { "an unknown number of polls".to_owned() } else { parts.join(", ") }
}
