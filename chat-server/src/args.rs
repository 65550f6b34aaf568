//! The flags as they were given.

const AFTER_HELP: &str = "SIGTERM or Ctrl-C: what was accepted is delivered, then it ends; a second time ends it at once. \
                     Exit code 2: it could not start.";

/// An IRC chat server on a few threads, watched by loopscope.
///
/// Flags are kept as text here; what they mean, and what is wrong with them, says
/// [`Config`](crate::Config).
#[derive(Debug, Clone, clap::Parser)]
#[command(name = "chat-server", version, about, long_about = None, after_help = AFTER_HELP)]
#[non_exhaustive]
pub struct Args {
    /// Settings in TOML, under the names of these flags; a flag wins over the file
    #[arg(long, value_name = "FILE")]
    pub config: Option<String>,
    /// Only say whether the flags and the file are right
    #[arg(long)]
    pub check: bool,
    /// Where clients connect; port 0 takes any free one [default: 127.0.0.1:6667]
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<String>,
    /// Where loopscope serves metrics and findings, or `off` [default: 127.0.0.1:9464]
    #[arg(long, value_name = "ADDRESS")]
    pub telemetry: Option<String>,
    /// Serve tokio-console, at 127.0.0.1:6669 unless an address is given
    #[arg(long, value_name = "ADDRESS", num_args = 0..=1, default_missing_value = "127.0.0.1:6669")]
    pub console: Option<String>,
    /// Threads of the event loop [default: one per core]
    #[arg(long, value_name = "N")]
    pub workers: Option<String>,
    /// How long a task may hold its thread before loopscope reports it [default: 10ms]
    #[arg(long, value_name = "DURATION")]
    pub threshold: Option<String>,
    /// What the server calls itself [default: chat.localhost]
    #[arg(long, value_name = "NAME")]
    pub server_name: Option<String>,
    /// The password that clients need (PASS)
    #[arg(long, value_name = "PASSWORD")]
    pub password: Option<String>,
    /// Who may become operator (OPER)
    #[arg(long, value_name = "NAME:PASSWORD")]
    pub oper: Option<String>,
    /// The message of the day
    #[arg(long, value_name = "FILE")]
    pub motd: Option<String>,
    /// Where channel logs are kept [default: a directory of its own, removed at the end]
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<String>,
    /// Connections at one time [default: 10000]
    #[arg(long, value_name = "N")]
    pub max_connections: Option<String>,
    /// Lines a second that one client may send in the long run, or `off` [default: 50/s]
    #[arg(long, value_name = "N/s|off")]
    pub flood_limit: Option<String>,
    /// Make a mistake: sleep, history, password, filter, resolve, lock, channel, child, upstream or all; may be
    /// repeated
    #[arg(long, value_name = "SITE[=DURATION][@PERCENT%]")]
    pub inject: Vec<String>,
}
