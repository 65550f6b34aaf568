//! All workers and kinds of one scope.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{
            AtomicBool, AtomicU64,
            Ordering::{Acquire, Relaxed, Release},
        },
    },
    time::Duration,
};

use super::{
    HistogramSnapshot, KindSnapshot, RuntimeSnapshot, WorkerSnapshot,
    clock::Clock,
    doze::Doze,
    kinds::{Kind, Kinds},
    runtimes::Runtimes,
    worker::Worker,
};
use crate::os;

/// Where everything is recorded that a scope watches.
#[derive(Debug)]
pub(crate) struct Recorder {
    pub(crate) id: u64,
    pub(crate) clock: Clock,
    pub(crate) threshold_nanos: u64,
    pub(crate) kinds: Kinds,
    pub(crate) doze: Doze,
    pub(crate) runtimes: Runtimes,
    live: AtomicBool,
    workers: Mutex<Workers>,
    generation: AtomicU64,
}

#[derive(Debug, Default)]
struct Workers {
    /// Every worker there ever was, in the order of their first polls.
    all: Vec<Arc<Worker>>,
    /// Those whose thread has ended.
    retired: Vec<Arc<Worker>>,
}

impl Recorder {
    pub(crate) fn new(threshold: Duration) -> Self {
        static NEXT_ID: AtomicU64 = AtomicU64::new(1);
        Self {
            id: NEXT_ID.fetch_add(1, Relaxed),
            clock: Clock::new(),
            threshold_nanos: u64::try_from(threshold.as_nanos()).unwrap_or(u64::MAX),
            kinds: Kinds::new(),
            doze: Doze::default(),
            runtimes: Runtimes::default(),
            live: AtomicBool::new(true),
            workers: Mutex::default(),
            generation: AtomicU64::new(0),
        }
    }

    /// Whether the scope still exists: hooks do nothing once it is gone.
    #[inline]
    pub(crate) fn is_live(&self) -> bool {
        self.live.load(Relaxed)
    }

    /// The scope is gone.
    pub(crate) fn end(&self) {
        self.live.store(false, Relaxed);
        self.runtimes.clear();
    }

    /// A worker for the calling thread, with the totals of an ended thread of
    /// the same label if there is one.
    pub(crate) fn register(&self, label: &str) -> Arc<Worker> {
        let mut workers = self.workers();
        let reusable = workers.retired.iter().position(|worker| is_numbered(&worker.label, label));
        let worker = if let Some(index) = reusable {
            workers.retired.swap_remove(index)
        } else {
            let worker = Arc::new(Worker::new(unused_label(&workers.all, label)));
            workers.all.push(Arc::clone(&worker));
            worker
        };
        worker.set_thread(os::current_thread());
        worker.slot.set_awake();
        self.generation.fetch_add(1, Release);
        self.doze.wake();
        worker
    }

    /// The worker's thread ends.
    pub(crate) fn retire(&self, worker: Arc<Worker>) {
        worker.set_thread(None);
        worker.slot.set_idle();
        self.workers().retired.push(worker);
        self.generation.fetch_add(1, Release);
    }

    /// Changes whenever [`Self::all_workers`] would say something new.
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Acquire)
    }

    pub(crate) fn all_workers(&self) -> Vec<Arc<Worker>> {
        self.workers().all.clone()
    }

    fn workers(&self) -> MutexGuard<'_, Workers> {
        self.workers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Observations that were lost because a ring was full.
    pub(crate) fn lost_events(&self) -> u64 {
        self.workers().all.iter().map(|worker| worker.events.lost()).sum()
    }

    pub(crate) fn kind_snapshots(&self) -> Vec<KindSnapshot> {
        let workers = self.all_workers();
        let mut merged = Vec::<KindSnapshot>::new();
        let mut by_name = HashMap::new();
        for (index, Kind { name, .. }) in self.kinds.all().into_iter().enumerate() {
            let snapshot = self.kind_snapshot(index, &workers);
            let place = *by_name.entry(name.clone()).or_insert_with(|| {
                merged.push(KindSnapshot { name, ..KindSnapshot::default() });
                merged.len() - 1
            });
            let kind = &mut merged[place];
            kind.poll_time.merge(&snapshot.poll_time);
            kind.schedule_delay.merge(&snapshot.schedule_delay);
            kind.spawned += snapshot.spawned;
            kind.completed += snapshot.completed;
        }
        merged.retain(|kind| kind.spawned > 0 || kind.poll_time.count > 0);
        merged
    }

    fn kind_snapshot(&self, index: usize, workers: &[Arc<Worker>]) -> KindSnapshot {
        let mut snapshot = KindSnapshot {
            // Ends before beginnings, so that no reading shows more ended.
            completed: self.kinds.completed[index].load(Acquire),
            spawned: self.kinds.spawned[index].load(Acquire),
            ..KindSnapshot::default()
        };
        for worker in workers {
            let cell = worker.cell(super::KindId::from_u32(index as u32));
            snapshot.completed += cell.completed.get();
            snapshot.spawned += cell.spawned.get();
            merge_unless_empty(&mut snapshot.poll_time, &cell.poll_time);
            merge_unless_empty(&mut snapshot.schedule_delay, &cell.schedule_delay);
        }
        snapshot
    }

    pub(crate) fn worker_snapshots(&self) -> Vec<WorkerSnapshot> {
        let kinds = self.kinds.all().len();
        let now = self.clock.ticks();
        let of = |worker: &Arc<Worker>| {
            let (busy, polls) = worker.busy_nanos_and_polls(kinds);
            let active = worker.slot.active();
            WorkerSnapshot {
                label: worker.label.clone(),
                busy: Duration::from_nanos(busy),
                polls,
                parks: worker.parks(),
                local_queue_depth: self.runtimes.local_queue_depth(&worker.label),
                active_poll: active.map(|poll| Duration::from_nanos(self.clock.nanos(poll.start, now))),
            }
        };
        self.all_workers().iter().map(of).collect()
    }

    pub(crate) fn runtime_snapshots(&self) -> Vec<RuntimeSnapshot> {
        self.runtimes.snapshots()
    }
}

/// Touches no page of a histogram that was never written.
fn merge_unless_empty(into: &mut HistogramSnapshot, histogram: &super::histogram::Histogram) {
    if !histogram.is_empty() {
        into.merge(&histogram.snapshot());
    }
}

/// Whether `label` is `base`, or `base` with a number.
fn is_numbered(label: &str, base: &str) -> bool {
    label.strip_prefix(base).is_some_and(|rest| rest.is_empty() || rest.starts_with('#'))
}

/// The label itself, or, where a living thread of another runtime has it, the
/// label with a number.
fn unused_label(taken: &[Arc<Worker>], label: &str) -> String {
    let is_free = |candidate: &String| taken.iter().all(|worker| worker.label != *candidate);
    let numbered = (2..).map(|n| format!("{label}#{n}"));
    std::iter::once(label.to_owned()).chain(numbered).find(is_free).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_survive_the_thread_and_labels_stay_apart() {
        let recorder = Recorder::new(Duration::from_millis(10));
        let kind = recorder.kinds.of_name("task");
        let poll = |worker: &Worker| {
            worker.begin(recorder.clock.ticks(), 1, kind);
            worker.end(&recorder.clock, u64::MAX);
        };
        let first = recorder.register("0");
        let second = recorder.register("0");
        assert_eq!(second.label, "0#2");
        poll(&first);
        poll(&second);
        recorder.retire(first);
        let third = recorder.register("0");
        assert_eq!(third.label, "0");
        poll(&third);
        let kinds = recorder.kind_snapshots();
        assert_eq!(kinds.len(), 1);
        assert_eq!((kinds[0].name.as_str(), kinds[0].poll_time.count), ("task", 3));
        assert_eq!(recorder.worker_snapshots().iter().map(|w| w.polls).sum::<u64>(), 3);
    }
}
