//! What the exporters may ask of the core: plain data, made on request.

use std::time::{Duration, SystemTime};

use crate::finding::{FindingsDocument, StallsDocument};
use crate::record::flight_recorder::FlightPoll;
use crate::snapshot::Snapshot;

/// Where snapshots and findings come from.
///
/// Every method is called from the exporters' own threads while the watched
/// event loop may be blocked: none may wait for it.
// Without the telemetry thread nobody asks for stalls and health.
#[cfg_attr(not(feature = "telemetry"), allow(dead_code))]
pub(crate) trait Source: Send + Sync + 'static {
    /// Everything recorded, now.
    fn snapshot(&self) -> Snapshot;
    /// Everything found so far.
    fn findings(&self) -> FindingsDocument;
    /// The stalls that had not ended by `since`; all that are kept
    /// without it.
    fn stalls(&self, since: Option<SystemTime>) -> StallsDocument;
    /// The watched runtimes that have run, by the names that a snapshot has.
    #[cfg(feature = "tokio-metrics")]
    fn runtimes(&self) -> Vec<(String, tokio::runtime::Handle)>;
    /// The polls of some length that had not ended by `since_unix_ns`, as far as
    /// they are kept.
    fn flight(&self, since_unix_ns: u64) -> Vec<FlightPoll>;
    /// Whether any worker is able to poll.
    fn health(&self) -> Health;
}

/// Whether the event loop can do anything at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(not(feature = "telemetry"), allow(dead_code))]
pub(crate) enum Health {
    /// At least one worker is not blocked.
    Ok,
    /// None is.
    AllWorkersBlocked {
        /// How many there are.
        workers: usize,
        /// Age of the oldest poll in progress.
        longest: Duration,
    },
}
