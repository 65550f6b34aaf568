//! The most recent stalls and long waits, and which waits overlap which stalls.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Range;
use std::time::SystemTime;

use crate::finding::Stall;

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

/// The part of a task's wait that overlaps a stall of a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TaskDelay {
    pub(crate) task: u64,
    pub(crate) nanos: u64,
    /// Whether no other stall of the finding has delayed this wait yet.
    pub(crate) is_new_wait: bool,
}

/// A ready task's wait for its poll.
#[derive(Debug)]
struct TaskWait {
    nanos: Range<u64>,
    task: u64,
    /// Hashes of the ids of the findings that already count this wait.
    findings: Vec<u64>,
}

/// Matches waits with stalls. The worker that polls a task reports the task's
/// wait, and the worker that stalled reports the stall. Either report may
/// arrive first, so both are kept, and the later one is matched with the
/// earlier one. Ranges are in nanoseconds of the recorder's clock.
#[derive(Debug, Default)]
pub(crate) struct RecentStalls {
    stalls: VecDeque<(Range<u64>, Stall)>,
    waits: VecDeque<TaskWait>,
}

impl RecentStalls {
    /// Keeps a stall that has ended. Returns the delays of the known waits that
    /// overlap it.
    pub(crate) fn add_stall(&mut self, stall: Stall, nanos: Range<u64>) -> Vec<TaskDelay> {
        let mut delays = Vec::new();
        if let Some(finding) = stall.finding.as_deref().map(hash) {
            for wait in &mut self.waits {
                if let Some(overlap) = overlap_nanos(&nanos, &wait.nanos) {
                    let is_new_wait = insert_new(finding, &mut wait.findings);
                    delays.push(TaskDelay { task: wait.task, nanos: overlap, is_new_wait });
                }
            }
        }
        push_bounded(&mut self.stalls, (nanos, stall), MAX_STALLS);
        delays
    }

    /// Keeps a wait that has ended. Returns a delay for each known stall that
    /// overlaps it, with the id of the stall's finding.
    pub(crate) fn add_wait(&mut self, nanos: Range<u64>, task: u64) -> Vec<(String, TaskDelay)> {
        let mut findings = Vec::new();
        let mut delays = Vec::new();
        // Stalls are kept roughly in the order of their ends, so the search
        // ends at a stall that ended long before the wait began.
        let oldest_end = nanos.start.saturating_sub(MAX_STALL_DISORDER_NANOS);
        let stalls = self.stalls.iter().rev().take_while(|(stalled, _)| stalled.end >= oldest_end);
        for (stalled, stall) in stalls {
            if let (Some(finding), Some(overlap)) = (&stall.finding, overlap_nanos(stalled, &nanos)) {
                let is_new_wait = insert_new(hash(finding), &mut findings);
                delays.push((finding.clone(), TaskDelay { task, nanos: overlap, is_new_wait }));
            }
        }
        push_bounded(&mut self.waits, TaskWait { nanos, task, findings }, MAX_WAITS);
        delays
    }

    /// Returns the kept stalls that had not ended by `since`.
    pub(crate) fn stalls_since(&self, since: SystemTime) -> impl Iterator<Item = Stall> {
        let is_recent = move |stall: &&Stall| stall.end.is_none_or(|end| end >= since);
        self.stalls.iter().map(|(_, stall)| stall).filter(is_recent).cloned()
    }
}

fn hash(finding: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    finding.hash(&mut hasher);
    hasher.finish()
}

/// Adds the hash of a finding's id. Returns false if it is in there already.
fn insert_new(finding: u64, findings: &mut Vec<u64>) -> bool {
    let is_new = !findings.contains(&finding);
    if is_new {
        findings.push(finding);
    }
    is_new
}

/// Returns the length of the overlap, if it counts.
fn overlap_nanos(a: &Range<u64>, b: &Range<u64>) -> Option<u64> {
    let nanos = a.end.min(b.end).checked_sub(a.start.max(b.start))?;
    (nanos > CLOCK_SKEW_TOLERANCE_NANOS).then_some(nanos)
}

fn push_bounded<T>(queue: &mut VecDeque<T>, item: T, max: usize) {
    if queue.len() >= max {
        queue.pop_front();
    }
    queue.push_back(item);
}
