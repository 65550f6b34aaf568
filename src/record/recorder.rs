//! All workers and kinds of one scope.

use std::collections::HashMap;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::runtime::Id;

use crate::lock::Lock;
use crate::os;
use crate::record::blocking_calls::BlockingCalls;
use crate::record::clock::{Clock, Ticks};
use crate::record::flight_recorder;
use crate::record::hook_status::{HookStatus, ReplacedHooks};
use crate::record::idle_park::IdlePark;
#[cfg(not(tokio_unstable))]
use crate::record::kinds::KindId;
use crate::record::kinds::Kinds;
use crate::record::level::RecordingLevel;
use crate::record::liveness::Liveness;
use crate::record::loop_lag::LagProbes;
use crate::record::polls_in_progress::PollsInProgress;
use crate::record::runtimes::{Runtimes, ThreadRuntime, WorkerLabel, local_queue_depth};
use crate::record::slot::{ActivePoll, UNTIMED};
use crate::record::totals::{KindTotals, WorkerTotals};
use crate::record::worker::Worker;
use crate::record::workers::Workers;
use crate::recording::Recording;
use crate::snapshot::{ENDED_WORKERS, KindSnapshot, RuntimeSnapshot, WorkerSnapshot};

/// Everything that a scope records.
#[derive(Debug)]
pub(crate) struct Recorder {
    pub(crate) id: u64,
    pub(crate) clock: Clock,
    pub(crate) threshold_nanos: u64,
    /// The flight recorder keeps polls of at least this length.
    pub(crate) min_kept_nanos: u64,
    /// Whether Tokio measures the schedule delay of every task. If not, named
    /// futures measure their own.
    pub(crate) tokio_measures_delay: bool,
    pub(crate) level: RecordingLevel,
    pub(crate) kinds: Kinds,
    pub(crate) idle_park: IdlePark,
    pub(crate) runtimes: Runtimes,
    pub(crate) replaced_hooks: ReplacedHooks,
    pub(crate) blocking_calls: BlockingCalls,
    pub(crate) lag_probes: LagProbes,
    /// The kind of all code that runs between an unpark and a park.
    #[cfg(not(tokio_unstable))]
    pub(crate) unnamed_kind: KindId,
    pub(crate) liveness: Liveness,
    workers: Workers,
    hook_statuses: Lock<Vec<Weak<HookStatus>>>,
}

impl Recorder {
    pub(crate) fn new(threshold: Duration) -> Self {
        static NEXT_ID: AtomicU64 = AtomicU64::new(1);
        let kinds = Kinds::new();
        let threshold_nanos = u64::try_from(threshold.as_nanos()).unwrap_or(u64::MAX);
        Self {
            #[cfg(not(tokio_unstable))]
            unnamed_kind: kinds.for_static_name("unnamed tasks"),
            id: NEXT_ID.fetch_add(1, Relaxed),
            clock: Clock::new(),
            threshold_nanos,
            min_kept_nanos: flight_recorder::MIN_KEPT_NANOS.min(threshold_nanos),
            tokio_measures_delay: true,
            level: RecordingLevel::new(Recording::Full, false),
            kinds,
            idle_park: IdlePark::default(),
            runtimes: Runtimes::default(),
            replaced_hooks: ReplacedHooks::default(),
            blocking_calls: BlockingCalls::default(),
            lag_probes: LagProbes::default(),
            liveness: Liveness::begin(),
            workers: Workers::default(),
            hook_statuses: Lock::default(),
        }
    }

    /// Returns whether the scope still exists, in this process. Otherwise hooks
    /// do nothing.
    #[inline]
    pub(crate) fn is_live(&self) -> bool {
        self.liveness.is_live()
    }

    /// Returns the poll in progress of a worker, and notes when it was found if
    /// it has read no clock. Only the watchdog may call it.
    pub(crate) fn find_active(&self, worker: &Worker) -> Option<ActivePoll> {
        let poll = worker.slot.find_active(|| self.clock.ticks());
        poll.filter(|_| worker.taken_over_at().is_none()).map(|poll| self.with_kind(poll))
    }

    /// Returns the poll with its kind.
    pub(crate) fn with_kind(&self, poll: ActivePoll) -> ActivePoll {
        #[cfg(tokio_unstable)]
        if poll.location != 0 {
            let kind = self.kinds.find_location_at(poll.location).unwrap_or_default();
            return ActivePoll { kind, location: 0, ..poll };
        }
        poll
    }

    /// Returns the start of a poll that begins now: the time, or [`UNTIMED`] if
    /// polls read no clock at present.
    #[inline]
    pub(crate) fn poll_start(&self) -> Ticks {
        if self.level.is_full() { self.clock.ticks() } else { UNTIMED }
    }

    /// Returns whether there is something to record: a thread or named future
    /// was seen, a runtime's builder has the hooks, or there is a canary.
    pub(crate) fn has_watched(&self) -> bool {
        self.generation() > 0 || !self.hook_statuses().is_empty() || self.lag_probes.has_canaries()
    }

    /// Ends all recording: the scope has ended.
    pub(crate) fn end(&self) {
        self.liveness.end();
        self.lag_probes.end();
        self.runtimes.clear();
        // Nobody reads their events any more.
        self.all_workers().iter().filter(|worker| worker.has_ended()).for_each(|worker| self.remove(worker));
    }

    /// Returns whether the poll stands for all unnamed code that a thread runs
    /// between an unpark and a park. No event reports the end of such a poll.
    pub(crate) fn has_no_end_event(&self, poll: &ActivePoll) -> bool {
        #[cfg(tokio_unstable)]
        let is_unnamed = |_: &ActivePoll| false;
        #[cfg(not(tokio_unstable))]
        let is_unnamed = |poll: &ActivePoll| poll.kind == self.unnamed_kind;
        is_unnamed(poll)
    }

    /// Adds the status of the hooks of a runtime that will be built.
    pub(crate) fn add_hook_status(&self) -> Arc<HookStatus> {
        let hook_status = Arc::new(HookStatus::new());
        let mut all = self.hook_statuses.lock();
        all.retain(|known| known.strong_count() > 0);
        all.push(Arc::downgrade(&hook_status));
        hook_status
    }

    /// Returns the status of the hooks of each runtime that still exists.
    pub(crate) fn hook_statuses(&self) -> Vec<Arc<HookStatus>> {
        let all = self.hook_statuses.lock();
        all.iter().filter_map(Weak::upgrade).collect()
    }

    /// Returns whether the hooks of this runtime still exist.
    pub(crate) fn has_hooks(&self, runtime: Id) -> bool {
        self.hook_statuses().iter().any(|hook_status| hook_status.runtime() == Some(runtime))
    }

    /// Returns a record for the calling thread. A runtime has one thread for
    /// each worker. So, with `is_worker`, the calling thread has taken over the
    /// worker of any live thread with the same label in the same runtime.
    pub(crate) fn register(
        &self,
        label: WorkerLabel,
        runtime: Option<ThreadRuntime>,
        is_worker: bool,
    ) -> Arc<Worker> {
        let thread = os::current_thread();
        let worker = self.workers.add(|number, workers| {
            let id = runtime.as_ref().map(|runtime| runtime.id);
            let is_same = |worker: &&Arc<Worker>| worker.label == label && worker.runtime_id() == id;
            let now = self.clock.ticks();
            if is_worker {
                workers.iter().filter(is_same).for_each(|worker| worker.mark_taken_over(now));
            }
            let mut worker = Worker::new(number, label, runtime, self.threshold_nanos);
            worker.registered_at = now;
            worker.set_thread(thread);
            worker.slot.set_awake();
            worker
        });
        self.idle_park.wake();
        worker
    }

    /// Marks all workers of a runtime as taken over: what they poll is unknown
    /// from now on.
    #[cfg(tokio_unstable)]
    pub(crate) fn abandon_workers(&self, runtime: &str) {
        let now = self.clock.ticks();
        let workers = self.workers.all();
        let of_runtime = |worker: &&Arc<Worker>| worker.label.runtime == runtime;
        workers.iter().filter(of_runtime).for_each(|worker| worker.mark_taken_over(now));
    }

    /// Ends a record: its thread has ended, or is no longer that worker. The
    /// record remains until the watchdog has read its last events.
    pub(crate) fn retire(&self, worker: &Worker) {
        worker.end();
        if worker.events.is_empty() || !self.is_live() {
            self.remove(worker);
        }
        self.idle_park.wake();
    }

    /// Removes a record that has ended, and keeps its totals.
    pub(crate) fn remove(&self, worker: &Worker) {
        self.workers.remove(worker, self.kinds.len());
    }

    /// Returns a number that changes whenever the result of
    /// [`Self::all_workers`] does.
    pub(crate) fn generation(&self) -> u64 {
        self.workers.generation()
    }

    /// Returns the workers of all live threads, and those of ended threads
    /// whose events were not read yet.
    pub(crate) fn all_workers(&self) -> Vec<Arc<Worker>> {
        self.workers.all()
    }

    /// Returns the workers with a higher number, by ascending number.
    pub(crate) fn workers_added_after(&self, number: usize) -> Vec<Arc<Worker>> {
        self.workers.added_after(number)
    }

    /// Returns how many long events were lost because a ring was full.
    pub(crate) fn lost_events(&self) -> u64 {
        let (workers, ended) = self.workers.with_ended(|ended| ended.lost_events);
        ended + workers.iter().map(|worker| worker.events.lost()).sum::<u64>()
    }

    /// Returns how many long polls and waits the watchdog has not handled yet.
    pub(crate) fn pending_events(&self) -> u64 {
        self.all_workers().iter().map(|worker| worker.events.pending()).sum()
    }

    /// Returns the polls in progress. After the scope has ended it returns
    /// none, because the hooks no longer record when a poll ends.
    pub(crate) fn polls_in_progress(&self) -> PollsInProgress {
        let workers = if self.is_live() { self.all_workers() } else { Vec::new() };
        // Read before the slots, so that no age includes time after its poll.
        let at = self.clock.reading();
        let keys = workers.iter().filter_map(|worker| Some((worker.number, worker.active()?.seq))).collect();
        PollsInProgress { at, keys }
    }

    pub(crate) fn kind_snapshots(&self) -> Vec<KindSnapshot> {
        let (workers, mut totals) = self.workers.with_ended(|ended| ended.kinds.clone());
        // Locked until everything is read, so that no count moves from a bucket
        // to the carried counts in between.
        let carried: Vec<_> = workers.iter().map(|worker| worker.carried.read()).collect();
        totals.resize_with(totals.len().max(self.kinds.len()), KindTotals::default);
        for (worker, carried) in workers.iter().zip(&carried) {
            for (totals, record) in totals.iter_mut().zip(worker.kind_records()) {
                record.add_to(totals, carried);
            }
        }
        self.kinds.snapshots(totals)
    }

    /// Returns whether tasks that the worker could poll are ready, in its local
    /// queue or in the global queue of its runtime.
    pub(crate) fn has_ready_tasks_for(&self, worker: &Worker) -> bool {
        let metrics = self.runtimes.metrics();
        let is_global = |(runtime, metrics): &(String, tokio::runtime::RuntimeMetrics)| {
            *runtime == worker.label.runtime && metrics.global_queue_depth() > 0
        };
        local_queue_depth(&metrics, &worker.label).is_some_and(|depth| depth > 0)
            || metrics.iter().any(is_global)
    }

    /// Returns whether a runtime has tasks besides one that is polled.
    pub(crate) fn has_several_tasks(&self, runtime: &str) -> bool {
        let metrics = self.runtimes.metrics();
        metrics.iter().any(|(label, metrics)| label == runtime && metrics.num_alive_tasks() > 1)
    }

    /// Returns how many workers a runtime has, if one of its tasks is ready and
    /// waits in a queue.
    pub(crate) fn workers_if_tasks_are_ready(&self, runtime: &str) -> Option<usize> {
        let metrics = self.runtimes.metrics();
        let (_, of_runtime) = metrics.iter().find(|(label, _)| label == runtime)?;
        let workers = of_runtime.num_workers();
        let has_ready_tasks = |worker: usize| {
            let label = WorkerLabel { runtime: runtime.to_owned(), worker: worker.to_string() };
            local_queue_depth(&metrics, &label).is_some_and(|depth| depth > 0)
        };
        (of_runtime.global_queue_depth() > 0 || (0..workers).any(has_ready_tasks)).then_some(workers)
    }

    /// Returns a snapshot for each label. The last one has the workers whose
    /// labels were removed after their threads had ended.
    pub(crate) fn worker_snapshots(&self) -> Vec<WorkerSnapshot> {
        let now = self.clock.ticks();
        let metrics = self.runtimes.metrics();
        let (workers, (ended_labels, other_labels)) =
            self.workers.with_ended(|ended| (ended.labels.clone(), ended.other_labels));
        let mut merged = Vec::<WorkerSnapshot>::new();
        let mut by_label = HashMap::new();
        let mut add =
            |label: &WorkerLabel, totals: WorkerTotals, active: Option<(Duration, Option<Duration>)>| {
                let index = *by_label.entry(label.clone()).or_insert_with(|| {
                    let local_queue_depth = local_queue_depth(&metrics, label);
                    let WorkerLabel { runtime, worker: label } = label.clone();
                    merged.push(WorkerSnapshot { label, runtime, local_queue_depth, ..Default::default() });
                    merged.len() - 1
                });
                let snapshot = &mut merged[index];
                snapshot.busy += Duration::from_nanos(totals.busy_nanos);
                snapshot.polls += totals.polls;
                snapshot.parks += totals.parks;
                let (age, own) = active.unzip();
                snapshot.active_poll = snapshot.active_poll.max(age);
                snapshot.active_poll_own = snapshot.active_poll_own.max(own.flatten());
            };
        for worker in workers {
            let active = worker.active().and_then(|poll| {
                let own = worker.own_nanos(poll.seq).map(Duration::from_nanos);
                // Such a poll may be many short ones. The own time is that
                // since the last progress.
                let age = if self.has_no_end_event(&poll) {
                    own?
                } else {
                    Duration::from_nanos(self.clock.nanos(poll.start, now))
                };
                Some((age, own))
            });
            let busy_nanos = worker.busy_nanos(&self.clock, |poll| !self.has_no_end_event(poll));
            add(&worker.label, WorkerTotals { busy_nanos, ..worker.totals() }, active);
        }
        ended_labels.iter().for_each(|(label, totals)| add(label, *totals, None));
        if other_labels != WorkerTotals::default() {
            let label = WorkerLabel { runtime: String::new(), worker: ENDED_WORKERS.to_owned() };
            add(&label, other_labels, None);
        }
        merged
    }

    pub(crate) fn runtime_snapshots(&self) -> Vec<RuntimeSnapshot> {
        self.runtimes.snapshots()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    #[cfg(tokio_unstable)]
    use crate::record::kinds::KindId;
    use crate::record::kinds::MAX_KINDS;
    use crate::record::poll_stack::{PollSource, PollStack};

    #[test]
    fn totals_outlive_the_thread_and_runtimes_are_separate() {
        let recorder = Arc::new(Recorder::new(Duration::from_millis(10)));
        let kind = recorder.kinds.for_name("task");
        let label = |runtime: &str| WorkerLabel { runtime: runtime.to_owned(), worker: "0".to_owned() };
        let polls =
            |runtime| PollStack::new(Arc::clone(&recorder), recorder.register(label(runtime), None, true));
        let poll = |polls: &PollStack| {
            polls.begin(recorder.clock.ticks(), 1, kind, PollSource::Future);
            polls.end(PollSource::Future);
        };
        let first = polls("a");
        let second = polls("b");
        poll(&first);
        poll(&second);
        drop(first);
        poll(&polls("a"));
        let kinds = recorder.kind_snapshots();
        assert_eq!(kinds.len(), 1);
        assert_eq!((kinds[0].name.as_str(), kinds[0].poll_time.count), ("task", 3));
        let polls: Vec<_> =
            recorder.worker_snapshots().into_iter().map(|w| (w.runtime, w.label, w.polls)).collect();
        assert_eq!(polls, [("b".to_owned(), "0".to_owned(), 1), ("a".to_owned(), "0".to_owned(), 2)]);
        assert_eq!(recorder.all_workers().len(), 1, "the records of ended threads are removed");
    }

    /// Each thread has a label of its own, as in a program that names a thread
    /// after each connection.
    #[test]
    fn workers_and_labels_follow_live_threads_and_no_count_is_lost() {
        let recorder = Arc::new(Recorder::new(Duration::from_millis(10)));
        let kind = recorder.kinds.for_name("task");
        let register = |n: u64| {
            let label = WorkerLabel { runtime: format!("job-{n}"), worker: format!("conn-{n}") };
            PollStack::new(Arc::clone(&recorder), recorder.register(label, None, false))
        };
        let live = register(0);
        let mut numbers = HashSet::from([live.worker.number]);
        for n in 1..=1_000 {
            let polls = register(n);
            assert!(numbers.insert(polls.worker.number), "a number identifies one thread for ever");
            polls.begin(recorder.clock.ticks(), 1, kind, PollSource::Future);
            polls.end(PollSource::Future);
            polls.worker.park();
            drop(polls);
            let workers = recorder.worker_snapshots();
            assert!(workers.len() <= 18, "one live, 16 that ended last, the rest: {}", workers.len());
            let sum = |count: fn(&WorkerSnapshot) -> u64| workers.iter().map(count).sum::<u64>();
            assert_eq!((sum(|worker| worker.polls), sum(|worker| worker.parks)), (n, n));
            assert_eq!(recorder.kind_snapshots()[0].poll_time.count, n);
        }
        assert_eq!(recorder.all_workers().len(), 1);
        assert!(recorder.worker_snapshots().iter().any(|worker| worker.label == "conn-0"));
    }

    #[test]
    fn a_record_remains_until_its_last_events_are_read() {
        let recorder = Arc::new(Recorder::new(Duration::ZERO));
        let label = WorkerLabel { runtime: String::new(), worker: "0".to_owned() };
        let polls = PollStack::new(Arc::clone(&recorder), recorder.register(label, None, false));
        polls.begin(recorder.clock.ticks(), 1, KindId::OTHER, PollSource::Future);
        polls.end(PollSource::Future);
        drop(polls);
        let [worker] = &recorder.all_workers()[..] else { panic!("one worker") };
        assert!(worker.has_ended() && worker.thread().is_none());
        assert_eq!(worker.events.drain().count(), 1);
        recorder.remove(worker);
        recorder.remove(worker);
        assert_eq!(recorder.all_workers().len(), 0);
        assert_eq!(recorder.worker_snapshots()[0].polls, 1, "removed twice, counted once");
    }

    /// Without `tokio_unstable`, a thread that ends after an unpark ends in a
    /// poll.
    #[test]
    fn a_thread_that_ended_in_polls_leaves_none_to_the_next() {
        let recorder = Arc::new(Recorder::new(Duration::from_millis(10)));
        let label = || WorkerLabel { runtime: "a".to_owned(), worker: "0".to_owned() };
        let polls = || PollStack::new(Arc::clone(&recorder), recorder.register(label(), None, true));
        let first = polls();
        first.begin(recorder.clock.ticks(), 1, KindId::OTHER, PollSource::Thread);
        first.begin(recorder.clock.ticks(), 2, KindId::OTHER, PollSource::Future);
        drop(first);
        let second = polls();
        assert_eq!(second.worker.active(), None);
        second.begin(recorder.clock.ticks(), 3, KindId::OTHER, PollSource::Future);
        assert_eq!(second.worker.active().map(|poll| poll.task), Some(3));
        assert_eq!(recorder.all_workers().len(), 1, "the record of the first thread is removed");
    }

    #[test]
    fn a_worker_on_another_thread_keeps_its_label_and_totals() {
        let recorder = Arc::new(Recorder::new(Duration::from_millis(10)));
        let label = || WorkerLabel { runtime: "a".to_owned(), worker: "3".to_owned() };
        let before = PollStack::new(Arc::clone(&recorder), recorder.register(label(), None, true));
        before.begin(recorder.clock.ticks(), 1, KindId::OTHER, PollSource::Hook(1));
        let after = PollStack::new(Arc::clone(&recorder), recorder.register(label(), None, true));
        assert!(before.worker.taken_over_at().is_some() && after.worker.taken_over_at().is_none());
        after.begin(recorder.clock.ticks(), 2, KindId::OTHER, PollSource::Hook(1));
        after.end(PollSource::Hook(1));
        before.end(PollSource::Hook(1));
        let [worker] = &recorder.worker_snapshots()[..] else { panic!("one worker") };
        assert_eq!((worker.label.as_str(), worker.polls, worker.active_poll), ("3", 2, None));
    }

    #[test]
    fn kinds_are_bounded_and_no_poll_is_lost() {
        let recorder = Arc::new(Recorder::new(Duration::from_millis(10)));
        let label = |worker: &str| WorkerLabel { runtime: String::new(), worker: worker.to_owned() };
        for worker in ["0", "1"] {
            let polls = PollStack::new(Arc::clone(&recorder), recorder.register(label(worker), None, true));
            for kind in 0..MAX_KINDS + 10 {
                let kind = recorder.kinds.for_name(&kind.to_string());
                polls.begin(recorder.clock.ticks(), 1, kind, PollSource::Future);
                polls.end(PollSource::Future);
            }
        }
        assert_eq!(recorder.kinds.len(), MAX_KINDS);
        let kinds = recorder.kind_snapshots();
        let other = kinds.iter().find(|kind| kind.name == "other").unwrap();
        let without_own_kind = MAX_KINDS + 10 - (kinds.len() - 1);
        assert_eq!(other.poll_time.count, 2 * without_own_kind as u64);
        assert_eq!(kinds.iter().map(|kind| kind.poll_time.count).sum::<u64>(), 2 * (MAX_KINDS as u64 + 10));
    }
}
