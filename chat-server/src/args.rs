//! The flags as they were given.

/// An IRC chat server on a few threads, watched by loopscope.
///
/// Flags are kept as text here; what they mean, and what is wrong with them, says
/// [`Config`](crate::Config).
#[derive(Debug, Clone, clap::Parser)]
#[command(name = "chat-server", version, about)]
pub struct Args {
    /// Where clients connect; port 0 takes any free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:6667")]
    pub listen: String,
    /// Where loopscope serves metrics and findings, or `off`
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9464")]
    pub telemetry: String,
    /// Serve tokio-console, at 127.0.0.1:6669 unless an address is given
    #[arg(long, value_name = "ADDRESS", num_args = 0..=1, default_missing_value = "127.0.0.1:6669")]
    pub console: Option<String>,
    /// Threads of the event loop [default: one per core]
    #[arg(long, value_name = "N")]
    pub workers: Option<String>,
    /// How long a task may hold its thread before loopscope reports it
    #[arg(long, value_name = "DURATION", default_value = "10ms")]
    pub threshold: String,
    /// What the server calls itself
    #[arg(long, value_name = "NAME", default_value = "chat.localhost")]
    pub server_name: String,
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
    /// Connections at one time
    #[arg(long, value_name = "N", default_value = "10000")]
    pub max_connections: String,
    /// Lines a second that one client may send in the long run, or `off`
    #[arg(long, value_name = "N/s|off", default_value = "50/s")]
    pub flood_limit: String,
    /// Make a mistake: sleep, history, password, filter, resolve, lock, channel, child, upstream or all; may be
    /// repeated
    #[arg(long, value_name = "SITE[=DURATION][@PERCENT%]")]
    pub inject: Vec<String>,
}
