//! The plan of a run: flags checked and completed.

mod accounts;
mod args;
mod duration;
mod mix;
mod objective;
mod rng;
mod schedule;
mod stages;
mod storm;
mod target;

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

pub(crate) use accounts::{Account, Accounts};
pub(crate) use args::{
    LoadArgs, Login, MAX_VISITORS, TlsOptions, parse_percent, parse_positive_rate, parse_target,
};
pub(crate) use duration::{MAX_DURATION, parse_duration};
pub(crate) use mix::{Action, Mix};
pub(crate) use objective::{Metric, Objective, Quantile, Unit};
pub(crate) use rng::Rng;
pub(crate) use schedule::{Arrivals, Due, Schedule};
pub(crate) use stages::{Stages, nanoseconds};
pub(crate) use storm::Storm;
pub(crate) use target::Target;

/// The longest payload: with prefix, channel and line end it fits into the 512
/// bytes that the protocol allows for a line.
const MAX_PAYLOAD_BYTES: usize = 400;

/// Time between joining and measuring, in which the traffic of the joins ends.
const SETTLE_TIME: Duration = Duration::from_millis(500);

/// The settings of a load test, checked against each other.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// `HOST:PORT` of the server.
    pub(crate) target: String,
    /// Number of connections that measure the deliveries.
    pub(crate) connections: usize,
    /// Number of channels that the connections are spread over.
    pub(crate) channels: usize,
    /// Commands per second, of all connections together, over the run.
    pub(crate) stages: Stages,
    /// How the due times are distributed.
    pub(crate) arrivals: Arrivals,
    /// The time over which connecting is spread.
    pub(crate) ramp: Duration,
    /// The time between joining and measuring.
    pub(crate) settle: Duration,
    /// How long to wait for deliveries after the last message.
    pub(crate) drain: Duration,
    /// How long a connection may take until it is ready.
    pub(crate) timeout: Duration,
    /// The p99 of the send lag above which the run is invalid, because the
    /// generator was late and not the server.
    pub(crate) max_send_lag: Duration,
    /// The p99 of the receive lag above which the run is invalid:
    /// `max_send_lag` if there is a latency objective or `--max-send-lag` is
    /// given, and unlimited otherwise.
    pub(crate) max_receive_lag: Duration,
    /// Visitors per second: extra connections that join and leave again.
    pub(crate) churn: f64,
    /// Where the visitors connect; `None` for the target. It is a server that
    /// the generator has started, so its certificate is not verified.
    pub(crate) visitor_target: Option<Target>,
    /// The reconnect storms.
    pub(crate) storm: Option<Storm>,
    /// Number of further connections, which reconnect in storms.
    pub(crate) storm_clients: usize,
    /// The length of a message's text, in bytes.
    pub(crate) payload_bytes: usize,
    /// The seed of senders and commands.
    pub(crate) seed: u64,
    /// The commands and their weights.
    pub(crate) mix: Mix,
    /// The objectives.
    pub(crate) objectives: Vec<Objective>,
    /// The file that gets the latencies of each second.
    pub(crate) hlog: Option<PathBuf>,
    /// Number of threads that receive.
    pub(crate) threads: usize,
    /// The local addresses that the connections come from in turn; empty if the
    /// system chooses them.
    pub(crate) from: Vec<IpAddr>,
    /// How many requests an HTTP/2 connection has in progress at most; `None`
    /// for HTTP/1.1.
    pub(crate) http2_streams: Option<usize>,
    /// The beginning of every nick.
    pub(crate) nick_prefix: String,
    /// The server's password.
    pub(crate) pass: Option<String>,
    /// The accounts that the connections log in with.
    pub(crate) accounts: Accounts,
    /// How the connections use TLS, if the target has it.
    pub(crate) tls: TlsOptions,
    /// Name and password for `OPER`.
    pub(crate) oper: Option<Login>,
}

impl Plan {
    /// Checks the flags against each other and fills in the defaults that
    /// depend on several flags.
    pub(crate) fn new(target: String, args: LoadArgs, default_mix: &str) -> anyhow::Result<Self> {
        let storm_clients = args.storm.map_or(0, |storm| storm.clients(args.connections));
        let connections = usize::try_from(args.connections)?.saturating_sub(storm_clients);
        let parsed = target.parse::<Target>().ok();
        let is_web = parsed.as_ref().is_some_and(Target::is_web);
        let tls = args.tls(parsed.as_ref().is_some_and(Target::has_tls))?;
        let channels = if is_web { 1 } else { usize::try_from(args.rooms())? };
        if !is_web && channels * 2 > connections {
            anyhow::bail!(
                "--rooms {channels} leaves a channel with fewer than two of the {connections} connections, \
                 so no message would be delivered; use at most {}",
                connections / 2
            );
        }
        let stages = args.stages.clone().unwrap_or_else(|| Stages::constant(args.rate, args.duration));
        if let Some(storm) = args.storm {
            args.check_storm(is_web, storm, stages.duration())?;
        }
        if args.http2 && !is_web {
            anyhow::bail!("--http2 needs a target such as http://127.0.0.1:8080/ or https://HOST/");
        }
        let accounts = args.accounts(is_web)?;
        if args.payload > MAX_PAYLOAD_BYTES {
            anyhow::bail!(
                "--payload {} does not fit into a line; use at most {MAX_PAYLOAD_BYTES}",
                args.payload
            );
        }
        let mut objectives = args.slo;
        if let Some(path) = &args.slo_file {
            objectives.extend(Objective::read_file(path)?);
        }
        let max_send_lag = args.max_send_lag.unwrap_or_else(|| send_lag_budget(&objectives));
        let is_receive_lag_limited =
            args.max_send_lag.is_some() || objectives.iter().any(|it| it.latency_limit().is_some());
        let mix =
            if is_web { web_mix(args.mix)? } else { chat_mix(args.mix, args.oper.is_some(), default_mix)? };
        Ok(Self {
            target,
            connections,
            channels,
            stages,
            arrivals: args.arrivals,
            ramp: args.ramp,
            settle: SETTLE_TIME,
            drain: args.drain,
            timeout: args.timeout,
            max_send_lag,
            max_receive_lag: if is_receive_lag_limited { max_send_lag } else { Duration::MAX },
            churn: args.churn,
            visitor_target: None,
            storm: args.storm,
            storm_clients,
            payload_bytes: args.payload,
            seed: args.seed,
            mix,
            objectives,
            hlog: None,
            threads: args.threads,
            from: args.from,
            http2_streams: args.http2.then_some(usize::from(args.streams)),
            nick_prefix: args.nick_prefix,
            pass: args.pass,
            accounts,
            tls,
            oper: args.oper,
        })
    }

    /// Returns the plan of `loadgen run` with these flags.
    #[cfg(test)]
    #[track_caller]
    pub(crate) fn from_flags(flags: &[&str]) -> Self {
        use clap::Parser as _;
        let arguments = ["loadgen", "run", "--target", "127.0.0.1:1"];
        let cli = crate::cli::Cli::try_parse_from(arguments.iter().chain(flags)).expect("valid flags");
        let crate::cli::Command::Run(run) = cli.command else { panic!("the command is run") };
        Self::new(run.target, run.load, "privmsg").expect("a plan")
    }

    /// Returns the schedule for this many members.
    pub(crate) fn schedule(&self, members: usize) -> Schedule {
        Schedule::new(self.seed, self.stages.clone(), self.arrivals, members, self.mix.clone())
    }

    /// Returns the first objective that needs the server's telemetry.
    pub(crate) fn first_telemetry_objective(&self) -> Option<&Objective> {
        self.objectives.iter().find(|objective| objective.metric().needs_telemetry())
    }

    /// Returns the duration of the measurement.
    pub(crate) fn duration(&self) -> Duration {
        self.stages.duration()
    }

    /// Returns the limit of the tightest latency objective: a delivery above it
    /// is late.
    pub(crate) fn late_limit(&self) -> Option<Duration> {
        self.objectives.iter().filter_map(Objective::latency_limit).min()
    }

    /// Returns the text and the limit of the tightest latency objective.
    pub(crate) fn tightest_latency_objective(&self) -> Option<(String, Duration)> {
        self.tightest(Objective::latency_limit)
    }

    /// Returns the text and the limit of the tightest objective on logins.
    pub(crate) fn tightest_login_objective(&self) -> Option<(String, Duration)> {
        self.tightest(Objective::login_limit)
    }

    fn tightest(&self, limit: fn(&Objective) -> Option<Duration>) -> Option<(String, Duration)> {
        let limited = self
            .objectives
            .iter()
            .filter_map(|objective| Some((objective.text().to_owned(), limit(objective)?)));
        limited.min_by_key(|&(_, limit)| limit)
    }

    /// Returns the time from the opening of the first connection to the opening
    /// of connection `id`.
    pub(crate) fn connect_delay(&self, id: usize) -> Duration {
        let id = u32::try_from(id).unwrap_or(0);
        let connections = u32::try_from(self.connections).unwrap_or(1);
        self.ramp * id / connections
    }

    /// Returns the time from the opening of the first connection to the opening
    /// of connection `index` of those that reconnect in storms.
    pub(crate) fn storm_connect_delay(&self, index: usize) -> Duration {
        let index = u32::try_from(index).unwrap_or(0);
        self.ramp * index / u32::try_from(self.storm_clients).unwrap_or(1).max(1)
    }

    /// Returns how many connections must be ready: with fewer, nothing is
    /// measured.
    pub(crate) const fn required_connections(&self) -> usize {
        self.connections - self.connections / 100
    }
}

/// Returns the name of the channel with the number `channel`.
pub(crate) fn channel_name(channel: usize) -> String {
    format!("#lg-{channel}")
}

/// Returns the default of `--max-send-lag`: a tenth of the tightest latency
/// objective, but at least 1 ms and at most 10 ms; 10 ms without a latency
/// objective. Timers and a shared CPU alone can delay a send by 1 ms.
fn send_lag_budget(objectives: &[Objective]) -> Duration {
    let tightest = objectives.iter().filter_map(Objective::latency_limit).min();
    let budget = tightest.map_or(Duration::from_millis(10), |limit| limit / 10);
    budget.clamp(Duration::from_millis(1), Duration::from_millis(10))
}

/// Returns the mix for a web server, whose only command is `get`.
fn web_mix(requested: Option<Mix>) -> anyhow::Result<Mix> {
    let get: Mix = Action::Get.as_str().parse().map_err(anyhow::Error::msg)?;
    match requested {
        Some(mix) if mix != get => {
            anyhow::bail!("--mix has chat commands, but an http:// or https:// target knows only `get`")
        }
        _ => Ok(get),
    }
}

/// Returns the mix for a chat server: the requested one, or the default one,
/// without `oper` if there is no operator login.
fn chat_mix(requested: Option<Mix>, has_oper: bool, default: &str) -> anyhow::Result<Mix> {
    let Some(mix) = requested else {
        let mix: Mix = default.parse().map_err(anyhow::Error::msg)?;
        let without = if has_oper { None } else { mix.without(Action::Oper) };
        return Ok(without.unwrap_or(mix));
    };
    if mix.contains(Action::Get) {
        anyhow::bail!("--mix has `get`, which only a target such as http://127.0.0.1:8080/ knows");
    }
    if mix.contains(Action::Oper) && !has_oper {
        anyhow::bail!("--mix has `oper`, which needs --oper NAME:PASSWORD");
    }
    Ok(mix)
}
