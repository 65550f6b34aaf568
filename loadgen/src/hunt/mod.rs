//! The server that is hunted in: started, asked what it found, stopped.

pub(crate) mod embedded;
mod server;
mod telemetry;
mod window;

use std::ffi::OsString;
use std::time::{Duration, SystemTime};

use loopscope::{FindingsDocument, StallsDocument};

use crate::cli::{HuntArgs, Login};
use server::Server;
use telemetry::Telemetry;

/// What a hunt sends: every command behind which a call could block, most of
/// all messages.
pub(crate) const MIX: &str = "privmsg:180,join:6,names:4,who:4,topic:2,oper:2,whois:1,motd:1";

/// How long the server gets to put its last stall among the findings.
const SETTLE: Duration = Duration::from_millis(300);

/// What the server's own loopscope found in a stretch of time.
#[derive(Debug)]
pub(crate) struct Found {
    /// The blocking calls.
    pub(crate) findings: FindingsDocument,
    /// The stalls, as many as the server remembers.
    pub(crate) stalls: StallsDocument,
    /// How long the stretch was.
    pub(crate) seconds: f64,
}

/// A stretch of time for which a server is asked what it found.
#[derive(Debug)]
pub(crate) struct Watch {
    telemetry: Telemetry,
    before: FindingsDocument,
    since: SystemTime,
}

impl Watch {
    /// Begins: what was found up to now does not count.
    pub(crate) async fn begin(url: &str) -> anyhow::Result<Self> {
        let telemetry = Telemetry::at(url)?;
        let before = telemetry.findings().await?;
        Ok(Self { telemetry, before, since: SystemTime::now() })
    }

    /// Ends: what was found since.
    pub(crate) async fn end(self) -> anyhow::Result<Found> {
        tokio::time::sleep(SETTLE).await;
        let findings = window::between(&self.before, self.telemetry.findings().await?);
        let stalls = self.telemetry.stalls(self.since).await?;
        let seconds = self.since.elapsed().unwrap_or_default().as_secs_f64();
        Ok(Found { findings, stalls, seconds })
    }
}

/// The server of a hunt: an embedded one, or one that runs already.
#[derive(Debug)]
pub(crate) struct Quarry {
    server: Option<Server>,
    /// Where it takes chat connections.
    pub(crate) target: String,
    /// The URL of its telemetry.
    pub(crate) telemetry: String,
}

impl Quarry {
    /// Starts the embedded server, unless there is a target.
    pub(crate) async fn find(args: &HuntArgs) -> anyhow::Result<Self> {
        if let (Some(target), Some(telemetry)) = (&args.target, &args.telemetry) {
            return Ok(Self { server: None, target: target.clone(), telemetry: telemetry.clone() });
        }
        let server = Server::start(&flags(args), args.output.verbose).await?;
        let telemetry = format!("http://{}", server.telemetry);
        Ok(Self { target: server.irc.clone(), telemetry, server: Some(server) })
    }

    /// Stops the server if it was ours; an error if it had died.
    pub(crate) async fn release(self) -> Result<(), String> {
        match self.server {
            Some(server) => server.stop().await,
            None => Ok(()),
        }
    }
}

/// What the clients and the embedded server have to agree on: where nobody said
/// otherwise, the operator's login.
pub(crate) fn agree(args: &mut HuntArgs) {
    if args.target.is_none() && args.load.oper.is_none() {
        args.load.oper = Some(Login { name: "loadgen".to_owned(), password: "loadgen".to_owned() });
    }
}

/// The embedded server's flags.
fn flags(args: &HuntArgs) -> Vec<OsString> {
    let mut flags: Vec<String> = Vec::new();
    let mut flag = |name: &str, value: String| flags.extend([name.to_owned(), value]);
    flag("--listen", "127.0.0.1:0".into());
    flag("--telemetry", "127.0.0.1:0".into());
    flag("--flood-limit", "off".into());
    let clients = u64::from(args.load.connections) + crate::run::visitors(args.load.churn);
    flag("--max-connections", clients.max(10_000).to_string());
    if let Some(login) = &args.load.oper {
        flag("--oper", format!("{}:{}", login.name, login.password));
    }
    if let Some(password) = &args.load.pass {
        flag("--password", password.clone());
    }
    if let Some(threshold) = args.threshold {
        flag("--threshold", humantime::format_duration(threshold).to_string().replace(' ', ""));
    }
    if let Some(workers) = args.workers {
        flag("--workers", workers.to_string());
    }
    for site in &args.inject {
        flag("--inject", site.clone());
    }
    flags.into_iter().map(OsString::from).collect()
}
