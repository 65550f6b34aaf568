//! The command line.

use std::net::SocketAddr;
use std::time::Duration;

use clap::{Parser, Subcommand};

/// Shows what a running Tokio process does, without a change to it.
#[derive(Debug, Parser)]
#[command(name = "loopscope", version)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Shows the runtimes, threads and tasks of a process.
    Ps(PsArgs),
    /// Watches a process: finds what blocks its event loops, while it blocks.
    Attach(AttachArgs),
}

#[derive(Debug, clap::Args)]
pub(crate) struct PsArgs {
    /// The id of the process.
    #[arg(value_name = "PID")]
    pub(crate) pid: i32,
}

#[derive(Debug, clap::Args)]
pub(crate) struct AttachArgs {
    /// The id of the process.
    #[arg(value_name = "PID")]
    pub(crate) pid: i32,

    /// How long to watch; until the process ends or Ctrl-C by default.
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub(crate) duration: Option<Duration>,

    /// How long a wait in a poll must last to be reported.
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub(crate) threshold: Option<Duration>,

    /// Serve the live page, metrics and findings at this address.
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) telemetry: Option<SocketAddr>,

    /// Print the findings as JSON at the end.
    #[arg(long)]
    pub(crate) json: bool,
}
