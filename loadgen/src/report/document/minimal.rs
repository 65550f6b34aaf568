//! The least load under which a finding appears, as plain data.

use serde::{Deserialize, Serialize};

/// The least load of one finding.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Minimal {
    /// The finding.
    pub(crate) id: String,
    /// The commands, by weight; null if it appears without any.
    pub(crate) mix: Option<String>,
    /// The lowest rate at which it was seen, in commands a second.
    pub(crate) rate: f64,
    /// The next lower rate that was tried, at which it was not seen.
    pub(crate) not_at: Option<f64>,
}
