//! Runs the program under test, and the processes that it reads.

#![allow(dead_code, reason = "each test file uses its own part")]

use std::io::{self, Write};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// How long a test waits for an event.
const TIMEOUT: Duration = Duration::from_secs(60);
const CHECK_INTERVAL: Duration = Duration::from_millis(5);

/// The result of a run of the program.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Returns a command that runs the program with `arguments`.
pub(crate) fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_loopscope"));
    command.args(arguments).env_remove("NO_COLOR").env_remove("COLUMNS");
    command
}

/// Runs a command until it ends.
#[track_caller]
pub(crate) fn outcome(command: &mut Command) -> Outcome {
    let output = command.stdin(Stdio::null()).output().expect("the command starts");
    Outcome {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).expect("text"),
        stderr: String::from_utf8(output.stderr).expect("text"),
    }
}

/// A process that ends with the test.
#[derive(Debug)]
pub(crate) struct Target(pub(crate) Child);

impl Target {
    pub(crate) fn start(command: &mut Command) -> Self {
        Self(command.stdin(Stdio::null()).spawn().expect("the command starts"))
    }

    /// Starts a Tokio program with a current-thread runtime: the program under
    /// test itself, which waits for a command.
    pub(crate) fn tokio() -> Self {
        let mut target = Self::start(
            command(&["run", "--", "sh", "-c", "echo ready; exec sleep 600"]).stdout(Stdio::piped()),
        );
        target.wait_for_line();
        target
    }

    pub(crate) fn pid(&self) -> String {
        self.0.id().to_string()
    }

    /// Waits until the process has printed a line to its piped stdout.
    pub(crate) fn wait_for_line(&mut self) -> String {
        let stdout = self.0.stdout.as_mut().expect("stdout is a pipe");
        let mut line = String::new();
        io::BufRead::read_line(&mut io::BufReader::new(stdout), &mut line).expect("a line");
        line
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        // `loopscope run` passes it on to its command.
        let id = i32::try_from(self.0.id()).ok().and_then(rustix::process::Pid::from_raw);
        if let Some(id) = id.filter(|_| matches!(self.0.try_wait(), Ok(None))) {
            let _ = rustix::process::kill_process(id, rustix::process::Signal::TERM);
        }
        let _ = self.0.wait();
    }
}

/// Says on stderr what a test did not check.
pub(crate) fn not_checked(what: &str) {
    let _ = io::stderr().write_all(format!("NOT CHECKED: {what}\n").as_bytes());
}

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Calls `check` until it returns `Some`.
#[track_caller]
pub(crate) fn eventually<T>(what: &str, mut check: impl FnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(found) = check() {
            return found;
        }
        assert!(begin.elapsed() < TIMEOUT, "timed out waiting for {what}");
        std::thread::sleep(CHECK_INTERVAL);
    }
}

/// Checks a document against its schema.
#[track_caller]
pub(crate) fn assert_valid(document: &Value) {
    let schema = include_str!("../../schema/ps-1.schema.json");
    let schema: Value = serde_json::from_str(schema).expect("the schema is JSON");
    jsonschema::draft202012::meta::validate(&schema).expect("the schema is valid");
    let validator = jsonschema::validator_for(&schema).expect("the schema can be used");
    let errors: Vec<_> =
        validator.iter_errors(document).map(|error| format!("{}: {error}", error.instance_path())).collect();
    assert!(errors.is_empty(), "{errors:#?}");
}
