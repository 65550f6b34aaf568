//! The latest stalls and the latest long waits, and which waited for which.

use std::collections::{HashMap, VecDeque};

use crate::{Stall, Victims};

const MAX_STALLS: usize = 4096;
const MAX_WAITS: usize = 4096;

/// A wait is told by the worker that polls the task, a stall by the one that
/// stalled, so either may come first: whichever comes second finds the other.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    stalls: VecDeque<Stall>,
    waits: VecDeque<(u64, u64)>,
}

impl Recent {
    /// Keeps a stall and says who has waited for it, as far as is known.
    pub(crate) fn stall_ended(&mut self, stall: Stall) -> Victims {
        let mut victims = Victims::default();
        for wait in &self.waits {
            count(&mut victims, overlap(&stall, *wait));
        }
        push(&mut self.stalls, stall, MAX_STALLS);
        victims
    }

    /// Keeps a wait and says which findings it was due to.
    pub(crate) fn waited(&mut self, start: u64, end: u64) -> HashMap<String, Victims> {
        let mut of_findings = HashMap::<String, Victims>::new();
        for stall in &self.stalls {
            if let (Some(finding), Some(nanos)) = (&stall.finding, overlap(stall, (start, end))) {
                count(of_findings.entry(finding.clone()).or_default(), Some(nanos));
            }
        }
        push(&mut self.waits, (start, end), MAX_WAITS);
        of_findings
    }

    pub(crate) fn stalls_since(&self, since_unix_ns: u64) -> impl Iterator<Item = Stall> {
        let ends = move |stall: &&Stall| stall.end_unix_ns.is_none_or(|end| end >= since_unix_ns);
        self.stalls.iter().filter(ends).cloned()
    }
}

fn overlap(stall: &Stall, (start, end): (u64, u64)) -> Option<u64> {
    let until = end.min(stall.end_unix_ns.unwrap_or(u64::MAX));
    until.checked_sub(start.max(stall.start_unix_ns)).filter(|nanos| *nanos > 0)
}

fn count(victims: &mut Victims, nanos: Option<u64>) {
    if let Some(nanos) = nanos {
        victims.tasks += 1;
        victims.delay_seconds += std::time::Duration::from_nanos(nanos).as_secs_f64();
    }
}

fn push<T>(queue: &mut VecDeque<T>, item: T, max: usize) {
    if queue.len() >= max {
        queue.pop_front();
    }
    queue.push_back(item);
}
