//! The command line.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

mod compare;
mod merge;
mod search;
mod server;

pub(crate) use compare::CompareArgs;
pub(crate) use merge::MergeArgs;
pub(crate) use search::SearchArgs;
pub(crate) use server::ServerArgs;

use crate::plan::{Arrivals, MAX_RATE, Mix, Objective, Stages, Target};

/// An open-model load generator that finds the blocking calls of the server it drives.
#[derive(Debug, Parser)]
#[command(name = "loadgen", version)]
pub struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Drives a chat server at a planned rate and measures every delivery.
    Run(RunArgs),
    /// Drives a server until its blocking calls show, and names their lines.
    Hunt(HuntArgs),
    /// Finds the highest rate that holds every --slo.
    Search(SearchArgs),
    /// Compares two reports, or two commands run in alternation.
    Compare(CompareArgs),
    /// Adds up the shards of one test.
    Merge(MergeArgs),
    /// Runs the embedded chat server until standard input ends.
    #[command(hide = true, disable_help_flag = true)]
    Serve(ServeArgs),
}

#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// The server to drive: an IRC server, or a page such as http://HOST:PORT/PATH.
    #[arg(long, value_name = "HOST:PORT|URL", value_parser = target)]
    pub(crate) target: String,
    /// The server's telemetry; its findings go into the report.
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
    /// Then looks for the least load under which each finding appears, in further
    /// trials of --duration each.
    #[arg(long, conflicts_with_all = ["command", "stages"])]
    pub(crate) minimise: bool,
    /// Fail, with exit code 1, if anything is found.
    #[arg(long)]
    pub(crate) deny: bool,
    #[command(flatten)]
    pub(crate) load: LoadArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    /// A command that is the load, instead of the generator's own clients; the
    /// environment tells it LOADGEN_TARGET and LOADGEN_TELEMETRY.
    #[arg(last = true)]
    pub(crate) command: Vec<OsString>,
}

#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// Flags of the chat server.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) arguments: Vec<OsString>,
}

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Load")]
pub(crate) struct LoadArgs {
    /// Connections, all open for the whole run.
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(2..=100_000))]
    pub(crate) connections: u32,
    /// Rooms that the connections are spread over.
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=50_000))]
    pub(crate) rooms: u32,
    /// Commands a second, of all connections together.
    #[arg(long, value_name = "MSGS/s", default_value = "200", value_parser = rate)]
    pub(crate) rate: f64,
    /// How long is measured.
    #[arg(long, default_value = "20s", value_parser = positive_duration)]
    pub(crate) duration: Duration,
    /// Rates one after the other, instead of --rate and --duration, such as
    /// 0-500:30s,500:1m; each has its own figures in the report.
    #[arg(long, value_name = "RATE:DURATION,…", conflicts_with_all = ["rate", "duration"])]
    pub(crate) stages: Option<Stages>,
    /// How the due times are spread over a rate.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) arrivals: Arrivals,
    /// Over how long the connecting is spread.
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = duration)]
    pub(crate) ramp: Duration,
    /// How long is waited for deliveries after the last message.
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = positive_duration)]
    pub(crate) drain: Duration,
    /// How long a connection may take until it has joined its room.
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = positive_duration)]
    pub(crate) timeout: Duration,
    /// The run is invalid if the p99 of the generator's own lateness in sending,
    /// or where latency is judged in receiving, is above this [default: a tenth of the tightest latency objective, from 1ms to 10ms].
    #[arg(long, value_name = "DURATION", value_parser = positive_duration)]
    pub(crate) max_send_lag: Option<Duration>,
    /// Extra connections a second that come, join a measured room, stay for half
    /// a second and go; at most 256 at a time.
    #[arg(long, value_name = "RATE", default_value = "0", value_parser = churn)]
    pub(crate) churn: f64,
    /// Length of a message's text; never less than what the measuring needs.
    #[arg(long, value_name = "BYTES", default_value_t = 80)]
    pub(crate) payload: usize,
    /// Seed of senders and commands: the same seed plans the same run.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Commands by weight; of privmsg, join, names, who, whois, topic, list, oper, motd, ping.
    /// Only privmsg is measured; join enters and leaves a scratch room beside it.
    #[arg(long)]
    pub(crate) mix: Option<Mix>,
    /// An objective; repeatable. On latency: p50, p90, p99, p99.9, max; the same
    /// of service., send_lag. and receive_lag.; on numbers or shares: lost,
    /// duplicated, out_of_order, error_replies; on the server's event loop, by
    /// its telemetry: blocking.events, blocking.seconds, blocking.share.
    #[arg(long, value_name = "p99<50ms")]
    pub(crate) slo: Vec<Objective>,
    /// A file of objectives, one a line; `#` begins a comment.
    #[arg(long, value_name = "FILE")]
    pub(crate) slo_file: Option<PathBuf>,
    /// Threads that receive; one more sends.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = threads)]
    pub(crate) threads: usize,
    /// What every nick begins with.
    #[arg(long, value_name = "TEXT", default_value = "lg", value_parser = nick_prefix)]
    pub(crate) nick_prefix: String,
    /// The server's password.
    #[arg(long, value_name = "PASSWORD", value_parser = word)]
    pub(crate) pass: Option<String>,
    /// Operator's login for `oper` of the mix.
    #[arg(long, value_name = "NAME:PASSWORD")]
    pub(crate) oper: Option<Login>,
}

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Output")]
pub(crate) struct OutputArgs {
    /// Writes the report as JSON; `-` is standard output.
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Writes the latencies of each second as an HdrHistogram log (V2).
    #[arg(long, value_name = "FILE")]
    pub(crate) hlog: Option<PathBuf>,
    /// Writes the report as one page, with plots, that needs nothing else.
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
    /// Serves the run's figures, and those of the generator's own loop, to
    /// Prometheus at /metrics while it runs.
    #[arg(long, value_name = "ADDR:PORT")]
    pub(crate) metrics: Option<SocketAddr>,
    /// Shows no progress.
    #[arg(long, short)]
    pub(crate) quiet: bool,
    /// Shows what the embedded server logs.
    #[arg(long, short)]
    pub(crate) verbose: bool,
}

impl OutputArgs {
    /// Whether standard output is taken by the report as JSON.
    pub(crate) fn json_on_stdout(&self) -> bool {
        self.json.as_deref().is_some_and(|path| path == "-")
    }
}

/// A name and a password.
#[derive(Debug, Clone)]
pub(crate) struct Login {
    pub(crate) name: String,
    pub(crate) password: String,
}

impl FromStr for Login {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, password) = text.split_once(':').ok_or("write it as NAME:PASSWORD")?;
        Ok(Self { name: word(name)?, password: word(password)? })
    }
}

fn target(text: &str) -> Result<String, String> {
    text.parse::<Target>().map(|_| text.to_owned())
}

fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|error| format!("{error}; write it such as 500ms, 20s or 2m"))
}

fn positive_duration(text: &str) -> Result<Duration, String> {
    let duration = duration(text)?;
    if duration.is_zero() {
        return Err("it must be longer than nothing".into());
    }
    Ok(duration)
}

fn rate(text: &str) -> Result<f64, String> {
    let rate = churn(text)?;
    if rate == 0.0 {
        return Err("it must be above 0".into());
    }
    Ok(rate)
}

fn churn(text: &str) -> Result<f64, String> {
    let rate: f64 = text.parse().map_err(|_| "it is not a number".to_owned())?;
    if !(0.0..=MAX_RATE).contains(&rate) {
        return Err("it must be between 0 and 1,000,000 a second".into());
    }
    Ok(rate)
}

fn percent(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix('%').and_then(|number| number.trim().parse::<f64>().ok());
    match number.ok_or("write it as a percentage, such as 5%")? {
        number if (0.1..=100.0).contains(&number) => Ok(number / 100.0),
        _ => Err("it must be from 0.1% to 100%".into()),
    }
}

fn threads(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(threads @ 1..=64) => Ok(threads),
        _ => Err("it must be a number from 1 to 64".into()),
    }
}

fn nick_prefix(text: &str) -> Result<String, String> {
    let letter_first = text.starts_with(|first: char| first.is_ascii_alphabetic());
    if letter_first && text.len() <= 16 && text.chars().all(|c| c.is_ascii_alphanumeric()) {
        return Ok(text.to_owned());
    }
    Err("it must be up to 16 letters and digits, a letter first".into())
}

/// One parameter of a protocol line: nothing that could end it or the line.
fn word(text: &str) -> Result<String, String> {
    if text.is_empty() || text.starts_with(':') || text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err("names and passwords must not be empty, have blanks, or begin with a colon".into());
    }
    Ok(text.to_owned())
}

/// What is wrong with the command line, in one sentence.
pub(crate) fn sentence(error: &clap::Error) -> String {
    let text = error.to_string();
    let paragraph = text.split("\n\n").next().unwrap_or_default();
    let words: Vec<_> = paragraph.split_whitespace().collect();
    words.join(" ").trim_start_matches("error: ").to_owned()
}
