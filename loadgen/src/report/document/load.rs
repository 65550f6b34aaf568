//! The load figures of a report.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::histograms::Histograms;
use super::logins::Logins;
use super::timing::{SpectrumPoint, Timing};
use crate::plan::channel_name;
use crate::record::Counts;

/// The load figures. Except for the connections, they are of the measured time.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Load {
    #[serde(default)]
    pub(crate) connections: Connections,
    #[serde(default)]
    pub(crate) measured_seconds: f64,
    #[serde(default)]
    pub(crate) commands: Commands,
    pub(crate) deliveries: Deliveries,
    /// From due time to receipt; lost deliveries are included as censored
    /// samples.
    pub(crate) latency: Option<Timing>,
    /// From send to receipt, of the received deliveries: the latency of a
    /// closed model.
    pub(crate) service: Option<Timing>,
    /// From due time to send: the generator's own lateness.
    pub(crate) send_lag: Option<Timing>,
    /// The figures by stage of the plan. A command belongs to the stage that
    /// contains its due time.
    #[serde(default)]
    pub(crate) stages: Vec<StageLoad>,
    /// Channels with lost, duplicated or out-of-order deliveries.
    #[serde(default)]
    pub(crate) rooms: Rooms,
    /// How long connections took until they were ready.
    #[serde(default)]
    pub(crate) logins: Logins,
    /// Deliveries to visitors: those of `--churn`, and the connections of
    /// `--storm`.
    #[serde(default)]
    pub(crate) visitors: Visitors,
    /// Points of the distribution of the latency.
    #[serde(default)]
    pub(crate) spectrum: Vec<SpectrumPoint>,
    /// The histograms of the figures, so that reports can be merged.
    pub(crate) histograms: Histograms,
    /// The run over time.
    #[serde(default)]
    pub(crate) timeline: LoadTimeline,
    /// Failed connections and protocol errors, by kind.
    #[serde(default)]
    pub(crate) failures: BTreeMap<String, u64>,
    /// The text of the first failure of the most frequent kind.
    pub(crate) first_failure: Option<String>,
}

/// Counts of connections.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Connections {
    /// Connections to open.
    pub(crate) asked: u64,
    /// Connections that joined their channel.
    pub(crate) joined: u64,
    /// Connections that closed before the end of the run.
    pub(crate) lost: u64,
}

/// Counts of commands.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Commands {
    pub(crate) planned: u64,
    pub(crate) sent: u64,
    pub(crate) skipped: u64,
    /// Commands that were sent later than `max_send_lag_seconds` after they
    /// were due.
    pub(crate) late: u64,
    pub(crate) planned_per_second: f64,
    pub(crate) sent_per_second: f64,
    /// Counts by command.
    pub(crate) by_kind: BTreeMap<String, CommandCount>,
    /// Replies that refuse a command, by their numeric.
    pub(crate) error_replies: BTreeMap<u16, u64>,
}

/// Counts of one kind of command.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct CommandCount {
    pub(crate) planned: u64,
    pub(crate) sent: u64,
    pub(crate) skipped: u64,
}

/// Counts of deliveries: one for each message and receiver.
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
    /// Deliveries that took longer than the tightest latency objective.
    #[serde(default)]
    pub(crate) late: u64,
}

impl From<Counts> for Deliveries {
    fn from(counts: Counts) -> Self {
        let Counts { expected, delivered, lost, duplicated, out_of_order, late } = counts;
        Self { expected, delivered, lost, duplicated, out_of_order, late }
    }
}

/// The figures of one stage of the plan.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct StageLoad {
    /// Commands per second at its beginning.
    pub(crate) from_rate: f64,
    /// Commands per second at its end.
    pub(crate) to_rate: f64,
    /// Its planned duration.
    pub(crate) seconds: f64,
    pub(crate) commands: CommandCount,
    pub(crate) deliveries: Deliveries,
    /// From due time to receipt, with two significant digits.
    pub(crate) latency: Option<Timing>,
}

/// Deliveries to visitors: clients that joined a measured channel and left it
/// again. Between the first and the last message that a visitor got from a
/// sender, none may be missing. These deliveries are in none of the other
/// figures.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Visitors {
    /// Visitors that joined and left.
    pub(crate) visits: u64,
    pub(crate) delivered: u64,
    pub(crate) lost: u64,
    pub(crate) duplicated: u64,
    pub(crate) out_of_order: u64,
}

impl Visitors {
    /// Returns the figures of all visitors together.
    pub(crate) const fn from_counts(visits: u64, counts: &Counts) -> Self {
        let &Counts { delivered, lost, duplicated, out_of_order, .. } = counts;
        Self { visits, delivered, lost, duplicated, out_of_order }
    }
}

/// Maximum number of channels that a report names.
pub(crate) const MAX_NAMED_CHANNELS: usize = 20;

/// Channels with lost, duplicated or out-of-order deliveries.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Rooms {
    /// Number of these channels.
    pub(crate) faulty: u64,
    /// The worst ones, the worst first.
    pub(crate) worst: Vec<RoomLoad>,
}

/// The deliveries of one channel.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct RoomLoad {
    pub(crate) room: String,
    pub(crate) deliveries: Deliveries,
}

impl Rooms {
    /// Returns the figures for the counts of all channels. The index of a count
    /// is the number of its channel.
    pub(crate) fn from_counts(counts: &[Counts]) -> Self {
        let mut faulty: Vec<_> =
            counts.iter().enumerate().filter(|(_, counts)| counts.faults() > 0).collect();
        faulty.sort_by_key(|(_, counts)| std::cmp::Reverse(counts.faults()));
        let worst = faulty.iter().take(MAX_NAMED_CHANNELS);
        let worst =
            worst.map(|&(room, &counts)| RoomLoad { room: channel_name(room), deliveries: counts.into() });
        Self { faulty: faulty.len() as u64, worst: worst.collect() }
    }
}

/// A run over time, in bins of equal length.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct LoadTimeline {
    pub(crate) bin_seconds: f64,
    pub(crate) bins: Vec<TimelineBin>,
}

/// One bin of a run.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct TimelineBin {
    /// Commands that were due in the bin.
    pub(crate) planned: u64,
    /// Those of them that were sent, in the bin or later.
    pub(crate) sent: u64,
    /// Deliveries that arrived in the bin.
    pub(crate) delivered: u64,
    /// The latency of deliveries that were due in the bin, with one significant
    /// digit; `None` if no delivery was due.
    pub(crate) p50_seconds: Option<f64>,
    pub(crate) p99_seconds: Option<f64>,
    pub(crate) max_seconds: Option<f64>,
    /// Logins of a storm that were due in the bin.
    #[serde(default)]
    pub(crate) logins_due: u64,
    /// The longest of them; `None` if none was due.
    pub(crate) login_max_seconds: Option<f64>,
}
