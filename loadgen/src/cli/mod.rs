//! The command line.

use std::ffi::OsString;

use clap::{Args, Parser, Subcommand};

mod compare;
mod hunt;
mod merge;
mod output;
mod search;
mod server;

pub(crate) use compare::CompareArgs;
pub(crate) use hunt::HuntArgs;
pub(crate) use merge::MergeArgs;
pub(crate) use output::OutputArgs;
pub(crate) use search::SearchArgs;
pub(crate) use server::ServerArgs;

use crate::plan::{LoadArgs, parse_target};

const AFTER_HELP: &str = "Exit code: 0 if every objective was met, 1 if an objective was missed or --deny rejects \
                          findings, if no trial of `search` met the objectives, or if `compare` found something \
                          worse, 2 if no verdict is possible or the command failed.";

/// An open-model load generator that finds the blocking calls of the server
/// under test.
#[derive(Debug, Parser)]
#[command(name = "loadgen", version, after_help = AFTER_HELP)]
pub struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Sends commands to a server at a planned rate and measures every
    /// delivery.
    Run(RunArgs),
    /// Puts a server under load and reports its blocking calls with their
    /// source lines.
    Hunt(HuntArgs),
    /// Finds the highest rate at which every --slo holds.
    ///
    /// Each trial lasts --duration; --rate is the rate of the first trial. With
    /// a web target, error_replies==0 must hold too, unless an --slo limits
    /// error_replies.
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
    /// The server to test: an IRC server, also as irc://HOST:PORT or with TLS
    /// ircs://HOST:PORT, or a web page such as http://HOST:PORT/PATH or
    /// https://HOST/PATH.
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

#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// The flags of the chat server.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) arguments: Vec<OsString>,
}

/// Returns the error in the command line as one sentence, with the name that
/// may have been meant.
pub(crate) fn sentence(error: &clap::Error) -> String {
    let text = error.to_string();
    let one_line = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let paragraph = text.split("\n\n").next().unwrap_or_default();
    let sentence = one_line(paragraph).trim_start_matches("error: ").to_owned();
    let tip = text.lines().find_map(|line| line.trim_start().strip_prefix("tip: "));
    match tip.filter(|tip| tip.contains("similar")) {
        Some(tip) => format!("{sentence}; {}", one_line(tip)),
        None => sentence,
    }
}
