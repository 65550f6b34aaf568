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
}

impl MonitorContext<'_> {
    pub(super) fn capture_tools(&mut self) -> CaptureTools<'_> {
        CaptureTools { unwinder: self.unwinder, self_metrics: self.self_metrics, signals: self.signals }
    }
}
