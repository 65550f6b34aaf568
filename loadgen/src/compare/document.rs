//! What a comparison came to, as plain data: what `--json` writes.

use serde::Serialize;

/// The name of the comparison's schema.
pub(crate) const SCHEMA: &str = "loadgen.compare/1";

/// Before and after.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Comparison {
    /// Always [`SCHEMA`].
    pub(crate) schema: &'static str,
    /// The generator's version.
    pub(crate) version: &'static str,
    /// The file or command that is compared with.
    pub(crate) a: String,
    /// The one that is compared.
    pub(crate) b: String,
    /// How many runs of each there were.
    pub(crate) rounds: u64,
    /// What is drawn again and again for the intervals.
    pub(crate) drawn: &'static str,
    /// A difference below this share is none.
    pub(crate) tolerance: f64,
    /// Where the two were not asked the same.
    pub(crate) notes: Vec<String>,
    /// Latency by quantile.
    pub(crate) latency: Vec<QuantileChange>,
    /// Deliveries that never came.
    pub(crate) lost: LossChange,
    /// Blocking calls of the server; null where nobody asked it.
    pub(crate) findings: Option<Vec<FindingChange>>,
    /// `same`, `better`, `regressed` or `invalid`.
    pub(crate) outcome: ComparisonOutcome,
    /// The program's exit code.
    pub(crate) exit_code: u8,
    /// Why it is no `same`.
    pub(crate) reasons: Vec<String>,
}

/// What a comparison means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ComparisonOutcome {
    /// No difference that is more than chance and tolerance.
    Same,
    /// Something is better and nothing worse.
    Better,
    /// Something is worse.
    Regressed,
    /// A run was invalid, so nothing can be said.
    Invalid,
}

/// One quantile of the latency.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct QuantileChange {
    /// `p50`, `p90`, `p99` or `p99.9`.
    pub(crate) name: &'static str,
    /// A's; of several rounds the geometric mean.
    pub(crate) a_seconds: f64,
    /// B's.
    pub(crate) b_seconds: f64,
    /// B's divided by A's.
    pub(crate) ratio: f64,
    /// Between what the ratio lies with 95 % confidence.
    pub(crate) low: Option<f64>,
    /// The upper end.
    pub(crate) high: Option<f64>,
    /// What that means.
    pub(crate) change: ChangeKind,
}

/// Deliveries that never came, of all rounds.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct LossChange {
    pub(crate) a: u64,
    pub(crate) a_expected: u64,
    pub(crate) b: u64,
    pub(crate) b_expected: u64,
    pub(crate) change: ChangeKind,
}

/// What became of something from A to B.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ChangeKind {
    /// The difference may be chance, or is below the tolerance.
    Same,
    /// Less of it.
    Better,
    /// More of it.
    Worse,
    /// Only in B.
    New,
    /// Only in A.
    Gone,
}

/// One finding, before and after.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct FindingChange {
    pub(crate) id: String,
    pub(crate) cause: String,
    pub(crate) site: Option<String>,
    pub(crate) a_stalls: u64,
    pub(crate) b_stalls: u64,
    /// Blocked seconds per watched second.
    pub(crate) a_share: f64,
    pub(crate) b_share: f64,
    pub(crate) change: ChangeKind,
}
