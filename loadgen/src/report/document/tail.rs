//! What the slow deliveries waited for, as plain data.

use serde::{Deserialize, Serialize};

/// The slow deliveries, and the accounts that their waiting was put to:
/// [`crate::hunt`] says how.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Tail {
    /// What makes a delivery slow: `p99`, or an objective.
    pub(crate) threshold: String,
    /// The same as a time.
    pub(crate) threshold_seconds: f64,
    /// How many took longer.
    pub(crate) deliveries: u64,
    /// How many of them were kept and looked at.
    pub(crate) looked_at: u64,
    /// How long they waited, all together.
    pub(crate) waited_seconds: f64,
    /// The part of it in which a stall of a finding held up some worker.
    pub(crate) explained_share: f64,
    /// The part from the end of the last stall to the arrival.
    pub(crate) after_share: f64,
    /// The part from due to sent: the generator's own lateness.
    pub(crate) generator_share: f64,
    /// The rest.
    pub(crate) unexplained_share: f64,
    /// By finding, the largest share first.
    pub(crate) findings: Vec<Share>,
}

/// One finding's share of what the slow deliveries waited.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Share {
    /// The finding.
    pub(crate) id: String,
    /// Its part of the waiting.
    pub(crate) share: f64,
    /// What the share would be of a delivery that has nothing to do with it.
    pub(crate) share_by_chance: f64,
    /// The part that was waited after one of its stalls had ended.
    pub(crate) after_share: f64,
    /// Slow deliveries that met one of its stalls.
    pub(crate) deliveries: u64,
    /// Its stalls while it was measured.
    pub(crate) stalls: u64,
    /// Those of them that a slow delivery met; the others hurt nobody.
    pub(crate) hurtful_stalls: u64,
    /// Stalls that it counts and of which the server could not tell the times.
    pub(crate) missing_stalls: u64,
}

/// The server's clock against this machine's.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Clock {
    /// By how much the server's was ahead as the run ended.
    pub(crate) ahead_seconds: f64,
    /// By how much its times, put on this machine's clock, can be wrong.
    pub(crate) error_seconds: f64,
    /// By how much it got ahead during the run.
    pub(crate) drift_seconds: f64,
    /// How often it was asked, before and after the run together.
    pub(crate) exchanges: u64,
}
