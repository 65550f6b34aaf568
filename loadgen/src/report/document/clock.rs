//! How well the clocks of server and generator are known, as plain data.

use serde::{Deserialize, Serialize};

use crate::hunt::{Alignment, QUESTIONS};

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

impl Clock {
    /// In seconds.
    #[expect(clippy::cast_precision_loss, reason = "a difference between two clocks, for the eye")]
    pub(crate) fn of(alignment: &Alignment) -> Self {
        Self {
            ahead_seconds: alignment.offset_ns() as f64 / 1e9,
            error_seconds: alignment.error().as_secs_f64(),
            drift_seconds: alignment.drift_ns() as f64 / 1e9,
            exchanges: 2 * QUESTIONS as u64,
        }
    }
}
