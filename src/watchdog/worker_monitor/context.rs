//! What the monitors of all workers share.

use crate::outbox::Outbox;
use crate::record::recorder::Recorder;
use crate::self_metrics::SelfMetrics;
use crate::settings::Signals;
use crate::token_bucket::TokenBucket;
use crate::watchdog::inspector::{CaptureTools, Unwinder};
use crate::watchdog::process_clock::ProcessClock;

/// What a monitor needs in addition to its worker.
pub(crate) struct MonitorContext<'c> {
    pub(crate) recorder: &'c Recorder,
    pub(crate) self_metrics: &'c SelfMetrics,
    pub(crate) unwinder: &'c mut Unwinder,
    pub(crate) capture_budget: &'c mut TokenBucket,
    pub(crate) outbox: &'c Outbox,
    pub(crate) signals: Signals,
    pub(crate) process_clock: &'c mut ProcessClock,
    /// The number of the pass.
    pub(crate) pass: usize,
    /// The number of workers.
    pub(crate) workers: usize,
    /// The position of the worker among them, in this pass.
    pub(crate) position: usize,
}

/// How many workers' CPU times are read between polls in one pass. A reading
/// takes up to two microseconds. With more workers, the readings are older.
const READINGS_PER_PASS: usize = 4;

impl MonitorContext<'_> {
    /// Returns whether the CPU times of the worker are read in this pass. The
    /// workers take turns.
    pub(super) fn is_reading_due(&self) -> bool {
        let turns = self.workers.div_ceil(READINGS_PER_PASS).max(1);
        (self.pass.wrapping_add(self.position)).is_multiple_of(turns)
    }

    pub(super) fn capture_tools(&mut self) -> CaptureTools<'_> {
        CaptureTools { unwinder: self.unwinder, self_metrics: self.self_metrics, signals: self.signals }
    }
}
