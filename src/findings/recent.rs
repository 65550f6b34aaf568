//! The most recent stalls and waits, and which waits belong to which stalls.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Range;
use std::sync::Arc;

use crate::evidence::{StallKey, TaskWait};
use crate::finding::Stall;
use crate::findings::intervals::{Intervals, length};
use crate::record::clock::ClockReading;

const MAX_STALLS: usize = 4096;
const MAX_WAITS: usize = 4096;
/// A wait is compared with the stalls from newest to oldest. The search stops
/// at a stall that ended this long before the wait began, not at the first that
/// ended before it: the order of the stalls is not exactly that of their ends.
const MAX_STALL_DISORDER_NANOS: u64 = 1_000_000_000;
/// An overlap up to this length does not count, because the time stamp counters
/// of two CPUs may differ. A task does not wait for its own stall, but its
/// wait, which ends as the stalled poll begins, may seem to overlap it.
const CLOCK_SKEW_TOLERANCE_NANOS: u64 = 10_000;
/// After a stall that held the driver, the worker soon runs the driver, which
/// wakes all tasks whose timer or socket was due. A task counts as released by
/// the stall's end if it is woken at most this long after it. A longer time
/// would count more tasks that were due only then.
const RELEASE_NANOS: u64 = 1_000_000;

/// What a wait adds to a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TaskDelay {
    pub(crate) task: u64,
    /// The part of the wait that overlaps stalls of the finding and that the
    /// finding does not count yet.
    pub(crate) nanos: u64,
    /// Whether the finding does not count this wait yet.
    pub(crate) is_new_wait: bool,
    /// Whether the end of a stall that held the driver released the task, and
    /// the finding does not count this yet.
    pub(crate) is_released: bool,
}

impl TaskDelay {
    /// Adds another delay of the same wait by the same finding.
    fn add(&mut self, other: Self) {
        self.nanos += other.nanos;
        self.is_new_wait |= other.is_new_wait;
        self.is_released |= other.is_released;
    }
}

/// An ended stall, or its part for one finding.
#[derive(Debug)]
pub(crate) struct EndedStall {
    /// Identifies the whole stall.
    pub(crate) key: StallKey,
    /// The number of polls of the whole stall.
    pub(crate) polls: u64,
    /// The label of the worker.
    pub(crate) worker: String,
    /// The id of the worker's thread.
    pub(crate) tid: u32,
    /// The kind of the task.
    pub(crate) task: String,
    /// The id of the finding.
    pub(crate) finding: String,
    /// By the recorder's clock.
    pub(crate) nanos: Range<u64>,
    pub(crate) runtime: Arc<str>,
    pub(crate) held_driver: bool,
}

/// A wait, and what the findings count of it.
#[derive(Debug)]
struct KeptWait {
    wait: TaskWait,
    counted: Vec<CountedWait>,
}

/// What one finding counts of a wait.
#[derive(Debug)]
struct CountedWait {
    /// The hash of the finding's id.
    finding: u64,
    /// The parts of the wait that overlap the finding's stalls.
    overlaps: Intervals,
    is_released: bool,
}

/// Matches waits with stalls of the same runtime. The worker that polls a task
/// reports the task's wait, and the worker that stalled reports the stall.
/// Either report may arrive first, so both are kept, and the later one is
/// matched with the earlier one.
///
/// A finding counts each moment of a wait once, however many of its stalls
/// overlap that moment. If many stalls that are apart overlap a wait, a moment
/// between two of them may not count: see [`Intervals`]. Two findings whose
/// stalls overlap both count it.
#[derive(Debug, Default)]
pub(crate) struct RecentStalls {
    /// With the hash of each finding's id.
    stalls: VecDeque<(u64, EndedStall)>,
    waits: VecDeque<KeptWait>,
}

impl RecentStalls {
    /// Keeps a stall that has ended. Returns the delays of the known waits that
    /// belong to it.
    pub(crate) fn add_stall(&mut self, stall: EndedStall) -> Vec<TaskDelay> {
        let finding = hash(&stall.finding);
        let delays = self.waits.iter_mut().filter_map(|kept| kept.count(finding, &stall)).collect();
        push_bounded(&mut self.stalls, (finding, stall), MAX_STALLS);
        delays
    }

    /// Keeps a wait that has ended. Returns what it adds to each finding to
    /// whose known stalls it belongs, with the id of the finding.
    pub(crate) fn add_wait(&mut self, wait: TaskWait) -> Vec<(String, TaskDelay)> {
        // Stalls are kept roughly in the order of their ends, so the search
        // ends at a stall that ended long before the wait began.
        let oldest_end = wait.nanos.start.saturating_sub(MAX_STALL_DISORDER_NANOS);
        let mut kept = KeptWait { wait, counted: Vec::new() };
        let mut delays = Vec::<(u64, &str, TaskDelay)>::new();
        let stalls = self.stalls.iter().rev().take_while(|(_, stall)| stall.nanos.end >= oldest_end);
        for (finding, stall) in stalls {
            let Some(delay) = kept.count(*finding, stall) else { continue };
            match delays.iter_mut().find(|(known, ..)| known == finding) {
                Some((.., sum)) => sum.add(delay),
                None => delays.push((*finding, &stall.finding, delay)),
            }
        }
        let delays = delays.into_iter().map(|(_, finding, delay)| (finding.to_owned(), delay)).collect();
        push_bounded(&mut self.waits, kept, MAX_WAITS);
        delays
    }

    /// Returns the kept stalls.
    pub(crate) fn stalls(&self) -> impl Iterator<Item = &EndedStall> {
        self.stalls.iter().map(|(_, stall)| stall)
    }
}

impl EndedStall {
    /// Returns the stall with the times of the wall clock.
    pub(crate) fn stall(&self, at: &ClockReading) -> Stall {
        Stall {
            start: at.wall_at(self.nanos.start),
            end: Some(at.wall_at(self.nanos.end)),
            worker: self.worker.clone(),
            task: self.task.clone(),
            finding: Some(self.finding.clone()),
        }
    }
}

impl KeptWait {
    /// Counts the wait for a stall of a finding. Returns what the finding does
    /// not count yet, if anything.
    fn count(&mut self, finding: u64, stall: &EndedStall) -> Option<TaskDelay> {
        if self.wait.runtime != stall.runtime {
            return None;
        }
        let overlap = Some(overlap(&stall.nanos, &self.wait.nanos))
            .filter(|overlap| self.wait.is_long && length(overlap) > CLOCK_SKEW_TOLERANCE_NANOS);
        let is_released = stall.held_driver && is_released_by(stall.nanos.end, self.wait.nanos.start);
        if overlap.is_none() && !is_released {
            return None;
        }
        let known = self.counted.iter().position(|counted| counted.finding == finding);
        let index = known.unwrap_or_else(|| {
            self.counted.push(CountedWait { finding, overlaps: Intervals::default(), is_released: false });
            self.counted.len() - 1
        });
        let counted = &mut self.counted[index];
        let delay = TaskDelay {
            task: self.wait.task,
            nanos: overlap.map_or(0, |overlap| counted.overlaps.add(overlap)),
            is_new_wait: known.is_none(),
            is_released: is_released && !std::mem::replace(&mut counted.is_released, true),
        };
        (delay.nanos > 0 || delay.is_new_wait || delay.is_released).then_some(delay)
    }
}

/// Returns whether a wake belongs to the driver's first turn after `stall_end`.
fn is_released_by(stall_end: u64, woken_at: u64) -> bool {
    let first = stall_end.saturating_sub(CLOCK_SKEW_TOLERANCE_NANOS);
    (first..=stall_end.saturating_add(RELEASE_NANOS)).contains(&woken_at)
}

fn hash(finding: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    finding.hash(&mut hasher);
    hasher.finish()
}

/// Returns the overlap, which is empty if there is none.
fn overlap(a: &Range<u64>, b: &Range<u64>) -> Range<u64> {
    a.start.max(b.start)..a.end.min(b.end)
}

fn push_bounded<T>(queue: &mut VecDeque<T>, item: T, max: usize) {
    if queue.len() >= max {
        queue.pop_front();
    }
    queue.push_back(item);
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn stall(finding: &str, runtime: &str, ms: Range<u64>) -> EndedStall {
        EndedStall {
            key: (0, 1),
            polls: 1,
            worker: String::new(),
            tid: 1,
            task: String::new(),
            finding: finding.to_owned(),
            nanos: ms.start * MS..ms.end * MS,
            runtime: Arc::from(runtime),
            held_driver: false,
        }
    }

    fn wait(runtime: &str, ms: Range<u64>, task: u64) -> TaskWait {
        let nanos = ms.start * MS..ms.end * MS;
        TaskWait { nanos, task, runtime: Arc::from(runtime), is_long: true }
    }

    fn delay_ms(delays: impl IntoIterator<Item = TaskDelay>) -> u64 {
        delays.into_iter().map(|delay| delay.nanos / MS).sum()
    }

    #[test]
    fn a_wait_belongs_only_to_stalls_of_its_runtime() {
        let mut recent = RecentStalls::default();
        recent.add_stall(stall("a", "one", 0..100));
        assert_eq!(recent.add_wait(wait("two", 10..90, 1)), []);
        assert_eq!(recent.add_stall(stall("b", "two", 0..100)).len(), 1);
        assert_eq!(recent.add_stall(stall("c", "three", 0..100)), []);
    }

    #[test]
    fn a_finding_counts_each_moment_of_a_wait_once() {
        let mut recent = RecentStalls::default();
        // Four workers stall at one line at the same time, two of them before
        // the wait is known.
        recent.add_stall(stall("a", "r", 0..100));
        recent.add_stall(stall("a", "r", 5..105));
        let known: Vec<_> = recent.add_wait(wait("r", 50..120, 1)).into_iter().map(|(_, d)| d).collect();
        assert_eq!(known.iter().filter(|delay| delay.is_new_wait).count(), 1);
        let later = recent.add_stall(stall("a", "r", 10..110));
        let contained = recent.add_stall(stall("a", "r", 60..70));
        assert_eq!((later.len(), contained.len()), (1, 0));
        assert_eq!(delay_ms(known.into_iter().chain(later)), 60, "from 50 to 110 ms");
        let other = recent.add_stall(stall("b", "r", 100..115));
        assert_eq!((delay_ms(other.clone()), other[0].is_new_wait), (15, true), "another finding");
    }

    /// On a runtime with one worker, a task may wait for the stalls of all the
    /// tasks before it.
    #[test]
    fn waits_for_many_stalls_take_little_memory() {
        let mut recent = RecentStalls::default();
        let stalls = MAX_STALLS as u64;
        for n in 0..stalls {
            recent.add_stall(stall(if n % 2 == 0 { "a" } else { "b" }, "r", n * 12..n * 12 + 11));
        }
        for task in 0..100 {
            let delays = recent.add_wait(wait("r", 0..stalls * 12, task));
            assert_eq!(delays.len(), 2, "one for each finding");
            assert_eq!(delay_ms(delays.into_iter().map(|(_, delay)| delay)), stalls * 11);
        }
        let kept = recent.waits.iter().flat_map(|kept| &kept.counted).map(|counted| counted.overlaps.len());
        assert!(kept.max() <= Some(16));
    }

    #[test]
    fn a_stall_that_held_the_driver_counts_the_tasks_that_its_end_released() {
        let mut recent = RecentStalls::default();
        let held = EndedStall { held_driver: true, ..stall("a", "r", 0..100) };
        let short = |nanos: Range<u64>, task| TaskWait { nanos, is_long: false, ..wait("r", 0..0, task) };
        recent.add_wait(short(100 * MS + 20_000..100 * MS + 30_000, 1));
        recent.add_wait(short(50 * MS..50 * MS + 1_000, 2));
        recent.add_wait(short(103 * MS..103 * MS + 1_000, 3));
        let released = recent.add_stall(held);
        let expected = TaskDelay { task: 1, nanos: 0, is_new_wait: true, is_released: true };
        assert_eq!(released, [expected]);
        assert_eq!(recent.add_wait(short(100 * MS + 40_000..101 * MS, 4)).len(), 1);
        // The same end without the driver releases nobody.
        assert_eq!(recent.add_stall(stall("b", "r", 0..100)), []);
    }
}
