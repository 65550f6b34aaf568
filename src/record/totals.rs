//! Totals of a task kind and of a worker, as plain data.

use crate::snapshot::{HistogramSnapshot, KindSnapshot};

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
    /// Of the tasks of this spawn location, those that have had a name.
    pub(crate) named: u64,
    /// Of these, those that have ended.
    pub(crate) named_completed: u64,
    /// Of the named tasks, those with another name than the first one at this
    /// location. They also count under that name.
    pub(crate) other_names: u64,
    /// Of these, those that have ended.
    pub(crate) other_names_completed: u64,
}

impl KindTotals {
    /// Adds the values to a snapshot.
    pub(crate) fn add_to(&self, snapshot: &mut KindSnapshot) {
        snapshot.poll_time.merge(&self.poll_time);
        snapshot.schedule_delay.merge(&self.schedule_delay);
        snapshot.spawned += self.spawned;
        snapshot.completed += self.completed;
        snapshot.self_wakes += self.self_wakes;
        snapshot.lost_wakers += self.lost_wakers;
        snapshot.never_yielded += self.never_yielded;
    }
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
