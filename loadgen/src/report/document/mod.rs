//! The report as plain data: what `--json` writes, field by field.

mod coverage;
mod histograms;
mod load;
mod minimal;
mod tail;

use std::collections::BTreeMap;

pub(crate) use coverage::{Coverage, TaskPolls};
pub(crate) use histograms::{Histograms, decode, encode};
pub(crate) use load::{
    CommandCount, Commands, Connections, Deliveries, Load, LoadTimeline, Rooms, SpectrumPoint, StageLoad,
    TimelineBin, Timing, Visitors,
};
pub(crate) use minimal::Minimal;
pub(crate) use tail::{Clock, Share, Tail};

use loopscope::{FindingsDocument, StallsDocument};
use serde::{Deserialize, Serialize};

use super::text::units::duration;
use crate::plan::Unit;

/// The name of the report's schema.
pub(crate) const SCHEMA: &str = "loadgen.report/1";

/// The report of one run.
///
/// A field with `#[serde(default)]`, here and in the parts, may be missing in a
/// document that is only compared; see [`super::read`].
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
    /// The server that was driven.
    pub(crate) target: String,
    /// When the measuring began, in seconds of the Unix epoch.
    #[serde(default)]
    pub(crate) started_unix_seconds: f64,
    /// Whether a signal ended it early; the figures are those up to there.
    #[serde(default)]
    pub(crate) interrupted: bool,
    /// What was asked for.
    pub(crate) settings: Settings,
    /// The command that was the load instead; then `load` is empty.
    pub(crate) program: Option<Program>,
    /// What came of it.
    pub(crate) load: Load,
    /// What the generator did late by itself.
    #[serde(default)]
    pub(crate) generator: Generator,
    /// The objectives, each with what it came to.
    #[serde(default)]
    pub(crate) objectives: Vec<JudgedObjective>,
    /// For how long the server's loopscope was asked: connecting included.
    pub(crate) watched_seconds: Option<f64>,
    /// What it found in the meantime, the most harm to slow deliveries first.
    pub(crate) findings: Option<FindingsDocument>,
    /// The server's stalls in the meantime, as many as it remembers.
    pub(crate) stalls: Option<StallsDocument>,
    /// What of the server was exercised and watched.
    pub(crate) coverage: Option<Coverage>,
    /// What the slow deliveries waited for; null if it was not asked or nothing
    /// was delivered.
    pub(crate) tail: Option<Tail>,
    /// The least load under which each finding appears; null if it was not asked.
    pub(crate) minimal: Option<Vec<Minimal>>,
    /// The server's clock against this machine's.
    pub(crate) clock: Option<Clock>,
    /// What all this means.
    pub(crate) verdict: Verdict,
}

/// The plan, as it was carried out.
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

/// A command that ran instead of the generator's own clients.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Program {
    /// The program and its arguments.
    pub(crate) command: Vec<String>,
    /// How long it ran.
    pub(crate) seconds: f64,
    /// What it ended with; null if a signal ended it.
    pub(crate) exit_code: Option<i32>,
}

/// The generator's own event loop, as its own loopscope saw it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Generator {
    /// How late the loop was that receives; every arrival may have been taken
    /// note of this much later.
    pub(crate) receive_lag: Option<Timing>,
    pub(crate) blocking: Blocking,
    /// Time that its threads waited for a CPU in the middle of their work.
    pub(crate) starved_seconds: f64,
    /// CPU time of its process while it measured; `None` where it is not known.
    pub(crate) cpu_seconds: Option<f64>,
}

/// Stalls of the generator's own loop.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Blocking {
    pub(crate) events: u64,
    pub(crate) seconds: f64,
    pub(crate) longest_seconds: f64,
    /// The function that blocked it for longest.
    pub(crate) worst_site: Option<String>,
}

/// One objective and what it came to.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct JudgedObjective {
    /// As it was written.
    pub(crate) objective: String,
    pub(crate) metric: String,
    /// What limit and actual value are measured in.
    pub(crate) unit: Unit,
    pub(crate) limit: f64,
    /// `None` if there was nothing to measure.
    pub(crate) actual: Option<f64>,
    pub(crate) held: bool,
    /// Whether it is the generator that is held to it.
    #[serde(skip)]
    pub(crate) of_generator: bool,
}

impl JudgedObjective {
    /// What it came to, for the eye.
    pub(crate) fn actual_text(&self) -> String {
        match (self.actual, self.unit) {
            (None, _) => "nothing measured".to_owned(),
            (Some(actual), Unit::Seconds) => duration(actual),
            (Some(actual), Unit::Share) => format!("{:.3} %", actual * 100.0),
            (Some(actual), Unit::Count) => format!("{actual:.0}"),
        }
    }
}

/// What a run means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum RunOutcome {
    /// Everything held.
    Held,
    /// An objective was missed.
    Missed,
    /// Blocking calls were found, which `--deny` makes a failure.
    Denied,
    /// No verdict is possible.
    Invalid,
}

impl RunOutcome {
    /// Its name in reports.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::Missed => "missed",
            Self::Denied => "denied",
            Self::Invalid => "invalid",
        }
    }
}

/// The outcome, with the program's exit code and the reasons for it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Verdict {
    pub(crate) outcome: RunOutcome,
    #[serde(default)]
    pub(crate) exit_code: u8,
    pub(crate) reasons: Vec<String>,
}
