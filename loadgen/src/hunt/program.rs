//! A command that generates the load: wrk, k6, a test suite.

use std::ffi::OsString;
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::TargetServer;
use crate::report::Program;
use crate::run::Stop;

/// How long the command may take to end after SIGTERM.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

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
        () = stop.wait() => (end(&mut child).await, true),
    };
    let status = status.with_context(|| format!("the command `{}` cannot be waited for", words[0]))?;
    let failed = !interrupted && !status.success();
    let failure = failed.then(|| format!("the command `{}` failed ({status})", words[0]));
    let program =
        Program { command: words, seconds: started.elapsed().as_secs_f64(), exit_code: status.code() };
    Ok(ProgramResult { program, interrupted, failure })
}

/// Sends SIGTERM, and kills the command if it does not end.
pub(super) async fn end(child: &mut Child) -> std::io::Result<ExitStatus> {
    terminate(child);
    if let Ok(status) = timeout(STOP_TIMEOUT, child.wait()).await {
        return status;
    }
    child.kill().await?;
    child.wait().await
}

#[cfg(unix)]
fn terminate(child: &Child) {
    let id = child.id().and_then(|id| i32::try_from(id).ok()).and_then(rustix::process::Pid::from_raw);
    if let Some(id) = id {
        let _ = rustix::process::kill_process(id, rustix::process::Signal::TERM);
    }
}

#[cfg(not(unix))]
const fn terminate(_child: &Child) {}
