//! Detects workers without progress where Tokio has no hooks for polls.
//!
//! Between its unpark and its park a worker polls an unknown number of tasks.
//! Tokio publishes a worker's counters when the worker parks, and at the latest
//! after every 61st poll. A running worker whose counters do not change is
//! therefore in one long poll, or in a few long polls.

use tokio::runtime::RuntimeMetrics;

use crate::record::clock::Ticks;
use crate::record::recorder::Recorder;
use crate::record::slot::ActivePoll;
use crate::record::worker::Worker;

/// The worker's counters, and when their last change was observed.
#[derive(Debug, Default)]
pub(crate) struct NoProgress {
    seq: u64,
    counters: Option<(u64, u64)>,
    since: Ticks,
}

impl NoProgress {
    /// Returns a real poll unchanged. Where `poll` stands for everything that
    /// runs between unpark and park, returns it with its start moved to the
    /// last observed progress.
    pub(crate) fn since_last_progress(
        &mut self,
        poll: ActivePoll,
        worker: &Worker,
        recorder: &Recorder,
    ) -> ActivePoll {
        if poll.kind != recorder.unnamed_kind {
            return poll;
        }
        let now = recorder.clock.ticks();
        let counters = counters(worker, recorder);
        if self.seq != poll.seq || self.counters != counters || counters.is_none() {
            // After progress, the poll in progress began at an unknown time
            // since the last pass. Its time is counted from now on.
            let is_new = self.seq != poll.seq;
            *self = Self { seq: poll.seq, counters, since: if is_new { poll.start } else { now } };
        }
        ActivePoll { start: self.since, ..poll }
    }
}

fn counters(worker: &Worker, recorder: &Recorder) -> Option<(u64, u64)> {
    let metrics: RuntimeMetrics = recorder.runtimes.metrics_by_label(&worker.label.runtime)?;
    let index = worker.label.worker.parse().ok().filter(|index| *index < metrics.num_workers())?;
    let busy = metrics.worker_total_busy_duration(index).as_nanos() as u64;
    Some((busy, metrics.worker_park_unpark_count(index)))
}
