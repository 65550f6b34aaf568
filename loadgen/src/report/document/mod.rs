//! The report as plain data: the fields that `--json` writes.

mod coverage;
mod histograms;
mod load;
mod logins;
mod minimal;
mod tail;
mod timing;

use std::collections::BTreeMap;

pub(crate) use coverage::{Coverage, TaskPolls};
pub(crate) use histograms::{Histograms, decode, encode};
pub(crate) use load::{
    CommandCount, Commands, Connections, Deliveries, Load, LoadTimeline, MAX_NAMED_CHANNELS, Rooms,
    StageLoad, TimelineBin, Visitors,
};
pub(crate) use logins::{LoginHistograms, Logins, Storms};
pub(crate) use minimal::MinimalLoad;
pub(crate) use tail::{Clock, Share, Tail};
pub(crate) use timing::{SpectrumPoint, Timing};

use loopscope::{FindingsDocument, StallsDocument};
use serde::{Deserialize, Serialize};

use crate::plan::Unit;

/// The name of the report's schema.
pub(crate) const SCHEMA: &str = "loadgen.report/1";

/// The report of one run.
///
/// A field with `#[serde(default)]`, here and in the parts, may be missing in a
/// document that is only compared; see [`mod@super::read`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Report {
    /// Always [`SCHEMA`].
    pub(crate) schema: String,
    /// The generator's version.
    #[serde(default)]
    pub(crate) version: String,
    /// `run`, `hunt` or `merge`.
    #[serde(default)]
    pub(crate) command: String,
    /// The server under test.
    pub(crate) target: String,
    /// When the measurement began, in seconds of the Unix epoch.
    #[serde(default)]
    pub(crate) started_unix_seconds: f64,
    /// Whether a signal ended the run early; the figures are those up to then.
    #[serde(default)]
    pub(crate) interrupted: bool,
    /// The settings of the run.
    pub(crate) settings: Settings,
    /// The URL of the server's telemetry, if it may still run.
    pub(crate) telemetry: Option<String>,
    /// The command that generated the load, if there is one; `load` is empty in
    /// this case.
    pub(crate) program: Option<Program>,
    /// The load figures.
    pub(crate) load: Load,
    /// The generator's own lateness.
    #[serde(default)]
    pub(crate) generator: Generator,
    /// The objectives, each with its actual value.
    #[serde(default)]
    pub(crate) objectives: Vec<JudgedObjective>,
    /// How long the generator observed the server through loopscope. Includes
    /// the time in which the clients connected.
    pub(crate) watched_seconds: Option<f64>,
    /// The findings in that time, the most harmful to slow deliveries first.
    pub(crate) findings: Option<FindingsDocument>,
    /// The server's stalls in that time, as far as they were collected.
    pub(crate) stalls: Option<StallsDocument>,
    /// The commands that the load never sent, and the tasks that the server
    /// polled.
    pub(crate) coverage: Option<Coverage>,
    /// What the slow deliveries waited for; null if the server was not observed
    /// or nothing was delivered.
    pub(crate) tail: Option<Tail>,
    /// The same for the logins, those before the measurement too; null if the
    /// server was not observed or no connection was ready.
    #[serde(default)]
    pub(crate) login_tail: Option<Tail>,
    /// The smallest load at which each finding appears; null without
    /// `--minimise`.
    pub(crate) minimal: Option<Vec<MinimalLoad>>,
    /// The server's clock relative to this machine's.
    pub(crate) clock: Option<Clock>,
    /// The verdict.
    pub(crate) verdict: Verdict,
}

/// The plan, as it was executed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Settings {
    pub(crate) connections: u64,
    pub(crate) rooms: u64,
    /// The average over all stages.
    pub(crate) rate: f64,
    /// `constant` or `poisson`.
    pub(crate) arrivals: String,
    pub(crate) duration_seconds: f64,
    #[serde(default)]
    pub(crate) ramp_seconds: f64,
    #[serde(default)]
    pub(crate) settle_seconds: f64,
    #[serde(default)]
    pub(crate) drain_seconds: f64,
    #[serde(default)]
    pub(crate) timeout_seconds: f64,
    #[serde(default)]
    pub(crate) max_send_lag_seconds: f64,
    /// How many requests an HTTP/2 connection has in progress at most; null for
    /// other protocols.
    pub(crate) http2_streams: Option<u64>,
    /// The time between two reconnect storms; null without storms.
    pub(crate) storm_every_seconds: Option<f64>,
    /// Visitors per second: extra connections that join and leave again.
    pub(crate) churn: f64,
    pub(crate) payload_bytes: u64,
    #[serde(default)]
    pub(crate) seed: u64,
    #[serde(default)]
    pub(crate) threads: u64,
    pub(crate) mix: BTreeMap<String, u32>,
    #[serde(default)]
    pub(crate) inject: Vec<String>,
}

/// A command that generated the load instead of the generator's own clients.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Program {
    /// The program and its arguments.
    pub(crate) command: Vec<String>,
    /// How long it ran.
    pub(crate) seconds: f64,
    /// Its exit code; null if a signal ended it.
    pub(crate) exit_code: Option<i32>,
}

/// The generator's own event loop, as measured by its own loopscope.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Generator {
    /// How late the receiving loop was. Every arrival may have been recorded
    /// this much too late.
    pub(crate) receive_lag: Option<Timing>,
    pub(crate) blocking: Blocking,
    /// Time that its threads waited for a CPU in long polls.
    pub(crate) starved_seconds: f64,
    /// CPU time of its process during the measurement; `None` if it is unknown.
    pub(crate) cpu_seconds: Option<f64>,
}

/// Stalls of the generator's own loop.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Blocking {
    pub(crate) events: u64,
    pub(crate) seconds: f64,
    pub(crate) longest_seconds: f64,
    /// The function that blocked the loop for the longest time.
    pub(crate) worst_site: Option<String>,
}

/// One objective with its actual value.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct JudgedObjective {
    /// The objective as it was written.
    pub(crate) objective: String,
    pub(crate) metric: String,
    /// The unit of the limit and of the actual value.
    pub(crate) unit: Unit,
    pub(crate) limit: f64,
    /// `None` if nothing was measured.
    pub(crate) actual: Option<f64>,
    pub(crate) held: bool,
    /// Whether it limits the generator and not the server.
    #[serde(skip)]
    pub(crate) of_generator: bool,
}

/// The outcome of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum RunOutcome {
    /// Every objective held.
    Held,
    /// An objective was missed.
    Missed,
    /// Blocking calls were found, and `--deny` was given.
    Denied,
    /// No verdict is possible.
    Invalid,
    /// A word that another program wrote. loadgen never writes it.
    #[serde(other, rename = "unknown")]
    Unknown,
}

impl RunOutcome {
    /// Returns its name in reports.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::Missed => "missed",
            Self::Denied => "denied",
            Self::Invalid => "invalid",
            Self::Unknown => "unknown",
        }
    }
}

/// The outcome, the exit code of the program, and the reasons.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Verdict {
    pub(crate) outcome: RunOutcome,
    #[serde(default)]
    pub(crate) exit_code: u8,
    pub(crate) reasons: Vec<String>,
}
