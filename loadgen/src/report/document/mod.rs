//! The report as plain data: what `--json` writes, field by field.

mod clock;
mod coverage;
mod histograms;
mod minimal;
mod program;
mod tail;

use std::collections::BTreeMap;

pub(crate) use clock::Clock;
pub(crate) use coverage::{Coverage, TaskPolls};
pub(crate) use histograms::{Histograms, decode, encode};
pub(crate) use minimal::Minimal;
pub(crate) use program::Program;
pub(crate) use tail::{Share, Tail};

use crate::plan::room_name;
use crate::record::Counts;
use hdrhistogram::Histogram;
use loopscope::{FindingsDocument, StallsDocument};
use serde::{Deserialize, Serialize};

use super::text::units::duration;

/// The name of the report's schema.
pub(crate) const SCHEMA: &str = "loadgen.report/1";

/// One run of the generator, whole.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Report {
    /// Always [`SCHEMA`].
    pub(crate) schema: &'static str,
    /// The generator's version.
    pub(crate) version: &'static str,
    /// `run` or `hunt`.
    pub(crate) command: &'static str,
    /// The server that was driven.
    pub(crate) target: String,
    /// When the measuring began, in seconds of the Unix epoch.
    pub(crate) started_unix_seconds: f64,
    /// Whether a signal ended it early; the figures are those up to there.
    pub(crate) interrupted: bool,
    /// What was asked for.
    pub(crate) settings: Settings,
    /// The command that was the load instead; then `load` is empty.
    pub(crate) program: Option<Program>,
    /// What came of it.
    pub(crate) load: Load,
    /// What the generator did late by itself.
    pub(crate) generator: Generator,
    /// The objectives, each with what it came to.
    pub(crate) objectives: Vec<Judged>,
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
    pub(crate) ramp_seconds: f64,
    pub(crate) settle_seconds: f64,
    pub(crate) drain_seconds: f64,
    pub(crate) timeout_seconds: f64,
    pub(crate) max_send_lag_seconds: f64,
    pub(crate) churn: f64,
    pub(crate) payload_bytes: u64,
    pub(crate) seed: u64,
    pub(crate) threads: u64,
    pub(crate) mix: BTreeMap<String, u32>,
    pub(crate) inject: Vec<String>,
}

/// The load figures; all but the connections are of the measured time alone.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Load {
    pub(crate) connections: Connections,
    pub(crate) measured_seconds: f64,
    pub(crate) commands: Commands,
    pub(crate) deliveries: Deliveries,
    /// From due to received; lost deliveries are in it as censored samples.
    pub(crate) latency: Option<Timing>,
    /// From sent to received, of what was received: what a closed model would
    /// call latency.
    pub(crate) service: Option<Timing>,
    /// From due to sent: the generator's own lateness.
    pub(crate) send_lag: Option<Timing>,
    /// The same by stage of the plan, by the time at which they were due.
    pub(crate) stages: Vec<StageLoad>,
    /// Deliveries by room, where any went wrong.
    pub(crate) rooms: Rooms,
    /// What those got who came and went (`--churn`).
    pub(crate) visitors: Visitors,
    /// The distribution of the latency, from its half to its end.
    pub(crate) spectrum: Vec<Point>,
    /// All of them behind the figures, so that reports can be added up.
    pub(crate) histograms: Histograms,
    /// How it went over time.
    pub(crate) timeline: Timeline,
    /// Failed connections and words out of place, by kind.
    pub(crate) failures: BTreeMap<String, u64>,
    /// The first failure of the commonest kind, in words.
    pub(crate) first_failure: Option<String>,
}

/// What became of the connections.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Connections {
    /// That were to be opened.
    pub(crate) asked: u64,
    /// That joined their room.
    pub(crate) joined: u64,
    /// That ended before the run did.
    pub(crate) lost: u64,
}

/// What became of the commands.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Commands {
    pub(crate) planned: u64,
    pub(crate) sent: u64,
    pub(crate) skipped: u64,
    /// Sent later than `max_send_lag_seconds` after they were due.
    pub(crate) late: u64,
    pub(crate) planned_per_second: f64,
    pub(crate) sent_per_second: f64,
    /// By command: what the load exercised.
    pub(crate) by_kind: BTreeMap<String, CommandCount>,
    /// Replies that refuse a command, by their number.
    pub(crate) error_replies: BTreeMap<u16, u64>,
}

/// What became of one kind of command.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct CommandCount {
    pub(crate) planned: u64,
    pub(crate) sent: u64,
    pub(crate) skipped: u64,
}

/// What became of the messages, receiver by receiver.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Deliveries {
    pub(crate) expected: u64,
    pub(crate) delivered: u64,
    pub(crate) lost: u64,
    pub(crate) duplicated: u64,
    pub(crate) out_of_order: u64,
    /// That took longer than the tightest objective on latency.
    pub(crate) late: u64,
}

impl From<Counts> for Deliveries {
    fn from(counts: Counts) -> Self {
        let Counts { expected, delivered, lost, duplicated, out_of_order, late } = counts;
        Self { expected, delivered, lost, duplicated, out_of_order, late }
    }
}

/// What came of one stage of the plan.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct StageLoad {
    /// Commands a second at its beginning.
    pub(crate) from_rate: f64,
    /// Commands a second at its end.
    pub(crate) to_rate: f64,
    /// How long it was to last.
    pub(crate) seconds: f64,
    pub(crate) commands: CommandCount,
    pub(crate) deliveries: Deliveries,
    /// From due to received, to two digits.
    pub(crate) latency: Option<Timing>,
}

/// Clients that came into a measured room, and left it again. Between the
/// first and the last message that such a one got of a sender, none may be
/// missing; its deliveries are in none of the other figures.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Visitors {
    /// Those that came and left.
    pub(crate) visits: u64,
    pub(crate) delivered: u64,
    pub(crate) lost: u64,
    pub(crate) duplicated: u64,
    pub(crate) out_of_order: u64,
}

impl Visitors {
    /// Of what they got together.
    pub(crate) const fn of(visits: u64, counts: &Counts) -> Self {
        let &Counts { delivered, lost, duplicated, out_of_order, .. } = counts;
        Self { visits, delivered, lost, duplicated, out_of_order }
    }
}

/// How many rooms the report names.
const MAX_ROOMS: usize = 20;

/// Deliveries by room.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Rooms {
    /// Rooms with a lost, duplicated or overtaken delivery.
    pub(crate) faulty: u64,
    /// The worst of them, the worst first.
    pub(crate) worst: Vec<RoomLoad>,
}

/// What came of one room.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct RoomLoad {
    pub(crate) room: String,
    pub(crate) deliveries: Deliveries,
}

impl Rooms {
    /// Of the counts of all rooms, by number.
    pub(crate) fn of(counts: &[Counts]) -> Self {
        let mut faulty: Vec<_> =
            counts.iter().enumerate().filter(|(_, counts)| counts.faults() > 0).collect();
        faulty.sort_by_key(|(_, counts)| std::cmp::Reverse(counts.faults()));
        let worst = faulty.iter().take(MAX_ROOMS);
        let worst =
            worst.map(|&(room, &counts)| RoomLoad { room: room_name(room), deliveries: counts.into() });
        Self { faulty: faulty.len() as u64, worst: worst.collect() }
    }
}

/// A distribution of times.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Timing {
    pub(crate) samples: u64,
    pub(crate) min_seconds: f64,
    pub(crate) mean_seconds: f64,
    pub(crate) p50_seconds: f64,
    pub(crate) p90_seconds: f64,
    pub(crate) p99_seconds: f64,
    pub(crate) p999_seconds: f64,
    pub(crate) max_seconds: f64,
}

impl Timing {
    /// Of nanoseconds; `None` if there are no samples.
    #[expect(clippy::cast_precision_loss, reason = "three digits are kept")]
    pub(crate) fn of(histogram: &Histogram<u64>) -> Option<Self> {
        let seconds = |nanoseconds: u64| nanoseconds as f64 / 1e9;
        let quantile = |quantile| seconds(histogram.value_at_quantile(quantile));
        (!histogram.is_empty()).then(|| Self {
            samples: histogram.len(),
            min_seconds: seconds(histogram.min()),
            mean_seconds: histogram.mean() / 1e9,
            p50_seconds: quantile(0.5),
            p90_seconds: quantile(0.9),
            p99_seconds: quantile(0.99),
            p999_seconds: quantile(0.999),
            max_seconds: seconds(histogram.max()),
        })
    }
}

/// The generator's own event loop, as its own loopscope saw it.
#[derive(Debug, Clone, Serialize, Deserialize)]
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
pub(crate) struct Blocking {
    pub(crate) events: u64,
    pub(crate) seconds: f64,
    pub(crate) longest_seconds: f64,
    /// The function that blocked it for longest.
    pub(crate) worst_site: Option<String>,
}

/// A point of a distribution: the share `quantile` of the samples is at most
/// `seconds`.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Point {
    pub(crate) quantile: f64,
    pub(crate) seconds: f64,
}

/// A run over time, cut into stretches of the same length.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Timeline {
    pub(crate) bin_seconds: f64,
    pub(crate) bins: Vec<Bin>,
}

/// One stretch of a run.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Bin {
    /// Commands that were due in it.
    pub(crate) planned: u64,
    /// Those of them that were sent, then or later.
    pub(crate) sent: u64,
    /// Deliveries that came in it.
    pub(crate) delivered: u64,
    /// The latency of what was due in it; `None` if nothing was. To one digit.
    pub(crate) p50_seconds: Option<f64>,
    pub(crate) p99_seconds: Option<f64>,
    pub(crate) max_seconds: Option<f64>,
}

/// One objective and what it came to.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Judged {
    /// As it was written.
    pub(crate) objective: String,
    pub(crate) metric: String,
    /// What limit and actual value are measured in.
    pub(crate) unit: &'static str,
    pub(crate) limit: f64,
    /// `None` if there was nothing to measure.
    pub(crate) actual: Option<f64>,
    pub(crate) held: bool,
    /// Whether it is the generator that is held to it.
    #[serde(skip)]
    pub(crate) of_generator: bool,
}

impl Judged {
    /// What it came to, for the eye.
    pub(crate) fn actual_text(&self) -> String {
        match (self.actual, self.unit) {
            (None, _) => "nothing measured".to_owned(),
            (Some(actual), "seconds") => duration(actual),
            (Some(actual), "share") => format!("{:.3} %", actual * 100.0),
            (Some(actual), _) => format!("{actual:.0}"),
        }
    }
}

/// What a run means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Outcome {
    /// Everything held.
    Held,
    /// An objective was missed.
    Missed,
    /// Blocking calls were found, which `--deny` makes a failure.
    Denied,
    /// No verdict is possible.
    Invalid,
}

impl Outcome {
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
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Verdict {
    pub(crate) outcome: Outcome,
    pub(crate) exit_code: u8,
    pub(crate) reasons: Vec<String>,
}
