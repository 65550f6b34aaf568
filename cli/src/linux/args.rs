//! The command line.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ColorChoice, Parser, Subcommand};
use loopscope::attach::Registers;

/// 100 days.
const MAX_DURATION_SECONDS: f64 = 100.0 * 86_400.0;

const AFTER_HELP: &str = "\
Exit codes:
  0    the command did its work; `run` returns the exit code of its command
  2    it could not: one sentence on stderr says why

Environment:
  NO_COLOR  if set, no colours, unless --color says otherwise
  COLUMNS   the width of the text, unless --width says otherwise";

const PS_AFTER_HELP: &str = "\
Examples:
  loopscope ps 4711                  what process 4711 does now
  loopscope ps chat-server           the one process of this name
  loopscope ps --tree 4711           what each task waits for, with the chain of awaits
  loopscope ps --watch 2 4711        again every 2 seconds
  loopscope ps --json 4711 | jq '.tasks | length'

What is read:
  The memory of the process, its files in /proc, and the program, its libraries and
  their debug information. The process is neither stopped nor changed, and needs no
  change: it only has to use Tokio 1.32 or later. What was not read, or what changed
  meanwhile, is said at the end.

  Names need symbols. Chains of awaits need full debug information (`debug = \"full\"`
  in the profile) in the program or in a separate file.

Exit codes:
  0    the state was printed
  2    the process cannot be read: one sentence on stderr says why";

const ATTACH_AFTER_HELP: &str = "\
Examples:
  loopscope attach 4711                               until Ctrl-C
  loopscope attach --duration 60s --json chat-server  for a script
  loopscope attach --telemetry 127.0.0.1:9464 4711    with the live page, for Prometheus

How it finds a stall:
  It looks at each thread with an event loop four times in a threshold, at intervals of
  1 ms to 50 ms. The kernel shows whether the thread has run in between, and the stack
  whether it is in the same poll. The process is not stopped. All figures are sampled:
  short polls are not seen, and a duration is a lower bound.

Exit codes:
  0    it has watched, whether or not something was found
  2    the process cannot be read: one sentence on stderr says why";

const RUN_AFTER_HELP: &str = "\
Examples:
  loopscope run --ps-after 30s -- ./server --port 80
  loopscope run -- ./server &  then  kill -QUIT $!

The command gets the same standard streams and environment. What loopscope prints goes
to stderr. SIGTERM, SIGHUP and SIGINT are passed on. SIGQUIT to loopscope prints what
the command does, as `loopscope ps` prints it. Ctrl-C and Ctrl-\\ on a terminal reach
the command itself, as without loopscope.

--json prints the document of --ps-after and of SIGQUIT as JSON to stderr. Findings are
text. If the command cannot be watched, one sentence on stderr says why, and the command
runs on.

A process may always read its children under kernel.yama.ptrace_scope = 1.

Exit codes:
  that of the command, also if it is not watched; 128 + N if signal N ended it
  2    the command could not be started";

/// Shows what a running Tokio process does, without a change to it.
#[derive(Debug, Parser)]
#[command(name = "loopscope", version, after_help = AFTER_HELP)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Shows the runtimes, threads and tasks of a process.
    #[command(after_help = PS_AFTER_HELP)]
    Ps(PsArgs),
    /// Watches a process: finds what blocks its event loops, while it does.
    #[command(after_help = ATTACH_AFTER_HELP)]
    Attach(AttachArgs),
    /// Starts a command, watches it, and shows what it does.
    #[command(after_help = RUN_AFTER_HELP)]
    Run(RunArgs),
}

#[derive(Debug, clap::Args)]
pub(crate) struct PsArgs {
    /// The id of the process, or the name of its program if only one process of
    /// this user has it.
    #[arg(value_name = "PID|NAME")]
    pub(crate) process: String,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    /// How the line of a thread that computes is read: not at all, by a sample
    /// of the kernel's profiler, or by a short stop of the thread where the
    /// kernel refuses samples.
    #[arg(long, value_name = "HOW", default_value = "sample")]
    pub(crate) registers: RegistersArg,
    /// Read again every so many seconds, until the process ends.
    #[arg(long, value_name = "SECONDS", value_parser = parse_seconds)]
    pub(crate) watch: Option<Duration>,
    #[command(flatten)]
    pub(crate) reading: ReadingArgs,
}

#[derive(Debug, clap::Args)]
pub(crate) struct AttachArgs {
    /// The id of the process, or the name of its program if only one process of
    /// this user has it.
    #[arg(value_name = "PID|NAME")]
    pub(crate) process: String,
    /// How long to watch, such as 30s. Default: until the process ends, or
    /// Ctrl-C.
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub(crate) duration: Option<Duration>,
    #[command(flatten)]
    pub(crate) watch: WatchArgs,
    /// Print all findings as a JSON document (schema loopscope.findings/1) to
    /// stdout at the end.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) reading: ReadingArgs,
}

/// What a watch looks for, and where it is served.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct WatchArgs {
    /// Report polls that block their thread for this time or longer: 1ms to
    /// 60s.
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, default_value = "10ms")]
    pub(crate) threshold: Duration,
    /// Serve the live page, metrics, findings and profiles of the process at
    /// this address, such as 127.0.0.1:9464; port 0 picks a free port.
    #[arg(long, value_name = "ADDRESS", value_parser = parse_address)]
    pub(crate) telemetry: Option<SocketAddr>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    pub(crate) watch: WatchArgs,
    /// Print what the command does after this time, such as 30s.
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub(crate) ps_after: Option<Duration>,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    #[command(flatten)]
    pub(crate) reading: ReadingArgs,
    /// The command and its arguments.
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub(crate) command: Vec<OsString>,
}

/// How the state of a process is printed.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct OutputArgs {
    /// Print the chain of awaits of each task. Tasks with the same chain are
    /// one group.
    #[arg(long)]
    pub(crate) tree: bool,
    /// Print each task, and every group, without a limit.
    #[arg(long)]
    pub(crate) all: bool,
    /// Print a JSON document (schema loopscope.ps/1).
    #[arg(long, conflicts_with_all = ["tree", "all"])]
    pub(crate) json: bool,
    /// Whether the text has colours.
    #[arg(long, value_name = "WHEN", default_value_t = ColorChoice::Auto)]
    pub(crate) color: ColorChoice,
    /// The width of the text in columns. Default: that of the terminal.
    #[arg(long, value_name = "COLUMNS", value_parser = clap::value_parser!(u16).range(40..=1_000))]
    pub(crate) width: Option<u16>,
}

/// How the registers of a thread that computes are read.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub(crate) enum RegistersArg {
    Passive,
    Sample,
    Interrupt,
}

impl From<RegistersArg> for Registers {
    fn from(arg: RegistersArg) -> Self {
        match arg {
            RegistersArg::Passive => Self::Passive,
            RegistersArg::Sample => Self::Sample,
            RegistersArg::Interrupt => Self::Interrupt,
        }
    }
}

/// How a process is read.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct ReadingArgs {
    /// Read with the usual priority. Otherwise loopscope lowers its own to
    /// nice 10.
    #[arg(long)]
    pub(crate) no_nice: bool,
    /// A file with the debug information of a stripped program, or a folder
    /// laid out as /usr/lib/debug. The file must have the build id of the
    /// program.
    #[arg(long, value_name = "PATH")]
    pub(crate) debug_info: Option<PathBuf>,
}

/// Returns the error in the command line as one sentence, without the usage.
pub(crate) fn sentence(error: &clap::Error) -> String {
    let text = error.to_string();
    let paragraphs = text.split("\n\n").take_while(|paragraph| !paragraph.starts_with("Usage:"));
    let words = paragraphs.flat_map(str::split_whitespace).collect::<Vec<_>>().join(" ");
    let sentence = words.trim_start_matches("error: ");
    let sentence = sentence.split(" For more information").next().unwrap_or_default();
    sentence.replace(" tip: ", ": ")
}

/// Returns what is wrong with a `run` whose command is not behind `--`.
pub(crate) fn missing_dashes(arguments: &[OsString]) -> Option<String> {
    let is_run = arguments.get(1).is_some_and(|word| word == "run");
    let has_dashes = arguments.iter().any(|word| word == "--");
    (is_run && !has_dashes).then(|| {
        "the command is missing: write it after `--`, such as `loopscope run -- ./server --port 80`"
            .to_owned()
    })
}

fn parse_address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| "give an IP address and a port, such as 127.0.0.1:9464".to_owned())
}

fn parse_seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.strip_suffix('s').unwrap_or(text).parse::<f64>().ok();
    let seconds = seconds.filter(|seconds| (0.1..=86_400.0).contains(seconds));
    seconds.map(Duration::from_secs_f64).ok_or_else(|| "give seconds from 0.1 to 86400".to_owned())
}

fn parse_duration(text: &str) -> Result<Duration, String> {
    let error = || "give a duration such as 500ms, 30s or 5min, of at most 100 days".to_owned();
    let unit_at = text.find(|c: char| c.is_ascii_alphabetic()).ok_or_else(error)?;
    let (number, unit) = text.split_at(unit_at);
    let unit_seconds = match unit {
        "ms" => 0.001,
        "s" => 1.0,
        "min" | "m" => 60.0,
        "h" => 3_600.0,
        _ => return Err(error()),
    };
    let seconds = number.parse::<f64>().map_err(|_| error())? * unit_seconds;
    if (0.0..=MAX_DURATION_SECONDS).contains(&seconds) {
        Ok(Duration::from_secs_f64(seconds))
    } else {
        Err(error())
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn durations_have_a_unit_and_a_limit() {
        assert_eq!(parse_duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse_duration("1.5s"), Ok(Duration::from_millis(1_500)));
        assert_eq!(parse_duration("5min"), Ok(Duration::from_secs(300)));
        for text in ["", "5", "s", "-1s", "1e9h", "nans", "infs", "5 days", "ö"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
        assert_eq!(parse_seconds("2"), Ok(Duration::from_secs(2)));
        assert_eq!(parse_seconds("0.5s"), Ok(Duration::from_millis(500)));
        for text in ["", "0", "-1", "nan", "inf", "1e6"] {
            assert!(parse_seconds(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_wrong_command_line_is_one_sentence_with_the_right_word() {
        let sentence = |arguments: &[&str]| sentence(&Args::try_parse_from(arguments).unwrap_err());
        assert_eq!(
            sentence(&["loopscope", "pss", "7"]),
            "unrecognized subcommand 'pss': a similar subcommand exists: 'ps'"
        );
        assert_eq!(
            sentence(&["loopscope", "ps", "--tre", "7"]),
            "unexpected argument '--tre' found: a similar argument exists: '--tree'"
        );
        assert!(
            sentence(&["loopscope", "ps", "--watch", "0", "7"]).contains("give seconds from 0.1 to 86400")
        );
        assert!(sentence(&["loopscope", "ps", "--json", "--tree", "7"]).contains("cannot be used with"));
        let address = sentence(&["loopscope", "attach", "--telemetry", "9464", "7"]);
        assert!(address.ends_with("give an IP address and a port, such as 127.0.0.1:9464"), "{address}");
    }

    #[test]
    fn a_command_without_dashes_before_it_is_said() {
        let missing = |words: &[&str]| missing_dashes(&words.iter().map(OsString::from).collect::<Vec<_>>());
        assert!(missing(&["loopscope", "run", "sleep", "1"]).is_some_and(|text| text.contains("after `--`")));
        assert!(missing(&["loopscope", "run"]).is_some());
        assert_eq!(missing(&["loopscope", "run", "--bad", "--", "sleep"]), None);
        assert_eq!(missing(&["loopscope", "ps"]), None);
    }
}
