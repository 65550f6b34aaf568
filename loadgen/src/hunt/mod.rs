//! Hunts for blocking calls: starts the server, collects its findings and
//! stalls, and explains slow deliveries by them.

mod child;
mod clock;
mod collector;
mod coverage;
pub(crate) mod embedded;
mod explain;
mod findings_delta;
mod minimise;
mod observation;
pub(crate) mod program;
mod server;
mod telemetry;
mod timeline;
#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
mod watched;
#[cfg(not(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64"))))]
#[path = "watched_none.rs"]
mod watched;

use crate::cli::{HuntArgs, ServerArgs};
use crate::plan::{Login, Target};
pub(crate) use minimise::{LoadProbe, minimise};
pub(crate) use observation::{Observation, ObservationResult};
use server::EmbeddedServer;
use std::ffi::OsString;
use watched::WatchedServer;

/// The default mix of a hunt: every command that may lead to a blocking call,
/// most of them messages.
pub(crate) const HUNT_MIX: &str = "privmsg:180,join:6,names:4,who:4,topic:2,oper:2,whois:1,motd:1";
/// The same for the embedded server. Many others have no CHATHISTORY and reply
/// with an error.
pub(crate) const EMBEDDED_HUNT_MIX: &str =
    "privmsg:180,join:6,names:4,who:4,topic:2,oper:2,whois:1,motd:1,chathistory:1";

/// Visitors per second of a hunt for the certificate mistake, which the server
/// makes in some TLS handshakes.
const TLS_VISITORS_PER_SECOND: f64 = 20.0;

/// The server of a hunt: the embedded one, or one that already runs.
#[derive(Debug)]
pub(crate) struct TargetServer {
    server: Option<EmbeddedServer>,
    watched: Option<WatchedServer>,
    /// The address for chat connections; empty if a command generates the load
    /// and there is no `--target`.
    pub(crate) target: String,
    /// Its address for TLS connections, if the visitors use it.
    pub(crate) visitor_target: Option<Target>,
    /// The URL of its telemetry, if it has any.
    pub(crate) telemetry: Option<String>,
}

impl TargetServer {
    /// Starts the embedded server, unless the arguments name a server.
    pub(crate) async fn start_or_connect(args: &HuntArgs) -> anyhow::Result<Self> {
        let is_watched = args.server.pid.is_some() || args.server.run.is_some();
        if !is_watched && (args.server.target.is_some() || args.server.telemetry.is_some()) {
            let ServerArgs { target, telemetry, .. } = args.server.clone();
            let target = target.unwrap_or_default();
            return Ok(Self { server: None, watched: None, target, visitor_target: None, telemetry });
        }
        if let Some(server) = Self::watched(args).await? {
            return Ok(server);
        }
        let server = EmbeddedServer::start(&flags(args), args.output.verbose).await?;
        let telemetry = Some(format!("http://{}", server.telemetry));
        let visitor_target = server.ircs.clone().map(|address| Target::Chat { address, has_tls: true });
        Ok(Self {
            target: server.irc.clone(),
            visitor_target,
            telemetry,
            server: Some(server),
            watched: None,
        })
    }

    /// Watches the server of `--pid` or `--run` from outside.
    async fn watched(args: &HuntArgs) -> anyhow::Result<Option<Self>> {
        let ServerArgs { target, pid, run, .. } = &args.server;
        let target = target.clone().unwrap_or_default();
        let watched = match (pid, run) {
            (Some(pid), _) => WatchedServer::attach(*pid)?,
            (None, Some(command)) => {
                let server: Target = target.parse().map_err(anyhow::Error::msg)?;
                WatchedServer::start(command, server.address()).await?
            }
            (None, None) => return Ok(None),
        };
        let telemetry = Some(watched.telemetry()?);
        Ok(Some(Self { server: None, watched: Some(watched), target, visitor_target: None, telemetry }))
    }

    /// Stops the embedded server, or the watch and its command.
    ///
    /// # Errors
    ///
    /// If the server had ended before.
    pub(crate) async fn stop(self) -> Result<(), String> {
        match (self.server, self.watched) {
            (Some(server), _) => server.stop().await,
            (None, Some(watched)) => watched.stop().await,
            (None, None) => Ok(()),
        }
    }
}

/// Adds what the embedded server needs unless the arguments contain it: an
/// operator login for the clients and the server, and visitors if it is to make
/// a mistake in TLS handshakes. Does nothing if there is a `--target`.
pub(crate) fn add_defaults(args: &mut HuntArgs) {
    if args.server.target.is_some() {
        return;
    }
    if args.load.oper.is_none() {
        args.load.oper = Some(Login { name: "loadgen".to_owned(), password: "loadgen".to_owned() });
    }
    if needs_tls(&args.server) && args.load.churn <= 0.0 {
        args.load.churn = TLS_VISITORS_PER_SECOND;
    }
}

/// Returns whether the embedded server is to make a mistake in TLS handshakes.
fn needs_tls(args: &ServerArgs) -> bool {
    let mut sites = args.inject.iter().filter_map(|text| text.split(['=', '@']).next());
    sites.any(|site| matches!(site, "certificate" | "all"))
}

/// Returns the flags of the embedded server.
fn flags(args: &HuntArgs) -> Vec<OsString> {
    let mut flags: Vec<String> = Vec::new();
    let mut flag = |name: &str, value: String| flags.extend([name.to_owned(), value]);
    flag("--listen", "127.0.0.1:0".into());
    flag("--telemetry", "127.0.0.1:0".into());
    flag("--flood-limit", "off".into());
    let clients = u64::from(args.load.connections) + args.load.max_visitors();
    flag("--max-connections", clients.max(10_000).to_string());
    if let Some(login) = &args.load.oper {
        flag("--oper", format!("{}:{}", login.name, login.password));
    }
    if let Some(password) = &args.load.pass {
        flag("--password", password.clone());
    }
    if let Some(threshold) = args.server.threshold {
        flag("--threshold", humantime::format_duration(threshold).to_string().replace(' ', ""));
    }
    if let Some(workers) = args.server.workers {
        flag("--workers", workers.to_string());
    }
    for site in &args.server.inject {
        flag("--inject", site.clone());
    }
    if needs_tls(&args.server) {
        flag("--tls-listen", "127.0.0.1:0".into());
        flags.push("--tls-self-signed".to_owned());
    }
    flags.into_iter().map(OsString::from).collect()
}
