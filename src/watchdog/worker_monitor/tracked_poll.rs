//! A poll that is followed from pass to pass.

use crate::evidence::{Capture, TimeSplit};
use crate::record::slot::ActivePoll;
use crate::watchdog::sample::{ThreadActivity, ThreadSample};
use crate::watchdog::time_split::TimeSplitter;

/// The part of a poll's own time for which a thread must have run to be met
/// running and believed.
const LEAST_SHARE: u64 = 4;
/// So many looks in turn may meet a thread that has just woken. More are no chance:
/// it waits for short times, in step with the watchdog.
pub(super) const WOKEN_LOOKS: u32 = 8;

/// A poll that was in progress at a look.
pub(super) struct TrackedPoll {
    pub(super) poll: ActivePoll,
    pub(super) time_split: Option<TimeSplitter>,
    /// While it went on, the whole process, or machine, stood still for so long.
    pub(super) lost_nanos: u64,
    pub(super) captures: Vec<Capture>,
    /// Whether it has been asked who holds the lock that it waits for.
    pub(super) holder_sought: bool,
    /// The own time at which the next capture is due; doubles each time.
    pub(super) next_capture_nanos: u64,
    /// How many looks in turn have met it just woken.
    pub(super) woken_looks: u32,
    /// How many of [`LASTS_NANOS`] had passed as it was last told.
    pub(super) told: Option<usize>,
}

impl TrackedPoll {
    pub(super) fn new(poll: ActivePoll, threshold_nanos: u64) -> Self {
        Self {
            poll,
            time_split: None,
            lost_nanos: 0,
            captures: Vec::new(),
            holder_sought: false,
            next_capture_nanos: threshold_nanos,
            woken_looks: 0,
            told: None,
        }
    }

    /// Where the time of the poll went. What is not certain of its first few
    /// milliseconds, before the first look, is split like the rest.
    pub(super) fn times(&self, duration_nanos: u64) -> TimeSplit {
        let times = self.time_split.as_ref().map(TimeSplitter::times).unwrap_or_default();
        times.scaled_to(duration_nanos.saturating_sub(self.lost_nanos))
    }

    /// The part of the poll's time for which the code, not the machine, is to
    /// blame.
    pub(super) fn own_nanos(&self, duration_nanos: u64) -> u64 {
        self.times(duration_nanos).own()
    }
}

/// Whether a thread runs that has waited for most of the time: what it does now
/// is not what took so long. The next look tells, if there is one.
pub(super) fn has_just_woken(sample: &ThreadSample, times: TimeSplit) -> bool {
    sample.activity == ThreadActivity::Running && times.on_cpu < times.own() / LEAST_SHARE
}
