//! The embedded chat server: `loadgen serve`.

use std::ffi::OsString;
use std::io::Read as _;
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser as _;

/// How long a graceful shutdown may take.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(2);

/// Runs the embedded chat server until its standard input closes, so that it
/// never outlives the process that started it.
pub(crate) fn serve(arguments: Vec<OsString>) -> anyhow::Result<()> {
    let name = OsString::from("chat-server");
    let args = match chat_server::Args::try_parse_from(std::iter::once(name).chain(arguments)) {
        Ok(args) => args,
        Err(error) => anyhow::bail!("{}", crate::cli::sentence(&error)),
    };
    let thread = std::thread::Builder::new().name("stdin".into()).spawn(end_with_stdin);
    thread.context("the thread that reads standard input cannot be started")?;
    chat_server::main_with(args)
}

fn end_with_stdin() {
    let mut ignored = [0; 64];
    while matches!(std::io::stdin().read(&mut ignored), Ok(1..)) {}
    terminate();
    std::thread::sleep(SHUTDOWN_TIMEOUT);
    std::process::exit(0);
}

/// Sends SIGTERM to this process, as a supervisor does.
#[cfg(unix)]
fn terminate() {
    let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::TERM);
}

#[cfg(not(unix))]
const fn terminate() {}
