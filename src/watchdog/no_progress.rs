//! Without hooks for polls: whether a worker that runs has got anywhere.
//!
//! Between its unpark and its park a worker polls, and nothing tells how many
//! tasks. Tokio publishes a worker's counters as it parks and after every 61st
//! poll at the latest, so one whose counters stand still is in one long poll, or
//! in a few long ones.

use tokio::runtime::RuntimeMetrics;

use crate::record::clock::Ticks;
use crate::record::recorder::Recorder;
use crate::record::slot::ActivePoll;
use crate::record::worker::Worker;

/// The worker's counters as they were last seen to change.
#[derive(Debug, Default)]
pub(crate) struct NoProgress {
    seq: u64,
    counters: Option<(u64, u64)>,
    since: Ticks,
}

impl NoProgress {
    /// The poll, if it is one; in place of what runs unnamed, the time since the
    /// worker was last seen to get on.
    pub(crate) fn poll(&mut self, poll: ActivePoll, worker: &Worker, recorder: &Recorder) -> ActivePoll {
        if poll.kind != recorder.unnamed_kind {
            return poll;
        }
        let now = recorder.clock.ticks();
        let counters = counters(worker, recorder);
        if self.seq != poll.seq || self.counters != counters || counters.is_none() {
            // What began before the last look may be over since.
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
