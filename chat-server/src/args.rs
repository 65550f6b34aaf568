//! The flags, as text.

const AFTER_HELP: &str = "SIGTERM or Ctrl-C stops the server after it has delivered all accepted messages. \
                          A second signal stops it at once. Exit code 2 means that it could not start.";

/// An IRC chat server on a few threads, monitored by loopscope.
///
/// This type keeps the flags as text. [`Config`](crate::Config) checks them.
#[derive(Debug, Clone, clap::Parser)]
#[command(name = "chat-server", version, about, long_about = None, after_help = AFTER_HELP)]
#[non_exhaustive]
pub struct Args {
    /// Read settings from a TOML file; its keys are the names of these flags,
    /// and a flag overrides the file
    #[arg(long, value_name = "FILE")]
    pub config: Option<String>,
    /// Check the flags and the file, then exit
    #[arg(long)]
    pub check: bool,
    /// Address for clients; port 0 picks a free port [default: 127.0.0.1:6667]
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<String>,
    /// Address for loopscope's metrics and findings, or `off` [default:
    /// 127.0.0.1:9464]
    #[arg(long, value_name = "ADDRESS")]
    pub telemetry: Option<String>,
    /// Serve tokio-console, at 127.0.0.1:6669 unless an address is given
    #[arg(long, value_name = "ADDRESS", num_args = 0..=1, default_missing_value = "127.0.0.1:6669")]
    pub console: Option<String>,
    /// Worker threads of the event loop [default: one per core]
    #[arg(long, value_name = "N")]
    pub workers: Option<String>,
    /// Time after which loopscope reports a task that holds its thread
    /// [default: 10ms]
    #[arg(long, value_name = "DURATION")]
    pub threshold: Option<String>,
    /// Name of the server [default: chat.localhost]
    #[arg(long, value_name = "NAME")]
    pub server_name: Option<String>,
    /// Password that clients must send (PASS)
    #[arg(long, value_name = "PASSWORD")]
    pub password: Option<String>,
    /// Name and password of the operator (OPER)
    #[arg(long, value_name = "NAME:PASSWORD")]
    pub oper: Option<String>,
    /// File with the message of the day
    #[arg(long, value_name = "FILE")]
    pub motd: Option<String>,
    /// Directory of the channel history [default: a temporary directory,
    /// removed at the end]
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<String>,
    /// Maximum number of connections [default: 10000]
    #[arg(long, value_name = "N")]
    pub max_connections: Option<String>,
    /// Sustained rate of lines that one client may send, or `off` [default:
    /// 50/s]
    #[arg(long, value_name = "N/s|off")]
    pub flood_limit: Option<String>,
    /// Make a mistake that blocks the event loop: sleep, history, password,
    /// filter, resolve, lock, channel, child, upstream, chathistory or all; may
    /// be repeated
    #[arg(long, value_name = "SITE[=DURATION][@PERCENT%]")]
    pub inject: Vec<String>,
}
