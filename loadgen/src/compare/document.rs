//! The comparison as plain data: the fields that `--json` writes.

use serde::Serialize;

/// The name of the comparison's schema.
pub(crate) const SCHEMA: &str = "loadgen.compare/1";

/// A comparison of runs before and after a change.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Comparison {
    /// Always [`SCHEMA`].
    pub(crate) schema: &'static str,
    /// The generator's version.
    pub(crate) version: &'static str,
    /// The file or command before the change.
    pub(crate) a: String,
    /// The file or command after the change.
    pub(crate) b: String,
    /// Number of runs of each side.
    pub(crate) rounds: u64,
    /// The unit that is resampled for the intervals.
    pub(crate) drawn: &'static str,
    /// Smaller differences than this share are ignored.
    pub(crate) tolerance: f64,
    /// The settings that differ between the two sides.
    pub(crate) notes: Vec<String>,
    /// Latency by quantile.
    pub(crate) latency: Vec<QuantileChange>,
    /// Deliveries that never arrived.
    pub(crate) lost: LossChange,
    /// Blocking calls of the server; null unless both sides have findings.
    pub(crate) findings: Option<Vec<FindingChange>>,
    /// `same`, `better`, `regressed` or `invalid`.
    pub(crate) outcome: ComparisonOutcome,
    /// The program's exit code.
    pub(crate) exit_code: u8,
    /// The reasons of an outcome of `regressed` or `invalid`.
    pub(crate) reasons: Vec<String>,
}

/// The outcome of a comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ComparisonOutcome {
    /// No difference exceeds chance and tolerance.
    Same,
    /// Something is better and nothing worse.
    Better,
    /// Something is worse.
    Regressed,
    /// A run was invalid, or the latency could not be judged and nothing else
    /// changed, so no comparison is possible.
    Invalid,
}

/// One quantile of the latency.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct QuantileChange {
    /// `p50`, `p90`, `p99` or `p99.9`.
    pub(crate) name: &'static str,
    /// A's latency; for several rounds the geometric mean.
    pub(crate) a_seconds: f64,
    /// B's latency.
    pub(crate) b_seconds: f64,
    /// B's latency divided by A's.
    pub(crate) ratio: f64,
    /// The lower end of the ratio's interval, with 95 % confidence.
    pub(crate) low: Option<f64>,
    /// The upper end of the ratio's interval.
    pub(crate) high: Option<f64>,
    /// The kind of the change.
    pub(crate) change: ChangeKind,
}

/// Deliveries that never arrived, of all rounds.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct LossChange {
    pub(crate) a: u64,
    pub(crate) a_expected: u64,
    pub(crate) b: u64,
    pub(crate) b_expected: u64,
    pub(crate) change: ChangeKind,
}

/// The kind of a change from A to B.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ChangeKind {
    /// The difference may be chance, or is below the tolerance.
    Same,
    /// B is better.
    Better,
    /// B is worse.
    Worse,
    /// Only in B.
    New,
    /// Only in A.
    Gone,
}

/// One finding, before and after the change.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct FindingChange {
    pub(crate) id: String,
    pub(crate) cause: String,
    pub(crate) site: Option<String>,
    pub(crate) a_stalls: u64,
    pub(crate) b_stalls: u64,
    /// Blocked seconds per observed second.
    pub(crate) a_share: f64,
    pub(crate) b_share: f64,
    pub(crate) change: ChangeKind,
}
