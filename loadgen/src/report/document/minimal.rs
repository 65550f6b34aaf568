//! The smallest load at which a finding appears, as plain data.

use serde::{Deserialize, Serialize};

/// The smallest load of one finding.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct MinimalLoad {
    /// The finding.
    pub(crate) id: String,
    /// The commands with their weights; null if the finding appears without
    /// any.
    pub(crate) mix: Option<String>,
    /// The lowest rate at which it appeared, in commands per second.
    pub(crate) rate: f64,
    /// The next lower rate that was tried, at which it did not appear.
    pub(crate) not_at: Option<f64>,
}
