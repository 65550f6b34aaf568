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
mod compare;
mod descriptors;
mod hunt;
mod irc;
mod merge;
mod metrics;
mod net;
mod output;
mod plan;
mod record;
mod report;
mod run;
mod search;
mod self_monitor;
mod trial;
mod web;

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
            descriptors::allow(args.load.connections, args.load.max_visitors())?;
            let (threads, output) = (args.load.threads, args.output.clone());
            block_on(threads, output.metrics, trial::run(args)).and_then(|report| hand_out(&report, &output))
        }
        Command::Hunt(args) => {
            descriptors::allow(args.load.connections, args.load.max_visitors())?;
            let (threads, output) = (args.load.threads, args.output.clone());
            block_on(threads, output.metrics, trial::hunt(args)).and_then(|report| hand_out(&report, &output))
        }
        Command::Search(args) => {
            descriptors::allow(args.load.connections, args.load.max_visitors())?;
            let (threads, json) = (args.load.threads, args.output.json.clone());
            let metrics = args.output.metrics;
            let report = block_on(threads, metrics, search::search(args))?;
            output::hand_out(&search::text(&report), &report, json.as_deref())?;
            Ok(report.exit_code)
        }
        Command::Merge(args) => match merge::merge(&args)? {
            merge::Merged::Report(report) => {
                let color = output::color(args.json.as_deref().is_some_and(|path| path == "-"));
                output::hand_out(&report::text(&report, color), &*report, args.json.as_deref())?;
                Ok(report.verdict.exit_code)
            }
            merge::Merged::Log(log) => {
                output::hand_out(&log.text(), &*log, args.json.as_deref())?;
                Ok(log.exit_code)
            }
        },
        Command::Compare(args) => {
            let comparison = block_on(1, None, compare::compare(&args))?;
            output::hand_out(&compare::text(&comparison), &comparison, args.json.as_deref())?;
            Ok(comparison.exit_code)
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
        anyhow::bail!("say what to do: run, hunt, search, compare or merge; --help says more");
    }
    anyhow::bail!("{}", cli::sentence(error))
}

fn block_on<T>(
    threads: usize,
    metrics: Option<std::net::SocketAddr>,
    work: impl Future<Output = anyhow::Result<T>>,
) -> anyhow::Result<T> {
    self_monitor::runtime(threads, metrics)?.block_on(work)
}

/// Prints the report, writes it, and gives the exit code.
fn hand_out(report: &report::Report, output: &OutputArgs) -> anyhow::Result<u8> {
    let color = output::color(output.json_on_stdout());
    output::hand_out(&report::text(report, color), report, output.json.as_deref())?;
    if let Some(path) = &output.html {
        let page = report::html(report);
        std::fs::write(path, page).with_context(|| format!("--html {} cannot be written", path.display()))?;
    }
    Ok(report.verdict.exit_code)
}
