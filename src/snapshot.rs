//! What was recorded, as plain data: exporters read this and never an atomic.

use std::time::Duration;

use crate::finding::Cause;

/// A distribution of durations, as counts of log-linear buckets.
///
/// A bucket is at most 1/16 of its values wide (4 ns below 64 ns), so a quantile
/// read from it is at most 6.25 % above the true one. All values from 17 s on
/// share one bucket; their sum and maximum are exact.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct HistogramSnapshot {
    /// The buckets that are not empty: highest value in nanoseconds, count.
    pub buckets: Vec<(u64, u64)>,
    /// How many values.
    pub count: u64,
    /// Their sum.
    pub sum: Duration,
    /// The largest value, exact.
    pub max: Duration,
}

impl HistogramSnapshot {
    /// How many values are at most `bound`, to the precision of a bucket.
    #[must_use]
    pub fn count_at_most(&self, bound: Duration) -> u64 {
        let bound = u64::try_from(bound.as_nanos()).unwrap_or(u64::MAX);
        self.buckets.iter().take_while(|(highest, _)| *highest <= bound).map(|(_, n)| n).sum()
    }

    /// The value below which the share `quantile` (0 to 1) of the values lies;
    /// zero if there are none.
    #[must_use]
    pub fn quantile(&self, quantile: f64) -> Duration {
        // Rounded up, so that the quantile of few values is one of them.
        let rank = (quantile.clamp(0.0, 1.0) * self.count as f64).ceil().max(1.0) as u64;
        let mut seen = 0;
        for (highest, n) in &self.buckets {
            seen += n;
            if seen >= rank {
                return Duration::from_nanos(*highest).min(self.max);
            }
        }
        self.max
    }

    /// The same distribution as an [`hdrhistogram::Histogram`] of nanoseconds
    /// with two significant figures.
    #[must_use]
    pub fn to_hdrhistogram(&self) -> hdrhistogram::Histogram<u64> {
        let mut histogram = hdrhistogram::Histogram::new(2).expect("2 is a valid precision");
        for (highest, n) in &self.buckets {
            // The open-ended last bucket stands for the largest value.
            let value = (*highest).min(self.max.as_nanos() as u64).max(1);
            // It resizes itself, so only memory could make this fail.
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

    /// Adds counts, in ascending order of their buckets.
    pub(crate) fn add_buckets(&mut self, counts: impl Iterator<Item = (u64, u64)>) {
        let mut at = 0;
        for (highest, count) in counts {
            self.count += count;
            while self.buckets.get(at).is_some_and(|(bound, _)| *bound < highest) {
                at += 1;
            }
            match self.buckets.get_mut(at) {
                Some((bound, n)) if *bound == highest => *n += count,
                _ => self.buckets.insert(at, (highest, count)),
            }
        }
    }
}

/// All tasks of one kind: one name, or one spawn location.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct KindSnapshot {
    /// The kind's name.
    pub name: String,
    /// Durations of polls.
    pub poll_time: HistogramSnapshot,
    /// From the first wake to the poll that it led to.
    pub schedule_delay: HistogramSnapshot,
    /// Tasks spawned.
    pub spawned: u64,
    /// Tasks that ended, by completion, panic or abort.
    pub completed: u64,
    /// Polls in which the task woke itself (named futures only).
    pub self_wakes: u64,
    /// Tasks that nobody can wake any more: pending, and no waker is left
    /// (named futures only).
    pub lost_wakers: u64,
    /// Tasks that ran from beginning to end in one poll over the threshold
    /// (named futures only).
    pub never_yielded: u64,
    /// Tasks with a future of [`LARGE_FUTURE`](crate::LARGE_FUTURE) bytes and
    /// more (named futures only).
    pub large_futures: u64,
    /// Bytes of the largest future (named futures only; zero if none is).
    pub future_size: u64,
}

impl KindSnapshot {
    /// Tasks that live now.
    #[must_use]
    pub fn alive(&self) -> u64 {
        self.spawned.saturating_sub(self.completed)
    }
}

/// One thread that polls.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct WorkerSnapshot {
    /// Its label: the worker's index in its runtime, or the thread's name, such
    /// as `main` for that of a root future.
    pub label: String,
    /// Its runtime's name: see [`RuntimeSnapshot::name`]. Empty without one.
    pub runtime: String,
    /// Time spent in polls.
    pub busy: Duration,
    /// Polls begun and ended.
    pub polls: u64,
    /// Times it parked.
    pub parks: u64,
    /// Tasks in its local queue (`tokio_unstable` only).
    pub local_queue_depth: Option<usize>,
    /// Age of the poll in progress.
    pub active_poll: Option<Duration>,
}

/// One watched runtime.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct RuntimeSnapshot {
    /// Its name ([`tokio::runtime::Builder::name`]), `tokio` without one, and a
    /// number where another that lives has the same.
    pub name: String,
    /// Tasks that live in it, watched or not.
    pub alive_tasks: usize,
    /// Its worker threads.
    pub workers: usize,
    /// Tasks in the queue that all workers share.
    pub global_queue_depth: usize,
    /// Threads of the blocking pool (`tokio_unstable` only).
    pub blocking_threads: Option<usize>,
    /// Those of them that have nothing to do (`tokio_unstable` only).
    pub idle_blocking_threads: Option<usize>,
    /// Calls that wait for a thread of the blocking pool (`tokio_unstable` only).
    pub blocking_queue_depth: Option<usize>,
}

/// Calls of one name on the blocking pool
/// ([`spawn_blocking`](crate::spawn_blocking)) that have ended.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct BlockingCallSnapshot {
    /// The name; `other` for those that came after 64 others.
    pub name: &'static str,
    /// From the call of `spawn_blocking` until a thread of the pool took it up.
    pub queue_wait: HistogramSnapshot,
    /// How long it held that thread.
    pub run_time: HistogramSnapshot,
}

/// How late one event loop is, by its [`Canary`](crate::Canary).
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct LoopLagSnapshot {
    /// The canary's name.
    pub name: &'static str,
    /// From a wake to the poll that it led to.
    pub lag: HistogramSnapshot,
    /// Age of a wake that has led to no poll yet.
    pub unanswered: Option<Duration>,
}

/// All stalls of one cause.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct CauseSnapshot {
    /// The cause.
    pub cause: Cause,
    /// Durations of the stalls that have ended.
    pub durations: HistogramSnapshot,
}

/// What the observer itself did.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct ObserverSnapshot {
    /// CPU time of the watchdog thread.
    pub watchdog_cpu: Duration,
    /// Stack captures, by how they ended.
    pub captures: Vec<(&'static str, u64)>,
    /// Observations lost, by reason.
    pub dropped: Vec<(&'static str, u64)>,
    /// Hooks of loopscope's that were set anew after
    /// [`Scope::watch`](crate::Scope::watch), so that they are not called.
    pub replaced_hooks: Vec<&'static str>,
}

/// Time in which a task was ready to be polled while workers of its runtime were
/// blocked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PressureSnapshot {
    /// At least one worker was.
    pub some: Duration,
    /// All of them were.
    pub full: Duration,
}

/// Everything recorded, at one moment. Totals never go back.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Snapshot {
    /// Polls longer than this are stalls.
    pub threshold: Duration,
    /// Kinds of tasks, by name.
    pub kinds: Vec<KindSnapshot>,
    /// Threads that poll.
    pub workers: Vec<WorkerSnapshot>,
    /// Watched runtimes that have run.
    pub runtimes: Vec<RuntimeSnapshot>,
    /// Calls on the blocking pool, by name.
    pub blocking_calls: Vec<BlockingCallSnapshot>,
    /// Event loops with a canary.
    pub loop_lag: Vec<LoopLagSnapshot>,
    /// Stalls, by cause; causes without a stall are present and zero.
    pub causes: Vec<CauseSnapshot>,
    /// Time that threads in long polls waited for a CPU.
    pub starved: Duration,
    /// How long tasks were ready while workers were blocked.
    pub pressure: PressureSnapshot,
    /// The observer itself.
    pub observer: ObserverSnapshot,
}

impl Snapshot {
    /// Age of the poll that has been in progress for the longest.
    #[must_use]
    pub fn longest_active_poll(&self) -> Duration {
        self.workers.iter().filter_map(|w| w.active_poll).max().unwrap_or_default()
    }

    /// How many workers have been in one poll for longer than the threshold.
    #[must_use]
    pub fn workers_blocked(&self) -> usize {
        self.workers.iter().filter(|w| w.active_poll.is_some_and(|age| age >= self.threshold)).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_values_as_an_hdrhistogram() {
        let snapshot = HistogramSnapshot {
            buckets: vec![(50, 1), (1_000_000, 8), (u64::MAX, 1)],
            count: 10,
            sum: Duration::from_secs(4000),
            max: Duration::from_secs(3999),
        };
        let histogram = snapshot.to_hdrhistogram();
        assert_eq!(histogram.len(), 10);
        assert!((990_000..1_010_000).contains(&histogram.value_at_quantile(0.5)));
        assert!(histogram.max() > 3_900_000_000_000);
    }
}
