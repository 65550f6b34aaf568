//! An open-model load generator for chat servers that finds what blocks them.
//!
//! Commands are due at planned times, whatever the server does, and latency
//! counts from the due time: a server that stalls cannot hide it. Every message
//! is awaited at every other member of its room; what never comes stays in the
//! latency figures as a censored sample.
//!
//! The data flows one way: [`Cli`] is made into a `plan`, `run` carries it out
//! with clients of `irc` or `web`, which `record` what they receive, and `report` holds
//! the outcome as plain data, from which text and JSON are drawn. `hunt` asks
//! the server's own loopscope what it found meanwhile.

#![forbid(unsafe_code)]

mod cli;
mod descriptors;
mod hunt;
mod irc;
mod metrics;
mod net;
mod own;
mod plan;
mod record;
mod report;
mod run;
mod trial;
mod web;

use std::io::IsTerminal as _;

use anyhow::Context as _;
use clap::Parser as _;
use clap::error::ErrorKind;

pub use cli::Cli;
use cli::{Command, OutputArgs};

/// Reads the command line and does what it asks; the exit code is the verdict:
/// 0 all held, 1 an objective was missed or findings are denied. An error means
/// that it could not run, for which the exit code is 2.
///
/// # Errors
///
/// If a flag is wrong, or the server or a file cannot be had.
pub fn main_with(arguments: impl IntoIterator<Item = std::ffi::OsString>) -> anyhow::Result<u8> {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    match cli.command {
        Command::Serve(args) => hunt::embedded::serve(args.arguments).map(|()| 0),
        Command::Run(args) => {
            descriptors::allow(args.load.connections, run::visitors(args.load.churn))?;
            let (threads, output) = (args.load.threads, args.output.clone());
            block_on(threads, &output, trial::run(args)).and_then(|report| hand_out(&report, &output))
        }
        Command::Hunt(args) => {
            descriptors::allow(args.load.connections, run::visitors(args.load.churn))?;
            let (threads, output) = (args.load.threads, args.output.clone());
            block_on(threads, &output, trial::hunt(args)).and_then(|report| hand_out(&report, &output))
        }
    }
}

/// Help and version are printed; a wrong flag is one sentence.
fn usage(error: &clap::Error) -> anyhow::Result<u8> {
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        error.print()?;
        return Ok(0);
    }
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        anyhow::bail!("say what to do: run or hunt; --help says more");
    }
    anyhow::bail!("{}", cli::sentence(error))
}

fn block_on<T>(
    threads: usize,
    output: &OutputArgs,
    work: impl Future<Output = anyhow::Result<T>>,
) -> anyhow::Result<T> {
    own::runtime(threads, output.metrics)?.block_on(work)
}

/// Prints the report, writes it, and gives the exit code.
fn hand_out(report: &report::Report, output: &OutputArgs) -> anyhow::Result<u8> {
    let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let json_on_stdout = output.json.as_deref().is_some_and(|path| path == "-");
    if json_on_stdout {
        let color = std::io::stderr().is_terminal() && !no_color;
        eprint!("{}", report::text(report, color));
    } else {
        let color = std::io::stdout().is_terminal() && !no_color;
        trial::print(&report::text(report, color))?;
    }
    if let Some(path) = &output.json {
        trial::write_json(report, path)?;
    }
    if let Some(path) = &output.html {
        let page = report::html(report);
        std::fs::write(path, page).with_context(|| format!("--html {} cannot be written", path.display()))?;
    }
    Ok(report.verdict.exit_code)
}
