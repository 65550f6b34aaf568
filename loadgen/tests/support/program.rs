//! The program under test.

use std::net::SocketAddr;
use std::process::{Command, Output};

use serde_json::Value;

use super::schema;

/// What a run of the program came to.
pub(crate) struct Outcome {
    pub(crate) code: i32,
    pub(crate) stderr: String,
    /// The report of `--json -`; null if there is none.
    pub(crate) report: Value,
}

/// The program with `arguments`, not started yet.
pub(crate) fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_loadgen"));
    command.args(arguments).env_remove("NO_COLOR");
    command
}

/// Runs the program with `arguments` to its end.
#[track_caller]
pub(crate) fn loadgen(arguments: &[&str]) -> Outcome {
    outcome(command(arguments).output().expect("the program starts"))
}

/// What has been written and returned; a document is held against its schema.
#[track_caller]
pub(crate) fn outcome(output: Output) -> Outcome {
    let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    if !report.is_null() {
        schema::assert_valid(&report);
    }
    Outcome {
        code: output.status.code().unwrap_or(-1),
        stderr: String::from_utf8(output.stderr).expect("text"),
        report,
    }
}

/// A short `run` against `target`, its report on standard output: ten
/// connections in two rooms, a hundred messages a second for a second.
pub(crate) fn run(target: SocketAddr, more: &[&str]) -> Outcome {
    let target = target.to_string();
    let mut arguments = vec!["run", "--target", &target, "--json", "-", "--quiet"];
    let defaults = [
        ("--connections", "10"),
        ("--rooms", "2"),
        ("--rate", "100"),
        ("--duration", "1s"),
        ("--ramp", "100ms"),
        ("--drain", "1s"),
        // The machine of the tests may be busy with other things.
        ("--max-send-lag", "10s"),
        ("--mix", "privmsg:1"),
    ];
    for (flag, value) in defaults {
        let replaced = more.contains(&"--stages") && ["--rate", "--duration"].contains(&flag);
        if !replaced && !more.contains(&flag) {
            arguments.extend([flag, value]);
        }
    }
    arguments.extend(more);
    loadgen(&arguments)
}

impl Outcome {
    /// A count in the report, by its JSON pointer.
    #[track_caller]
    pub(crate) fn count(&self, pointer: &str) -> u64 {
        let value = self.report.pointer(pointer).and_then(Value::as_u64);
        value.unwrap_or_else(|| panic!("no count {pointer} in {}\n{}", self.report, self.stderr))
    }

    /// A number in the report, by its JSON pointer.
    #[track_caller]
    pub(crate) fn number(&self, pointer: &str) -> f64 {
        let value = self.report.pointer(pointer).and_then(Value::as_f64);
        value.unwrap_or_else(|| panic!("no number {pointer} in {}\n{}", self.report, self.stderr))
    }

    /// The reasons of the verdict, as one text.
    pub(crate) fn reasons(&self) -> String {
        self.report["verdict"]["reasons"].to_string()
    }
}
