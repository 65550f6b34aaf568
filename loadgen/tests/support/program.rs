//! Runs the program under test.

#[cfg(unix)]
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
#[cfg(unix)]
use std::process::Stdio;
use std::process::{Command, Output};

use serde_json::Value;

use super::schema;

/// The result of a run of the program.
pub(crate) struct Outcome {
    pub(crate) code: i32,
    pub(crate) stderr: String,
    /// The report that `--json -` writes, or null without a report.
    pub(crate) report: Value,
}

/// Returns a command that runs the program with `arguments`.
pub(crate) fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_loadgen"));
    command.args(arguments).env_remove("NO_COLOR");
    command
}

/// Runs the program with `arguments` until it ends.
#[track_caller]
pub(crate) fn loadgen(arguments: &[&str]) -> Outcome {
    outcome(command(arguments).output().expect("the program starts"))
}

/// Runs the program with `arguments`, and sends it SIGINT once it prints a line
/// that begins with `phase`. The outcome has no text of stderr.
#[cfg(unix)]
#[track_caller]
pub(crate) fn interrupted(arguments: &[&str], phase: &str) -> Outcome {
    let mut command = command(arguments);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    let mut stderr = BufReader::new(child.stderr.take().expect("piped"));
    let mut line = String::new();
    while !line.starts_with(phase) {
        line.clear();
        assert_ne!(stderr.read_line(&mut line).expect("text"), 0, "the program ended too early");
    }
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("it runs");
    std::thread::spawn(move || std::io::copy(&mut stderr, &mut std::io::sink()));
    outcome(child.wait_with_output().expect("it ends"))
}

/// Converts the output of the program. Checks a report against its schema.
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

/// Runs a short `run` against `target`, with the report on standard output: ten
/// connections in two channels, 100 messages per second for one second.
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
        // The generator may be late on a busy machine.
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
    /// Returns a count of the report by its JSON pointer.
    #[track_caller]
    pub(crate) fn count(&self, pointer: &str) -> u64 {
        let value = self.report.pointer(pointer).and_then(Value::as_u64);
        value.unwrap_or_else(|| panic!("no count {pointer} in {}\n{}", self.report, self.stderr))
    }

    /// Returns a number of the report by its JSON pointer.
    #[track_caller]
    pub(crate) fn number(&self, pointer: &str) -> f64 {
        let value = self.report.pointer(pointer).and_then(Value::as_f64);
        value.unwrap_or_else(|| panic!("no number {pointer} in {}\n{}", self.report, self.stderr))
    }

    /// Returns the reasons of the verdict as one text.
    pub(crate) fn reasons(&self) -> String {
        self.report["verdict"]["reasons"].to_string()
    }
}
