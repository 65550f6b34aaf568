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
    /// Address for clients with TLS [default: 127.0.0.1:6697, if there is a
    /// certificate]
    #[arg(long, value_name = "ADDRESS")]
    pub tls_listen: Option<String>,
    /// File with the certificate for TLS and its chain, in PEM; SIGHUP and
    /// REHASH read it again
    #[arg(long, value_name = "FILE")]
    pub tls_certificate: Option<String>,
    /// File with the private key of the certificate, in PEM
    #[arg(long, value_name = "FILE")]
    pub tls_key: Option<String>,
    /// Try TLS with a certificate that the server creates in --data-dir
    #[arg(long)]
    pub tls_self_signed: bool,
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
    /// Directory of the channel history and the accounts [default: a temporary
    /// directory, removed at the end]
    #[arg(long, value_name = "DIR", global = true)]
    pub data_dir: Option<String>,
    /// Maximum number of connections [default: 10000]
    #[arg(long, value_name = "N")]
    pub max_connections: Option<String>,
    /// Sustained rate of lines that one client may send, or `off` [default:
    /// 50/s]
    #[arg(long, value_name = "N/s|off")]
    pub flood_limit: Option<String>,
    /// Log-in to accounts with SASL PLAIN: off, optional or required; with
    /// `required`, clients must log in [default: optional]
    #[arg(long, value_name = "USE")]
    pub sasl: Option<String>,
    /// Where clients may log in without TLS: loopback (only on the same
    /// machine) or anywhere [default: loopback]
    #[arg(long, value_name = "WHERE")]
    pub sasl_without_tls: Option<String>,
    /// Accounts that clients of one address may register per hour (REGISTER),
    /// or `off` [default: 5/h]
    #[arg(long, value_name = "N/h|off")]
    pub account_registration: Option<String>,
    /// Make a mistake that blocks the event loop: sleep, history, password,
    /// filter, resolve, lock, channel, child, upstream, certificate,
    /// chathistory or all; may be repeated
    #[arg(long, value_name = "SITE[=DURATION][@PERCENT%]")]
    pub inject: Vec<String>,
    /// What to do instead of running the server
    #[command(subcommand)]
    pub command: Option<ArgsCommand>,
}

/// What the program does instead of running the server.
#[derive(Debug, Clone, clap::Subcommand)]
#[non_exhaustive]
pub enum ArgsCommand {
    /// Manage the accounts in --data-dir; a running server notices it
    #[command(subcommand)]
    Account(AccountCommand),
}

/// What to do with accounts.
#[derive(Debug, Clone, clap::Subcommand)]
#[non_exhaustive]
pub enum AccountCommand {
    /// Add an account; the password is the first line of stdin
    Add {
        /// Name of the account
        name: String,
    },
    /// Print the name and the time of creation of each account
    List,
    /// Remove an account; clients that are logged in stay so
    Remove {
        /// Name of the account
        name: String,
    },
}
