//! Calls on the blocking pool, by their names.

use crate::lock::Lock;
use crate::record::histogram::{CarriedCounts, Histogram};
use crate::snapshot::BlockingCallSnapshot;

/// Names with histograms of their own; what comes later is `other`.
const MAX_NAMES: usize = 64;
const OTHER: &str = "other";

/// Written by the pool's own threads as a call ends, never by a poll.
#[derive(Debug, Default)]
pub(crate) struct Calls(Lock<Vec<Call>>);

#[derive(Debug)]
struct Call {
    name: &'static str,
    queue_wait: Histogram,
    run_time: Histogram,
    carried: CarriedCounts,
}

impl Calls {
    /// A call has waited for a thread, and has run.
    pub(crate) fn ended(&self, name: &'static str, queue_wait_nanos: u64, run_nanos: u64) {
        let mut calls = self.0.lock();
        let known = calls.iter().position(|call| call.name == name);
        let index = known.unwrap_or_else(|| place_of_new(&mut calls, name));
        let call = &calls[index];
        call.queue_wait.record(queue_wait_nanos, &call.carried);
        call.run_time.record(run_nanos, &call.carried);
    }

    pub(crate) fn snapshots(&self) -> Vec<BlockingCallSnapshot> {
        let snapshot = |call: &Call| BlockingCallSnapshot {
            name: call.name,
            queue_wait: call.queue_wait.snapshot(&call.carried),
            run_time: call.run_time.snapshot(&call.carried),
        };
        self.0.lock().iter().map(snapshot).collect()
    }
}

fn place_of_new(calls: &mut Vec<Call>, name: &'static str) -> usize {
    let name = if calls.len() < MAX_NAMES { name } else { OTHER };
    calls.iter().position(|call| call.name == name).unwrap_or_else(|| {
        let [queue_wait, run_time] = std::array::from_fn(|_| Histogram::new());
        calls.push(Call { name, queue_wait, run_time, carried: CarriedCounts::new() });
        calls.len() - 1
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_bounded_and_no_call_is_lost() {
        let calls = Calls::default();
        for n in 0..MAX_NAMES + 9 {
            calls.ended(n.to_string().leak(), 1_000, 2_000);
        }
        calls.ended("3", 1_000, 2_000);
        let snapshots = calls.snapshots();
        assert_eq!(snapshots.len(), MAX_NAMES + 1);
        let count = |name| snapshots.iter().find(|call| call.name == name).map(|call| call.run_time.count);
        assert_eq!((count("3"), count("other")), (Some(2), Some(9)));
        assert_eq!(snapshots.iter().map(|call| call.queue_wait.count).sum::<u64>(), MAX_NAMES as u64 + 10);
    }
}
