//! The recorded data as plain values: the contract between the recorder and the
//! exporters, which read these types and no atomics.

use std::time::{Duration, SystemTime};

use crate::finding::Cause;
use crate::recording::Recording;

/// A distribution of durations as counts in log-linear buckets.
///
/// The width of a bucket is at most 1/16 of its values (4 ns below 64 ns), so a
/// quantile is at most 6.25 % above the true value. All values of 17 s and more
/// share one bucket. The maximum is exact, and so is the sum, except that a
/// value of zero adds 1 ns to it.
///
/// A snapshot is taken while threads record. The last few values may be counted
/// in the buckets but not yet in the sum, or the other way round.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct HistogramSnapshot {
    /// The buckets that are not empty, in ascending order. Each has its highest
    /// value (inclusive) and the number of values in it.
    pub buckets: Vec<(Duration, u64)>,
    /// The number of values.
    pub count: u64,
    /// The sum of the values.
    pub sum: Duration,
    /// The largest value.
    pub max: Duration,
}

impl HistogramSnapshot {
    /// Returns how many values are at most `bound`.
    ///
    /// The bucket that contains `bound` counts only if `bound` is its highest
    /// value. The result is therefore too low by at most that one bucket.
    #[must_use]
    pub fn count_at_most(&self, bound: Duration) -> u64 {
        self.buckets.iter().take_while(|(highest, _)| *highest <= bound).map(|(_, n)| n).sum()
    }

    /// Returns a quantile: `quantile(0.99)` is the p99, `quantile(0.5)` the
    /// median. Numbers outside the range from 0 to 1 count as 0 or 1. Returns
    /// zero if there are no values.
    #[must_use]
    pub fn quantile(&self, quantile: f64) -> Duration {
        // Rounded up, so that the quantile of a few values is one of them.
        let rank = (quantile.clamp(0.0, 1.0) * self.count as f64).ceil().max(1.0) as u64;
        let mut seen = 0;
        for (highest, n) in &self.buckets {
            seen += n;
            if seen >= rank {
                return (*highest).min(self.max);
            }
        }
        self.max
    }

    /// Converts the distribution into an [`hdrhistogram::Histogram`] of
    /// nanoseconds with two significant figures. Zero is recorded as 1 ns.
    #[cfg(feature = "hdrhistogram")]
    #[must_use]
    pub fn to_hdrhistogram(&self) -> hdrhistogram::Histogram<u64> {
        let mut histogram = hdrhistogram::Histogram::new(2).expect("2 is a valid precision");
        for (highest, n) in &self.buckets {
            // The last bucket has no upper bound: use the largest value
            // instead.
            let value = u64::try_from((*highest).min(self.max).as_nanos()).unwrap_or(u64::MAX).max(1);
            // Cannot fail: the histogram resizes itself.
            let _ = histogram.record_n(value, *n);
        }
        histogram
    }

    /// Adds the values of `other`.
    pub fn merge(&mut self, other: &Self) {
        self.add_buckets(other.buckets.iter().copied());
        self.sum += other.sum;
        self.max = self.max.max(other.max);
    }

    /// Adds buckets, which must come in ascending order.
    pub(crate) fn add_buckets(&mut self, buckets: impl Iterator<Item = (Duration, u64)>) {
        let mut index = 0;
        for (highest, count) in buckets {
            self.count += count;
            while self.buckets.get(index).is_some_and(|(bound, _)| *bound < highest) {
                index += 1;
            }
            match self.buckets.get_mut(index) {
                Some((bound, n)) if *bound == highest => *n += count,
                _ => self.buckets.insert(index, (highest, count)),
            }
        }
    }
}

/// All tasks of one kind: tasks with the same name, or, without a name, with
/// the same spawn location.
///
/// Names come from [`Named`](crate::Named). Tasks without a name are recorded
/// only with `--cfg tokio_unstable`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct KindSnapshot {
    /// The name of the kind, or its spawn location as `file:line:column`. Kinds
    /// beyond the first 256 are counted as `other`.
    pub name: String,
    /// The durations of the polls that have ended.
    pub poll_time: HistogramSnapshot,
    /// The times from the first wake to the poll that followed it.
    pub schedule_delay: HistogramSnapshot,
    /// The number of spawned tasks.
    pub spawned: u64,
    /// The number of tasks that ended by completion, panic or abort.
    pub completed: u64,
    /// The number of polls in which the task woke itself (named futures only).
    pub self_wakes: u64,
    /// The number of tasks that returned `Pending` and that no waker can wake
    /// any more (named futures only).
    pub lost_wakers: u64,
    /// The number of tasks that ran from start to end in one poll longer than
    /// the threshold (named futures only).
    pub never_yielded: u64,
    /// The number of tasks whose future has at least
    /// [`LARGE_FUTURE_BYTES`](crate::LARGE_FUTURE_BYTES) bytes (named futures
    /// only).
    pub large_futures: u64,
    /// The size of the largest future in bytes, or zero if no future of this
    /// kind has a name.
    pub largest_future_bytes: u64,
}

impl KindSnapshot {
    /// Returns the number of tasks that are alive: spawned and not ended.
    #[must_use]
    pub fn alive(&self) -> u64 {
        self.spawned.saturating_sub(self.completed)
    }
}

/// The label of a runtime whose builder gave it no name.
pub(crate) const UNNAMED_RUNTIME: &str = "tokio";

/// The label of the workers whose threads have ended, except for those that
/// ended last.
pub(crate) const ENDED_WORKERS: &str = "ended";

/// Returns the name of a worker in stalls, reports and traces:
/// `runtime/worker`, or only the worker's own label if the runtime has no name.
pub(crate) fn qualified_worker_label(runtime: &str, worker: &str) -> String {
    match runtime {
        "" | UNNAMED_RUNTIME => worker.to_owned(),
        _ => format!("{runtime}/{worker}"),
    }
}

/// One thread that polls: a worker of a runtime, or the thread of a root
/// future.
///
/// Threads that had the same label at different times share one snapshot, so
/// totals never decrease. A label remains as long as it has a thread. Of the
/// labels without a thread, the 16 that lost their thread last remain. The
/// totals of the others are in one snapshot with the label `ended`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct WorkerSnapshot {
    /// The worker's index in its runtime, or, for other threads, the name of
    /// the thread, such as `main` for the thread of a root future.
    pub label: String,
    /// The name of the runtime (see [`RuntimeSnapshot::name`]), or empty if the
    /// thread belongs to no runtime.
    pub runtime: String,
    /// The time spent in polls, including the poll in progress.
    pub busy: Duration,
    /// The number of polls that have ended.
    pub polls: u64,
    /// The number of times that the worker parked because it had nothing to do.
    pub parks: u64,
    /// The number of tasks in the worker's local queue; `None` without
    /// `--cfg tokio_unstable`.
    pub local_queue_depth: Option<usize>,
    /// The age of the poll in progress, or `None` between polls. Without
    /// `--cfg tokio_unstable`, the age of a poll of a task without a name is
    /// [`active_poll_own`](Self::active_poll_own): its begin is not known.
    pub active_poll: Option<Duration>,
    /// The part of [`active_poll`](Self::active_poll) that the code has caused,
    /// by the latest sample of the thread. Time in which the thread had no CPU
    /// is not included. `None` if the poll has not been sampled: it is short,
    /// or the watchdog itself has no CPU.
    pub active_poll_own: Option<Duration>,
}

impl WorkerSnapshot {
    /// Returns the name of this worker in a [`Stall`](crate::Stall).
    #[cfg(feature = "telemetry")]
    pub(crate) fn qualified_label(&self) -> String {
        qualified_worker_label(&self.runtime, &self.label)
    }
}

/// One watched runtime.
///
/// All values are Tokio's own and describe the current moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RuntimeSnapshot {
    /// The name of the runtime ([`tokio::runtime::Builder::name`]), or `tokio`
    /// if it has none. If another live runtime has the same name, a number is
    /// added, as in `tokio#2`.
    pub name: String,
    /// The number of live tasks, with and without a recorded kind.
    pub alive_tasks: usize,
    /// The number of worker threads.
    pub workers: usize,
    /// The number of tasks in the queue that all workers share.
    pub global_queue_depth: usize,
    /// The number of threads in the blocking pool; `None` without
    /// `--cfg tokio_unstable`.
    pub blocking_threads: Option<usize>,
    /// The number of idle threads in the blocking pool; `None` without
    /// `--cfg tokio_unstable`.
    pub idle_blocking_threads: Option<usize>,
    /// The number of calls that wait for a thread of the blocking pool; `None`
    /// without `--cfg tokio_unstable`.
    pub blocking_queue_depth: Option<usize>,
}

/// The calls on the blocking pool that have ended, for one name given to
/// [`spawn_blocking`](crate::spawn_blocking).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct BlockingCallSnapshot {
    /// The name. The first 64 names are kept; calls with later names are
    /// counted as `other`.
    pub name: &'static str,
    /// The times from the call of `spawn_blocking` to its start on a thread of
    /// the pool.
    pub queue_wait: HistogramSnapshot,
    /// The times that the calls occupied a thread of the pool.
    pub run_time: HistogramSnapshot,
}

/// The lag of one event loop, measured by its [`Canary`](crate::Canary).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LoopLagSnapshot {
    /// The name of the canary. Canaries of the same name share one snapshot.
    pub name: &'static str,
    /// The times from a wake of the canary to the poll that followed it.
    pub lag: HistogramSnapshot,
    /// The age of a wake that no poll has followed yet.
    pub unanswered: Option<Duration>,
}

/// All stalls with one cause.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CauseSnapshot {
    /// The cause.
    pub cause: Cause,
    /// The durations of the stalls that have ended.
    pub durations: HistogramSnapshot,
}

/// The cost and the losses of loopscope itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ObserverSnapshot {
    /// The CPU time of the watchdog thread.
    pub watchdog_cpu: Duration,
    /// The number of stack captures by result: `signal` (the thread copied its
    /// own stack), `passive` (the watchdog copied it), `none` (no stack was
    /// available) and `late` (the thread moved on during the copy).
    pub captures: Vec<(&'static str, u64)>,
    /// The number of dropped observations by reason. If any is above zero,
    /// other counts are lower bounds.
    ///
    /// The reasons are `ring_full` (too many long polls between two passes of
    /// the watchdog), `ended_before_capture` (a poll passed the threshold, but
    /// no sample shows what its thread did), `capture_budget`
    /// ([`captures_per_second`](crate::ScopeBuilder::captures_per_second)),
    /// `queue_full` (the reporting thread was too slow) and
    /// `too_many_findings`.
    pub dropped: Vec<(&'static str, u64)>,
    /// The number of the signal with which threads copy their stacks; `None`
    /// before the first copy, and if every real-time signal has a handler of
    /// other code. All scopes of a process use the same signal.
    pub capture_signal: Option<i32>,
    /// How many signals loopscope has given up in this process, because other
    /// code installed a handler of its own.
    pub signals_given_up: u32,
    /// The names of loopscope's hooks that the application replaced after
    /// [`Scope::watch`](crate::Scope::watch). They are not called, so their
    /// data is missing.
    pub replaced_hooks: Vec<&'static str>,
}

/// The time in which a task was ready while workers of its runtime were
/// blocked, like the kernel's pressure stall information.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PressureSnapshot {
    /// At least one worker was blocked.
    pub some: Duration,
    /// All workers were blocked. This time is also part of `some`.
    pub full: Duration,
}

/// What the flight recorder keeps, and the stalls of the same time: the content
/// of a trace.
///
/// All times are nanoseconds of the recorder's clock. One conversion has made
/// all of them from readings of the counter, so equal readings are equal times.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(not(feature = "telemetry"), allow(dead_code))]
pub(crate) struct FlightRecording {
    /// When it was read, by the wall clock.
    pub(crate) now: SystemTime,
    /// The same moment by the recorder's clock. No poll and no stall begins or
    /// ends later.
    pub(crate) now_nanos: u64,
    /// The threads with their labels. A thread may have several.
    pub(crate) threads: Vec<FlightThread>,
    /// The names of the task kinds.
    pub(crate) kinds: Vec<String>,
    pub(crate) polls: Vec<FlightPoll>,
    pub(crate) stalls: Vec<FlightStall>,
}

/// A thread that polls.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(not(feature = "telemetry"), allow(dead_code))]
pub(crate) struct FlightThread {
    /// The kernel's id of the thread.
    pub(crate) tid: u32,
    /// The name of the worker, as in [`Stall::worker`](crate::Stall::worker).
    pub(crate) label: String,
}

/// A poll that the flight recorder keeps, or one in progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(not(feature = "telemetry"), allow(dead_code))]
pub(crate) struct FlightPoll {
    pub(crate) tid: u32,
    /// The index of the kind in [`FlightRecording::kinds`].
    pub(crate) kind: usize,
    pub(crate) start_nanos: u64,
    /// `None` if the poll is in progress.
    pub(crate) end_nanos: Option<u64>,
}

/// The polls that the flight recorder keeps of each worker, from some time up
/// to now.
///
/// All times are nanoseconds since the start of the scope.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(not(feature = "telemetry"), allow(dead_code))]
pub(crate) struct RecordedPolls {
    /// The start of the scope by the wall clock, computed from the present.
    pub(crate) scope_start: SystemTime,
    /// When it was read. No poll begins or ends later.
    pub(crate) now_nanos: u64,
    /// The shortest poll that is kept.
    pub(crate) min_kept: Duration,
    /// The names of the task kinds.
    pub(crate) kinds: Vec<String>,
    /// One entry for each thread. Several may have the same label.
    pub(crate) workers: Vec<WorkerPolls>,
}

/// The recorded polls of one thread.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(not(feature = "telemetry"), allow(dead_code))]
pub(crate) struct WorkerPolls {
    /// The name of the worker, as in [`Stall::worker`](crate::Stall::worker).
    pub(crate) label: String,
    /// The time since which loopscope records all polls of the thread as this
    /// worker.
    pub(crate) recorded_since_nanos: u64,
    /// The time before which polls are missing, because newer ones have
    /// overwritten them.
    pub(crate) overwritten_until_nanos: Option<u64>,
    /// The polls, in the order of their ends. A poll may be inside of another
    /// one.
    pub(crate) polls: Vec<FlightPoll>,
}

/// A stall, or a part of one: see [`Stall`](crate::Stall).
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(not(feature = "telemetry"), allow(dead_code))]
pub(crate) struct FlightStall {
    pub(crate) thread: FlightThread,
    /// Identifies the poll. All parts of one stall have the same value.
    pub(crate) poll: (usize, u64),
    /// The number of polls: more than one if a task held the worker over many
    /// polls.
    pub(crate) polls: u64,
    /// The kind of the task.
    pub(crate) task: String,
    /// The id of the finding.
    pub(crate) finding: String,
    pub(crate) start_nanos: u64,
    /// `None` if the stall is in progress.
    pub(crate) end_nanos: Option<u64>,
}

/// All recorded data at one moment.
///
/// Counts, sums and histograms are totals since the scope started: they never
/// decrease, and reading resets nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Snapshot {
    /// The duration from which a poll is a stall.
    pub threshold: Duration,
    /// How much is recorded, unless the scope is paused.
    pub recording: Recording,
    /// Whether recording is paused: see [`Scope::pause`](crate::Scope::pause).
    pub is_paused: bool,
    /// Whether polls have been recorded in full at any time. If not, poll
    /// times, schedule delays and the busy time of workers were never measured:
    /// they are zero here, and exporters omit them.
    pub has_recorded_in_full: bool,
    /// The task kinds.
    pub kinds: Vec<KindSnapshot>,
    /// The threads that poll.
    pub workers: Vec<WorkerSnapshot>,
    /// The watched runtimes that have started and not ended. A current-thread
    /// runtime is listed while a thread is in its `block_on`, and at most half
    /// a second longer.
    pub runtimes: Vec<RuntimeSnapshot>,
    /// The calls on the blocking pool by name.
    pub blocking_calls: Vec<BlockingCallSnapshot>,
    /// The event loops with a canary.
    pub loop_lag: Vec<LoopLagSnapshot>,
    /// The stalls by cause. Every cause is present, even those without a stall.
    pub causes: Vec<CauseSnapshot>,
    /// The time of long polls that is not the code's own: their threads waited
    /// for a CPU or were stopped with the whole process, or nothing is known.
    pub starved: Duration,
    /// The time in which tasks were ready while workers were blocked.
    pub pressure: PressureSnapshot,
    /// The cost and the losses of loopscope itself.
    pub observer: ObserverSnapshot,
}

impl Snapshot {
    /// Returns the age of the oldest poll in progress, or zero if no poll is in
    /// progress.
    #[must_use]
    pub fn longest_active_poll(&self) -> Duration {
        self.workers.iter().filter_map(|worker| worker.active_poll).max().unwrap_or_default()
    }

    /// Returns how many workers are blocked: the code of their current poll has
    /// taken at least the threshold. A worker whose thread has no CPU is not
    /// blocked.
    #[must_use]
    pub fn workers_blocked(&self) -> usize {
        let is_blocked = |own: Duration| own >= self.threshold;
        self.workers.iter().filter(|worker| worker.active_poll_own.is_some_and(is_blocked)).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(feature = "hdrhistogram")]
    fn conversion_to_hdrhistogram_keeps_the_values() {
        let snapshot = HistogramSnapshot {
            buckets: vec![(Duration::from_nanos(50), 1), (Duration::from_millis(1), 8), (Duration::MAX, 1)],
            count: 10,
            sum: Duration::from_secs(4000),
            max: Duration::from_secs(3999),
        };
        let histogram = snapshot.to_hdrhistogram();
        assert_eq!(histogram.len(), 10);
        assert!((990_000..1_010_000).contains(&histogram.value_at_quantile(0.5)));
        assert!(histogram.max() > 3_900_000_000_000);
    }

    #[test]
    fn worker_labels_contain_the_runtime_only_if_it_has_a_name() {
        assert_eq!(qualified_worker_label("api", "0"), "api/0");
        assert_eq!(qualified_worker_label("tokio#2", "0"), "tokio#2/0");
        assert_eq!(qualified_worker_label(UNNAMED_RUNTIME, "0"), "0");
        assert_eq!(qualified_worker_label("", "main"), "main");
    }
}
