//! An open-model load generator for chat servers that finds their blocking
//! calls.
//!
//! Commands are due at planned times that do not depend on the server. Latency
//! counts from the due time, so a server that stalls cannot hide it. A message
//! is awaited at every other member of its channel; a delivery that never
//! arrives stays in the latency figures as a censored sample.
//!
//! The data flows one way. `plan` turns the flags of [`Cli`] into a plan. `run`
//! executes the plan with the clients of `irc` or `web`; `record` holds what
//! they receive. `hunt` asks the server's own loopscope what it found in the
//! same time. `report` holds the result as plain data and renders it as text,
//! JSON and HTML.

#![forbid(unsafe_code)]

mod cli;
mod compare;
mod descriptors;
mod hunt;
mod irc;
mod merge;
mod metrics;
mod net;
mod outlet;
mod output;
mod plan;
mod record;
mod report;
mod run;
mod search;
mod self_monitor;
mod trial;
mod unix_time;
mod web;

use std::ffi::OsString;
use std::net::SocketAddr;

use clap::Parser as _;
use clap::error::ErrorKind;

pub use cli::Cli;
use cli::Command;
use output::{Destinations, Document};
use plan::LoadArgs;

/// Parses the command line and runs the command. Returns the verdict as the
/// exit code: 0 if every objective was met; 1 if an objective was missed,
/// findings are denied, no trial of `search` met the objectives, or `compare`
/// found something worse; 2 if no verdict is possible. After an error the exit
/// code is 2 as well.
///
/// # Errors
///
/// If a flag is wrong, the server cannot be reached, or a file cannot be read
/// or written.
pub fn main_with(arguments: impl IntoIterator<Item = OsString>) -> anyhow::Result<u8> {
    let command = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli.command,
        Err(error) => return usage(&error),
    };
    let destinations = Destinations::from(&command);
    let Some(document) = execute(command)? else { return Ok(0) };
    output::write(&document, &destinations)?;
    Ok(document.exit_code())
}

/// Runs `command`. Returns its document; `serve` has none.
fn execute(command: Command) -> anyhow::Result<Option<Document>> {
    let document = match command {
        Command::Serve(args) => {
            hunt::embedded::serve(args.arguments)?;
            return Ok(None);
        }
        Command::Run(args) => {
            let (load, metrics) = (args.load.clone(), args.output.metrics);
            Document::Report(Box::new(with_load(&load, metrics, trial::run(args))?))
        }
        Command::Hunt(args) => {
            let (load, metrics) = (args.load.clone(), args.output.metrics);
            Document::Report(Box::new(with_load(&load, metrics, trial::hunt(args))?))
        }
        Command::Search(args) => {
            let (load, metrics) = (args.load.clone(), args.output.metrics);
            Document::Search(Box::new(with_load(&load, metrics, search::search(args))?))
        }
        Command::Compare(args) => {
            let comparison = self_monitor::runtime(1, None)?.block_on(compare::compare(&args))?;
            Document::Comparison(Box::new(comparison))
        }
        Command::Merge(args) => match merge::merge(&args)? {
            merge::Merged::Report(report) => Document::Report(report),
            merge::Merged::Log(log) => Document::MergedLog(log),
        },
    };
    Ok(Some(document))
}

/// Runs `work` with as many file descriptors and threads as `load` needs.
fn with_load<T>(
    load: &LoadArgs,
    metrics: Option<SocketAddr>,
    work: impl Future<Output = anyhow::Result<T>>,
) -> anyhow::Result<T> {
    descriptors::raise_limit(load.connections, load.max_visitors())?;
    self_monitor::runtime(load.threads, metrics)?.block_on(work)
}

/// Prints help or the version; turns a wrong flag into a one-sentence error.
fn usage(error: &clap::Error) -> anyhow::Result<u8> {
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        // A reader that has closed the pipe, such as `head`, is not an error.
        let _ = error.print();
        return Ok(0);
    }
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        anyhow::bail!("the command is missing: use run, hunt, search, compare or merge; see --help");
    }
    anyhow::bail!("{}", cli::sentence(error))
}
