//! The latest stalls and the latest long waits, and which waited for which.

use std::collections::VecDeque;
use std::ops::Range;
use std::time::SystemTime;

use crate::finding::Stall;

const MAX_STALLS: usize = 4096;
const MAX_WAITS: usize = 4096;
/// A task's own wait ends as its poll begins: to the nanosecond, give or take
/// the difference between two CPUs' counters.
const CLOCKS_DIFFER: u64 = 10_000;

/// Waiting of one task that a finding caused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Delay {
    pub(crate) task: u64,
    pub(crate) nanos: u64,
    /// Whether this is the first stall of the finding that delayed this wait.
    pub(crate) is_new_wait: bool,
}

/// A ready task's wait for its poll.
#[derive(Debug)]
struct Wait {
    span: Range<u64>,
    task: u64,
    /// The findings that it already counts for.
    findings: Vec<String>,
}

/// The worker that polls a task reports its wait, the worker that stalled
/// reports the stall. Either may come first: the second one finds the other
/// here. Spans are in the recorder's own nanoseconds.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    stalls: VecDeque<(Range<u64>, Stall)>,
    waits: VecDeque<Wait>,
}

impl Recent {
    /// Keeps a stall and returns the waits that it caused, as far as they are
    /// known.
    pub(crate) fn stall_ended(&mut self, stall: Stall, during: Range<u64>) -> Vec<Delay> {
        let mut delays = Vec::new();
        for wait in &mut self.waits {
            if let (Some(finding), Some(nanos)) = (&stall.finding, overlap(&during, &wait.span)) {
                delays.push(Delay {
                    task: wait.task,
                    nanos,
                    is_new_wait: count_for(finding, &mut wait.findings),
                });
            }
        }
        push(&mut self.stalls, (during, stall), MAX_STALLS);
        delays
    }

    /// Keeps a wait and returns the findings that caused it.
    pub(crate) fn waited(&mut self, span: Range<u64>, task: u64) -> Vec<(String, Delay)> {
        let mut findings = Vec::new();
        let mut delays = Vec::new();
        // Stalls are kept roughly in the order of their ends. A stall that ended
        // long before the wait began lies behind all that matter.
        let horizon = span.start.saturating_sub(1_000_000_000);
        for (during, stall) in self.stalls.iter().rev().take_while(|(during, _)| during.end >= horizon) {
            if let (Some(finding), Some(nanos)) = (&stall.finding, overlap(during, &span)) {
                let is_new_wait = count_for(finding, &mut findings);
                delays.push((finding.clone(), Delay { task, nanos, is_new_wait }));
            }
        }
        push(&mut self.waits, Wait { span, task, findings }, MAX_WAITS);
        delays
    }

    pub(crate) fn stalls_since(&self, since: SystemTime) -> impl Iterator<Item = Stall> {
        let lasted = move |stall: &&Stall| stall.end.is_none_or(|end| end >= since);
        self.stalls.iter().map(|(_, stall)| stall).filter(lasted).cloned()
    }
}

/// Adds `finding` to `findings`; false if it was there already.
fn count_for(finding: &str, findings: &mut Vec<String>) -> bool {
    let is_new = !findings.iter().any(|known| known == finding);
    if is_new {
        findings.push(finding.to_owned());
    }
    is_new
}

fn overlap(a: &Range<u64>, b: &Range<u64>) -> Option<u64> {
    let nanos = a.end.min(b.end).checked_sub(a.start.max(b.start))?;
    (nanos > CLOCKS_DIFFER).then_some(nanos)
}

fn push<T>(queue: &mut VecDeque<T>, item: T, max: usize) {
    if queue.len() >= max {
        queue.pop_front();
    }
    queue.push_back(item);
}
