//! The totals of threads that have ended.

use std::collections::{HashSet, VecDeque};

use crate::record::runtimes::WorkerLabel;
use crate::record::totals::{KindTotals, WorkerTotals};
use crate::record::worker::Worker;

/// How many labels without a thread keep totals of their own. The threads of a
/// pool often follow each other under one label.
const MAX_ENDED_LABELS: usize = 16;

/// The totals of all threads that have ended. They take bounded memory,
/// whatever the number of threads.
#[derive(Debug, Clone, Default)]
pub(crate) struct EndedTotals {
    /// By the index of the kind.
    pub(crate) kinds: Vec<KindTotals>,
    /// The label that ended last is at the back.
    pub(crate) labels: VecDeque<(WorkerLabel, WorkerTotals)>,
    /// The workers whose labels were removed.
    pub(crate) other_labels: WorkerTotals,
    pub(crate) lost_events: u64,
}

impl EndedTotals {
    /// Adds the totals of a thread that has ended. `kinds` is the number of
    /// known kinds, and `live` has the workers that remain.
    pub(crate) fn add<'w>(
        &mut self,
        worker: &Worker,
        kinds: usize,
        live: impl Iterator<Item = &'w Worker> + Clone,
    ) {
        let carried = worker.carried.read();
        self.kinds.resize_with(self.kinds.len().max(kinds), KindTotals::default);
        for (totals, record) in self.kinds.iter_mut().zip(worker.kind_records()) {
            record.add_to(totals, &carried);
        }
        self.lost_events += worker.events.lost();
        let known = self.labels.iter().position(|(label, _)| *label == worker.label);
        let known = known.and_then(|index| self.labels.remove(index));
        let (label, mut totals) = known.unwrap_or_else(|| (worker.label.clone(), WorkerTotals::default()));
        totals.add(worker.totals());
        self.labels.push_back((label, totals));
        if self.labels.len() > MAX_ENDED_LABELS {
            self.remove_old_labels(live);
        }
    }

    /// Moves the totals of the oldest labels that no thread has into
    /// [`Self::other_labels`].
    fn remove_old_labels<'w>(&mut self, live: impl Iterator<Item = &'w Worker>) {
        let live: HashSet<_> = live.map(|worker| &worker.label).collect();
        let unused = self.labels.iter().filter(|(label, _)| !live.contains(label)).count();
        let mut excess = unused.saturating_sub(MAX_ENDED_LABELS);
        let other_labels = &mut self.other_labels;
        self.labels.retain(|(label, totals)| {
            let is_removed = excess > 0 && !live.contains(label);
            if is_removed {
                excess -= 1;
                other_labels.add(*totals);
            }
            !is_removed
        });
    }
}
