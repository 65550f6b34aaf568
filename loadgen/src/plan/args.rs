//! The flags that a plan is made of.

use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::Args;

use super::accounts::{Account, Accounts};
use super::duration::{parse_duration, parse_positive_duration};
use super::mix::Mix;
use super::objective::Objective;
use super::schedule::Arrivals;
use super::stages::{MAX_RATE, Stages};
use super::storm::Storm;
use super::target::Target;

/// How many channels there are by default.
const DEFAULT_ROOMS: u32 = 50;

/// How many visitors may be connected at a time. While this many are connected,
/// further visitors are skipped, so that the generator does not collect more
/// and more connections if the target stalls.
pub(crate) const MAX_VISITORS: usize = 256;

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Load")]
pub(crate) struct LoadArgs {
    /// Connections, all open for the whole run.
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(2..=100_000))]
    pub(crate) connections: u32,
    /// Channels that the connections are spread over [default: 50, or half of
    /// the connections if that is less].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=50_000))]
    pub(crate) rooms: Option<u32>,
    /// Commands per second, of all connections together.
    #[arg(long, value_name = "MSGS/s", default_value = "200", value_parser = parse_positive_rate)]
    pub(crate) rate: f64,
    /// How long to measure.
    #[arg(long, default_value = "20s", value_parser = parse_positive_duration)]
    pub(crate) duration: Duration,
    /// A sequence of rates instead of --rate and --duration, such as
    /// 0-500:30s,500:1m; each stage has its own figures in the report.
    #[arg(long, value_name = "RATE:DURATION,…", conflicts_with_all = ["rate", "duration"])]
    pub(crate) stages: Option<Stages>,
    /// How the due times are distributed.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) arrivals: Arrivals,
    /// The time during which the connections are opened.
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = parse_duration)]
    pub(crate) ramp: Duration,
    /// How long to wait for deliveries after the last message.
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = parse_positive_duration)]
    pub(crate) drain: Duration,
    /// How long a connection may take to join its channel.
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = parse_positive_duration)]
    pub(crate) timeout: Duration,
    /// Limit of the p99 of the generator's send lag: a run above it is invalid.
    /// With a latency objective, or if this flag is given, the receive lag has
    /// the same limit
    /// [default: a tenth of the tightest latency objective, from 1ms to 10ms].
    #[arg(long, value_name = "DURATION", value_parser = parse_positive_duration)]
    pub(crate) max_send_lag: Option<Duration>,
    /// Visitors per second: extra connections that join a measured channel,
    /// stay for half a second and leave; at most 256 at a time.
    #[arg(long, value_name = "RATE", default_value = "0", value_parser = parse_rate)]
    pub(crate) churn: f64,
    /// Reconnect storms: so often, this part of the connections drops at once
    /// and logs in again, such as 5s:20%. These connections receive and do not
    /// send; the latency of their logins counts from the storm.
    #[arg(long, value_name = "EVERY:PERCENT")]
    pub(crate) storm: Option<Storm>,
    /// Length of a message's text. A text is never shorter than the data that
    /// the measurement needs: a smaller value has no effect.
    #[arg(long, value_name = "BYTES", default_value_t = 80)]
    pub(crate) payload: usize,
    /// Seed of senders and commands: the same seed gives the same plan.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Commands by weight, from privmsg, join, names, who, whois, topic, list,
    /// oper, motd, chathistory, ping. Only privmsg is measured; join joins and
    /// leaves a separate scratch channel [default: privmsg:90,join:5,who:5; for
    /// hunt and search
    /// privmsg:180,join:6,names:4,who:4,topic:2,oper:2,whois:1,motd:1, and
    /// chathistory:1 for the embedded server].
    #[arg(long, value_name = "COMMAND:WEIGHT,…")]
    pub(crate) mix: Option<Mix>,
    /// An objective, such as p99<50ms; repeatable. For latency: p50, p90, p99,
    /// p99.9, max, and the same with the prefix service., login., send_lag. or
    /// receive_lag.; for counts or shares: lost, duplicated, out_of_order,
    /// error_replies, which are also the answers of a web server with a status
    /// from 400 on; for the server's event loop, with --telemetry:
    /// blocking.events, blocking.seconds, blocking.share.
    #[arg(long, value_name = "p99<50ms")]
    pub(crate) slo: Vec<Objective>,
    /// A file of objectives, one per line; `#` begins a comment.
    #[arg(long, value_name = "FILE")]
    pub(crate) slo_file: Option<PathBuf>,
    /// The local addresses that the connections come from in turn, such as
    /// 127.0.0.2,127.0.0.3 [default: chosen by the system; on loopback one
    /// address for each 10,000 connections].
    #[arg(long, value_name = "ADDRESS,…", value_delimiter = ',')]
    pub(crate) from: Vec<IpAddr>,
    /// Threads that receive; one more thread sends.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = parse_threads)]
    pub(crate) threads: usize,
    /// The beginning of every nick.
    #[arg(long, value_name = "TEXT", default_value = "lg", value_parser = parse_nick_prefix)]
    pub(crate) nick_prefix: String,
    /// The server's password.
    #[arg(long, value_name = "PASSWORD", value_parser = parse_word)]
    pub(crate) pass: Option<String>,
    /// Use HTTP/2 instead of HTTP/1.1: with https:// as agreed in the TLS
    /// handshake, with http:// without asking.
    #[arg(long)]
    pub(crate) http2: bool,
    /// Requests that each HTTP/2 connection has in progress at most.
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=1000), requires = "http2")]
    pub(crate) streams: u16,
    /// Log in with SASL PLAIN; `{n}` is the number of the connection, such as
    /// load{n}:secret.
    #[arg(long, value_name = "NAME:PASSWORD", conflicts_with = "sasl_file")]
    pub(crate) sasl: Option<Account>,
    /// A file of accounts for SASL PLAIN, one NAME:PASSWORD per line: one for
    /// each connection, in turn.
    #[arg(long, value_name = "FILE")]
    pub(crate) sasl_file: Option<PathBuf>,
    /// Verify the target's certificate with the certificates of this PEM file
    /// instead of those of the system; for a target such as ircs://HOST:6697 or
    /// https://HOST/.
    #[arg(long, value_name = "FILE", conflicts_with = "insecure")]
    pub(crate) tls_ca: Option<PathBuf>,
    /// Accept any certificate of the target.
    #[arg(long)]
    pub(crate) insecure: bool,
    /// The name that the target's certificate must have, and that the target is
    /// asked for [default: the host of the target].
    #[arg(long, value_name = "NAME")]
    pub(crate) tls_name: Option<String>,
    /// Resume TLS sessions, so that only the first handshakes are full ones.
    #[arg(long)]
    pub(crate) tls_resume: bool,
    /// The operator login for `oper` of the mix.
    #[arg(long, value_name = "NAME:PASSWORD")]
    pub(crate) oper: Option<Login>,
}

impl LoadArgs {
    /// Returns the number of channels.
    pub(crate) fn rooms(&self) -> u32 {
        self.rooms.unwrap_or_else(|| DEFAULT_ROOMS.min(self.connections / 2))
    }

    /// Returns the accounts of the connections.
    ///
    /// # Errors
    ///
    /// If there are some and the target is a web server, or the file of
    /// accounts cannot be read.
    pub(super) fn accounts(&self, is_web: bool) -> anyhow::Result<Accounts> {
        if is_web && (self.sasl.is_some() || self.sasl_file.is_some()) {
            anyhow::bail!("--sasl and --sasl-file need an IRC target");
        }
        match (&self.sasl, &self.sasl_file) {
            (Some(account), _) => Ok(Accounts::new(account.clone())),
            (None, Some(path)) => Accounts::read_file(path),
            (None, None) => Ok(Accounts::default()),
        }
    }

    /// Checks that `storm` is possible in a run of this duration.
    pub(super) fn check_storm(&self, is_web: bool, storm: Storm, duration: Duration) -> anyhow::Result<()> {
        if is_web {
            anyhow::bail!("--storm needs an IRC target, because a web target has no login");
        }
        if storm.every >= duration {
            anyhow::bail!(
                "--storm {} is not shorter than the run of {}, so there would be no storm",
                humantime::format_duration(storm.every),
                humantime::format_duration(duration)
            );
        }
        Ok(())
    }

    /// Returns the options of TLS.
    ///
    /// # Errors
    ///
    /// If there are some, and the target has no TLS.
    pub(super) fn tls(&self, target_has_tls: bool) -> anyhow::Result<TlsOptions> {
        let given = [
            ("--tls-ca", self.tls_ca.is_some()),
            ("--insecure", self.insecure),
            ("--tls-name", self.tls_name.is_some()),
            ("--tls-resume", self.tls_resume),
        ];
        if let Some((flag, _)) = given.into_iter().find(|&(_, is_given)| is_given && !target_has_tls) {
            anyhow::bail!("{flag} needs a target with TLS, such as ircs://HOST:6697 or https://HOST/");
        }
        Ok(TlsOptions {
            ca: self.tls_ca.clone(),
            is_insecure: self.insecure,
            name: self.tls_name.clone(),
            resume: self.tls_resume,
            is_http2: self.http2,
        })
    }

    /// Returns [`MAX_VISITORS`], or 0 if the load has no visitors.
    pub(crate) const fn max_visitors(&self) -> u64 {
        if self.churn > 0.0 { MAX_VISITORS as u64 } else { 0 }
    }
}

/// How the connections use TLS, for a target that has it.
#[derive(Debug, Clone, Default)]
pub(crate) struct TlsOptions {
    /// The file of the certificates that the target is verified with; `None`
    /// for those of the system.
    pub(crate) ca: Option<PathBuf>,
    /// Whether any certificate is accepted.
    pub(crate) is_insecure: bool,
    /// The name of the target; `None` for the host that it is reached at.
    pub(crate) name: Option<String>,
    /// Whether sessions are resumed.
    pub(crate) resume: bool,
    /// Whether a web target must speak HTTP/2.
    pub(crate) is_http2: bool,
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
        Ok(Self { name: parse_word(name)?, password: parse_word(password)? })
    }
}

pub(crate) fn parse_target(text: &str) -> Result<String, String> {
    text.parse::<Target>().map(|_| text.to_owned())
}

pub(crate) fn parse_positive_rate(text: &str) -> Result<f64, String> {
    let rate = parse_rate(text)?;
    if rate == 0.0 {
        return Err("it must be above 0".into());
    }
    Ok(rate)
}

fn parse_rate(text: &str) -> Result<f64, String> {
    let rate: f64 = text.parse().map_err(|_| "it is not a number".to_owned())?;
    if !(0.0..=MAX_RATE).contains(&rate) {
        return Err("it must be between 0 and 1,000,000 per second".into());
    }
    Ok(rate)
}

pub(crate) fn parse_percent(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix('%').and_then(|number| number.trim().parse::<f64>().ok());
    match number.ok_or("write it as a percentage, such as 5%")? {
        number if (0.1..=100.0).contains(&number) => Ok(number / 100.0),
        _ => Err("it must be from 0.1% to 100%".into()),
    }
}

fn parse_threads(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(threads @ 1..=64) => Ok(threads),
        _ => Err("it must be a number from 1 to 64".into()),
    }
}

fn parse_nick_prefix(text: &str) -> Result<String, String> {
    let letter_first = text.starts_with(|first: char| first.is_ascii_alphabetic());
    if letter_first && text.len() <= 16 && text.chars().all(|c| c.is_ascii_alphanumeric()) {
        return Ok(text.to_owned());
    }
    Err("it must have at most 16 characters, only letters and digits, and begin with a letter".into())
}

/// Parses one parameter of a protocol line: nothing in it may end the parameter
/// or the line.
fn parse_word(text: &str) -> Result<String, String> {
    if text.is_empty() || text.starts_with(':') || text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err("a name or password must not be empty, have blanks, or begin with a colon".into());
    }
    Ok(text.to_owned())
}
