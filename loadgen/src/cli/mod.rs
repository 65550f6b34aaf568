//! The command line.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

mod compare;
mod merge;
mod search;
mod server;

pub(crate) use compare::CompareArgs;
pub(crate) use merge::MergeArgs;
pub(crate) use search::SearchArgs;
pub(crate) use server::ServerArgs;

use crate::plan::{LoadArgs, parse_target};

/// An open-model load generator that finds the blocking calls of the server
/// under test.
#[derive(Debug, Parser)]
#[command(name = "loadgen", version)]
pub struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Sends commands to a server at a planned rate and measures every delivery.
    Run(RunArgs),
    /// Puts a server under load and reports its blocking calls with their source
    /// lines.
    Hunt(HuntArgs),
    /// Finds the highest rate at which every --slo holds.
    Search(SearchArgs),
    /// Compares two reports, or two commands that are run in alternation.
    Compare(CompareArgs),
    /// Merges the shards of one test.
    Merge(MergeArgs),
    /// Runs the embedded chat server until its standard input closes.
    #[command(hide = true, disable_help_flag = true)]
    Serve(ServeArgs),
}

#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// The server to test: an IRC server, or a web page such as
    /// http://HOST:PORT/PATH.
    #[arg(long, value_name = "HOST:PORT|URL", value_parser = parse_target)]
    pub(crate) target: String,
    /// The URL of the server's telemetry; its findings become part of the
    /// report.
    #[arg(long, value_name = "URL")]
    pub(crate) telemetry: Option<String>,
    #[command(flatten)]
    pub(crate) load: LoadArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Clone, Args)]
#[group(id = "driven", args = ["target", "command"], multiple = true)]
pub(crate) struct HuntArgs {
    #[command(flatten)]
    pub(crate) server: ServerArgs,
    /// Afterwards, search for the smallest load at which each finding appears,
    /// in further trials of --duration each.
    #[arg(long, conflicts_with_all = ["command", "stages"])]
    pub(crate) minimise: bool,
    /// Fail with exit code 1 if there is any finding.
    #[arg(long)]
    pub(crate) deny: bool,
    #[command(flatten)]
    pub(crate) load: LoadArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    /// A command that generates the load instead of the generator's own
    /// clients; it gets LOADGEN_TARGET and LOADGEN_TELEMETRY in its
    /// environment.
    #[arg(last = true)]
    pub(crate) command: Vec<OsString>,
}

#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// The flags of the chat server.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) arguments: Vec<OsString>,
}

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Output")]
pub(crate) struct OutputArgs {
    /// Write the report as JSON; `-` is standard output.
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Write the latencies of each second as an HdrHistogram log (V2).
    #[arg(long, value_name = "FILE")]
    pub(crate) hlog: Option<PathBuf>,
    /// Write the report as one self-contained HTML page with plots.
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
    /// Serve Prometheus metrics of the run and of the generator's own event
    /// loop at /metrics during the run.
    #[arg(long, value_name = "ADDR:PORT")]
    pub(crate) metrics: Option<SocketAddr>,
    /// Show no progress.
    #[arg(long, short)]
    pub(crate) quiet: bool,
    /// Show the log of the embedded server.
    #[arg(long, short)]
    pub(crate) verbose: bool,
}

impl OutputArgs {
    /// Returns whether the JSON report goes to standard output.
    pub(crate) fn json_on_stdout(&self) -> bool {
        self.json.as_deref().is_some_and(|path| path == "-")
    }
}

/// Returns the error in the command line as one sentence.
pub(crate) fn sentence(error: &clap::Error) -> String {
    let text = error.to_string();
    let paragraph = text.split("\n\n").next().unwrap_or_default();
    let words: Vec<_> = paragraph.split_whitespace().collect();
    words.join(" ").trim_start_matches("error: ").to_owned()
}
