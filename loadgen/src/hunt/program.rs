//! A command that generates the load: wrk, k6, a test suite.

use std::ffi::OsString;
use std::process::Stdio;
use std::time::Instant;

use anyhow::Context as _;
use tokio::process::Command;

use super::{TargetServer, child};
use crate::report::Program;
use crate::run::Stop;

/// The result of the command.
#[derive(Debug)]
pub(crate) struct ProgramResult {
    /// The command and its exit code, for the report.
    pub(crate) program: Program,
    /// Whether a signal ended it early.
    pub(crate) interrupted: bool,
    /// Why the run is invalid; `None` if the command succeeded or a signal
    /// ended it early.
    pub(crate) failure: Option<String>,
}

/// Runs `command` until it ends, or until a signal ends it. It gets the address
/// of the server in the environment variables `LOADGEN_TARGET` and
/// `LOADGEN_TELEMETRY`. With `json_on_stdout`, standard output is reserved for
/// the report, and the output of the command goes to standard error.
///
/// # Errors
///
/// If the command cannot be started.
pub(crate) async fn run(
    command: &[OsString],
    server: &TargetServer,
    json_on_stdout: bool,
    mut stop: Stop,
) -> anyhow::Result<ProgramResult> {
    let words: Vec<_> = command.iter().map(|word| word.to_string_lossy().into_owned()).collect();
    let (program, arguments) = command.split_first().context("there is no command after `--`")?;
    let mut child = Command::new(program);
    child.args(arguments).kill_on_drop(true);
    if let Some(telemetry) = &server.telemetry {
        child.env("LOADGEN_TELEMETRY", telemetry);
    }
    if !server.target.is_empty() {
        child.env("LOADGEN_TARGET", &server.target);
    }
    if json_on_stdout {
        child.stdout(Stdio::from(std::io::stderr()));
    }
    let mut child = child.spawn().with_context(|| format!("the command `{}` cannot be started", words[0]))?;

    let started = Instant::now();
    let (status, interrupted) = tokio::select! {
        status = child.wait() => (status, false),
        () = stop.wait() => (child::end(&mut child).await, true),
    };
    let status = status.with_context(|| format!("the command `{}` cannot be waited for", words[0]))?;
    let failed = !interrupted && !status.success();
    let failure = failed.then(|| format!("the command `{}` failed ({status})", words[0]));
    let program =
        Program { command: words, seconds: started.elapsed().as_secs_f64(), exit_code: status.code() };
    Ok(ProgramResult { program, interrupted, failure })
}
