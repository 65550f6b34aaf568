//! The load figures of a report.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use super::histograms::Histograms;
use crate::plan::channel_name;
use crate::record::Counts;

/// The load figures; all but the connections are of the measured time alone.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Load {
    #[serde(default)]
    pub(crate) connections: Connections,
    #[serde(default)]
    pub(crate) measured_seconds: f64,
    #[serde(default)]
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
    #[serde(default)]
    pub(crate) stages: Vec<StageLoad>,
    /// Deliveries by room, where any went wrong.
    #[serde(default)]
    pub(crate) rooms: Rooms,
    /// What those got who came and went (`--churn`).
    #[serde(default)]
    pub(crate) visitors: Visitors,
    /// The distribution of the latency, from its half to its end.
    #[serde(default)]
    pub(crate) spectrum: Vec<SpectrumPoint>,
    /// All of them behind the figures, so that reports can be added up.
    pub(crate) histograms: Histograms,
    /// How it went over time.
    #[serde(default)]
    pub(crate) timeline: LoadTimeline,
    /// Failed connections and words out of place, by kind.
    #[serde(default)]
    pub(crate) failures: BTreeMap<String, u64>,
    /// The first failure of the commonest kind, in words.
    pub(crate) first_failure: Option<String>,
}

/// What became of the connections.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Connections {
    /// That were to be opened.
    pub(crate) asked: u64,
    /// That joined their room.
    pub(crate) joined: u64,
    /// That ended before the run did.
    pub(crate) lost: u64,
}

/// What became of the commands.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
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
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct CommandCount {
    pub(crate) planned: u64,
    pub(crate) sent: u64,
    pub(crate) skipped: u64,
}

/// What became of the messages, receiver by receiver.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Deliveries {
    pub(crate) expected: u64,
    #[serde(default)]
    pub(crate) delivered: u64,
    pub(crate) lost: u64,
    #[serde(default)]
    pub(crate) duplicated: u64,
    #[serde(default)]
    pub(crate) out_of_order: u64,
    /// That took longer than the tightest objective on latency.
    #[serde(default)]
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
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
#[serde(default)]
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
    pub(crate) const fn from_counts(visits: u64, counts: &Counts) -> Self {
        let &Counts { delivered, lost, duplicated, out_of_order, .. } = counts;
        Self { visits, delivered, lost, duplicated, out_of_order }
    }
}

/// How many rooms the report names.
const MAX_ROOMS: usize = 20;

/// Deliveries by room.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
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
    pub(crate) fn from_counts(counts: &[Counts]) -> Self {
        let mut faulty: Vec<_> =
            counts.iter().enumerate().filter(|(_, counts)| counts.faults() > 0).collect();
        faulty.sort_by_key(|(_, counts)| std::cmp::Reverse(counts.faults()));
        let worst = faulty.iter().take(MAX_ROOMS);
        let worst =
            worst.map(|&(room, &counts)| RoomLoad { room: channel_name(room), deliveries: counts.into() });
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
    pub(crate) fn from_histogram(histogram: &Histogram<u64>) -> Option<Self> {
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

/// A point of a distribution: the share `quantile` of the samples is at most
/// `seconds`.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct SpectrumPoint {
    pub(crate) quantile: f64,
    pub(crate) seconds: f64,
}

/// A run over time, cut into stretches of the same length.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct LoadTimeline {
    pub(crate) bin_seconds: f64,
    pub(crate) bins: Vec<TimelineBin>,
}

/// One stretch of a run.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct TimelineBin {
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
