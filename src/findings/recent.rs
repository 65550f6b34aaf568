//! The latest stalls and the latest long waits, and which waited for which.

use std::collections::{HashMap, VecDeque};
use std::ops::Range;
use std::time::Duration;

use crate::finding::{Stall, Victims};

const MAX_STALLS: usize = 4096;
const MAX_WAITS: usize = 4096;
/// A task's own wait ends as its poll begins: to the nanosecond, give or take
/// the difference between two CPUs' counters.
const CLOCKS_DIFFER: u64 = 10_000;

/// A wait is told by the worker that polls the task, a stall by the one that
/// stalled, so either may come first: whichever comes second finds the other.
/// Spans are in the recorder's own nanoseconds.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    stalls: VecDeque<(Range<u64>, Stall)>,
    waits: VecDeque<Range<u64>>,
}

impl Recent {
    /// Keeps a stall and says who has waited for it, as far as is known.
    pub(crate) fn stall_ended(&mut self, stall: Stall, during: Range<u64>) -> Victims {
        let mut victims = Victims::default();
        for nanos in self.waits.iter().filter_map(|wait| overlap(&during, wait)) {
            count(&mut victims, nanos);
        }
        push(&mut self.stalls, (during, stall), MAX_STALLS);
        victims
    }

    /// Keeps a wait and says which findings it was due to.
    pub(crate) fn waited(&mut self, wait: Range<u64>) -> HashMap<String, Victims> {
        let mut of_findings = HashMap::<String, Victims>::new();
        // Stalls are kept about in the order of their ends: what ended long
        // before the wait began is at the far side.
        let horizon = wait.start.saturating_sub(1_000_000_000);
        for (during, stall) in self.stalls.iter().rev().take_while(|(during, _)| during.end >= horizon) {
            if let (Some(finding), Some(nanos)) = (&stall.finding, overlap(during, &wait)) {
                count(of_findings.entry(finding.clone()).or_default(), nanos);
            }
        }
        push(&mut self.waits, wait, MAX_WAITS);
        of_findings
    }

    pub(crate) fn stalls_since(&self, since_unix_ns: u64) -> impl Iterator<Item = Stall> {
        let lasted = move |stall: &&Stall| stall.end_unix_ns.is_none_or(|end| end >= since_unix_ns);
        self.stalls.iter().map(|(_, stall)| stall).filter(lasted).cloned()
    }
}

fn overlap(a: &Range<u64>, b: &Range<u64>) -> Option<u64> {
    let nanos = a.end.min(b.end).checked_sub(a.start.max(b.start))?;
    (nanos > CLOCKS_DIFFER).then_some(nanos)
}

fn count(victims: &mut Victims, nanos: u64) {
    victims.tasks += 1;
    victims.delay_seconds += Duration::from_nanos(nanos).as_secs_f64();
}

fn push<T>(queue: &mut VecDeque<T>, item: T, max: usize) {
    if queue.len() >= max {
        queue.pop_front();
    }
    queue.push_back(item);
}
