//! The command line.

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
}

#[derive(Debug, clap::Args)]
pub(crate) struct PsArgs {
    /// The id of the process.
    #[arg(value_name = "PID")]
    pub(crate) pid: i32,
}
