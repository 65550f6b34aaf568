//! Totals of a task kind and of a worker, as plain data.

use crate::snapshot::HistogramSnapshot;

/// What was recorded about one task kind.
#[derive(Debug, Clone, Default)]
pub(crate) struct KindTotals {
    pub(crate) poll_time: HistogramSnapshot,
    pub(crate) schedule_delay: HistogramSnapshot,
    pub(crate) spawned: u64,
    pub(crate) completed: u64,
    pub(crate) self_wakes: u64,
    pub(crate) lost_wakers: u64,
    pub(crate) never_yielded: u64,
}

/// What was recorded about a worker as a whole.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct WorkerTotals {
    pub(crate) busy_nanos: u64,
    pub(crate) polls: u64,
    pub(crate) parks: u64,
}

impl WorkerTotals {
    pub(crate) fn add(&mut self, other: Self) {
        self.busy_nanos += other.busy_nanos;
        self.polls += other.polls;
        self.parks += other.parks;
    }
}
