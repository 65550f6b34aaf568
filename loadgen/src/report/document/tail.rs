//! What the slow deliveries waited for, and how precisely the clocks are
//! aligned, as plain data.

use serde::{Deserialize, Serialize};

/// The slow deliveries, or the slow logins, and the categories of their waiting
/// time, which [`crate::hunt`] defines.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Tail {
    /// A delivery is slow above this: `p99`, or an objective; a login from
    /// `p90` on, or above an objective.
    pub(crate) threshold: String,
    /// The same, in seconds.
    pub(crate) threshold_seconds: f64,
    /// Number of slow deliveries, or logins.
    pub(crate) deliveries: u64,
    /// How many of them were kept and examined.
    pub(crate) looked_at: u64,
    /// How long they waited in total.
    pub(crate) waited_seconds: f64,
    /// The share of that time in which a stall of a finding blocked some
    /// worker.
    pub(crate) explained_share: f64,
    /// The share from the end of the last stall in which one waited to its
    /// arrival.
    pub(crate) after_share: f64,
    /// The share from due time to send: the generator's own lateness.
    pub(crate) generator_share: f64,
    /// The rest.
    pub(crate) unexplained_share: f64,
    /// By finding, the largest share first.
    pub(crate) findings: Vec<Share>,
}

/// One finding's share of the time that the slow ones waited.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Share {
    /// The finding.
    pub(crate) id: String,
    /// Its share of the waiting time.
    pub(crate) share: f64,
    /// The share that is expected if they are independent of the finding:
    /// the finding's stalls as a share of the measured time.
    pub(crate) share_by_chance: f64,
    /// The share of the waiting time after the end of one of its stalls.
    pub(crate) after_share: f64,
    /// Slow deliveries, or logins, that waited in one of its stalls.
    pub(crate) deliveries: u64,
    /// Its stalls during the measurement.
    pub(crate) stalls: u64,
    /// Those of them in which a slow delivery, or login, waited.
    pub(crate) hurtful_stalls: u64,
    /// Stalls that the finding counts and whose times are unknown.
    pub(crate) missing_stalls: u64,
}

/// The server's clock relative to this machine's.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Clock {
    /// By how much the server's clock was ahead at the end of the run.
    pub(crate) ahead_seconds: f64,
    /// The largest error of the server's times when they are converted to this
    /// machine's clock.
    pub(crate) error_seconds: f64,
    /// How much farther the server's clock advanced during the run than this
    /// machine's clock.
    pub(crate) drift_seconds: f64,
    /// Number of requests for its time, before and after the run together.
    pub(crate) exchanges: u64,
}
