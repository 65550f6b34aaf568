//! Requests that connections sent. The pacer counts what it sends itself, but a
//! request waits in a queue until a connection is free for it.

use super::timeline::Bins;
use crate::plan::Plan;

/// Counts of requests that were handed to a connection.
#[derive(Debug)]
pub(crate) struct SentRequests {
    bins: Bins,
    /// By stage of the due time.
    pub(crate) by_stage: Vec<u64>,
    /// By bin of the due time.
    pub(crate) by_bin: Vec<u64>,
    /// When the last one was sent, in nanoseconds since the measurement began.
    pub(crate) last_ns: u64,
}

impl SentRequests {
    /// Returns the counts of a run without requests.
    pub(crate) fn new(plan: &Plan) -> Self {
        let bins = Bins::new(plan.duration());
        let by_stage = vec![0; plan.stages.all().len()];
        Self { bins, by_stage, by_bin: vec![0; bins.count()], last_ns: 0 }
    }

    /// Counts a request of `stage`.
    pub(crate) fn count(&mut self, stage: usize, due_ns: u64, sent_ns: u64) {
        self.by_stage[stage] += 1;
        self.by_bin[self.bins.index(due_ns)] += 1;
        self.last_ns = self.last_ns.max(sent_ns);
    }

    /// Adds the counts of `other`, which is of the same run.
    pub(crate) fn add(&mut self, other: &Self) {
        let add = |sums: &mut [u64], counts: &[u64]| {
            sums.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
        };
        add(&mut self.by_stage, &other.by_stage);
        add(&mut self.by_bin, &other.by_bin);
        self.last_ns = self.last_ns.max(other.last_ns);
    }
}
