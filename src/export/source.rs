//! The interface through which exporters read snapshots and findings: plain
//! data on request.

use std::time::{Duration, SystemTime};

#[cfg(all(feature = "attach", stack_capture))]
use crate::attach::document::PsDocument;
#[cfg(all(feature = "attach", stack_capture))]
use crate::attach::error::AttachError;
use crate::finding::{Finding, FindingsDocument, StallsDocument};
use crate::snapshot::{FlightRecording, RecordedPolls, Snapshot};

/// Provides snapshots and findings.
///
/// The exporters call these methods on their own threads, even while the
/// watched event loop is blocked. No method may wait for the event loop.
// Only the telemetry thread reads stalls and health.
#[cfg_attr(not(feature = "telemetry"), allow(dead_code))]
pub(crate) trait Source: Send + Sync + 'static {
    /// Returns all recorded data at this moment.
    fn snapshot(&self) -> Snapshot;
    /// Returns all findings so far.
    fn findings(&self) -> FindingsDocument;
    /// Returns the findings of the stalls that have ended, without those in
    /// progress. Their counts and totals never decrease.
    fn ended_findings(&self) -> Vec<Finding>;
    /// Returns the stalls that had not ended at `since`, or, without `since`,
    /// all stalls that are kept.
    fn stalls(&self, since: Option<SystemTime>) -> StallsDocument;
    /// Returns the watched runtimes with their names, as in
    /// [`Snapshot::runtimes`].
    #[cfg(feature = "tokio-metrics")]
    fn runtimes(&self) -> Vec<(String, tokio::runtime::Handle)>;
    /// Returns the polls and the stalls of the last `length`, up to now. The
    /// flight recorder does not keep very short polls.
    fn flight(&self, length: Duration) -> FlightRecording;
    /// Returns the polls of each worker that the flight recorder keeps and that
    /// had not ended at `since`.
    fn recorded_polls(&self, since: SystemTime) -> RecordedPolls;
    /// Reads all tasks, and what each of them awaits. That may take seconds, on
    /// a thread that does nothing else: its priority becomes low. `asking` has
    /// the ids of the tasks of an exporter that ask for it: their runtime is
    /// left out.
    #[cfg(all(feature = "attach", stack_capture))]
    fn tasks_tree(&self, asking: &[u64]) -> Result<PsDocument, AttachError>;
    /// Returns whether any worker can poll.
    fn health(&self) -> Health;
}

/// Whether the event loop can make progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(not(feature = "telemetry"), allow(dead_code))]
pub(crate) enum Health {
    /// At least one worker polls.
    Ok,
    /// All workers are in long polls, and for at least one of them the code is
    /// not known to be the cause: its thread had no CPU, the process was
    /// stopped, or nothing is known of that time.
    Starved {
        /// The number of workers.
        workers: usize,
        /// The age of the oldest poll in progress.
        longest: Duration,
    },
    /// All workers are blocked by their code.
    AllWorkersBlocked {
        /// The number of workers.
        workers: usize,
        /// The age of the oldest poll in progress.
        longest: Duration,
    },
}
