//! Calls on the blocking pool, by name.

use crate::lock::Lock;
use crate::record::histogram::{CarriedCounts, Histogram};
use crate::snapshot::BlockingCallSnapshot;

/// How many names have their own histograms. Later ones are counted as `other`.
const MAX_NAMES: usize = 64;
const OTHER: &str = "other";

/// Written by a thread of the blocking pool when a call ends, never by a poll.
#[derive(Debug, Default)]
pub(crate) struct BlockingCalls(Lock<Vec<BlockingCall>>);

#[derive(Debug)]
struct BlockingCall {
    name: &'static str,
    queue_wait: Histogram,
    run_time: Histogram,
    /// The counts that do not fit into the 32-bit buckets of both histograms.
    carried: CarriedCounts,
}

impl BlockingCalls {
    /// Records how long a call waited for a thread and how long it ran.
    pub(crate) fn record(&self, name: &'static str, queue_wait_nanos: u64, run_nanos: u64) {
        let mut calls = self.0.lock();
        let known = calls.iter().position(|call| call.name == name);
        let index = known.unwrap_or_else(|| insert(&mut calls, name));
        let call = &calls[index];
        call.queue_wait.record(queue_wait_nanos, &call.carried);
        call.run_time.record(run_nanos, &call.carried);
    }

    pub(crate) fn snapshots(&self) -> Vec<BlockingCallSnapshot> {
        let snapshot = |call: &BlockingCall| BlockingCallSnapshot {
            name: call.name,
            queue_wait: call.queue_wait.snapshot(&call.carried),
            run_time: call.run_time.snapshot(&call.carried),
        };
        self.0.lock().iter().map(snapshot).collect()
    }
}

/// Adds a name, or finds `other` if there are too many. Returns its index.
fn insert(calls: &mut Vec<BlockingCall>, name: &'static str) -> usize {
    let name = if calls.len() < MAX_NAMES { name } else { OTHER };
    calls.iter().position(|call| call.name == name).unwrap_or_else(|| {
        let [queue_wait, run_time] = std::array::from_fn(|_| Histogram::new());
        calls.push(BlockingCall { name, queue_wait, run_time, carried: CarriedCounts::new() });
        calls.len() - 1
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_bounded_and_no_call_is_lost() {
        let calls = BlockingCalls::default();
        for n in 0..MAX_NAMES + 9 {
            calls.record(n.to_string().leak(), 1_000, 2_000);
        }
        calls.record("3", 1_000, 2_000);
        let snapshots = calls.snapshots();
        assert_eq!(snapshots.len(), MAX_NAMES + 1);
        let count = |name| snapshots.iter().find(|call| call.name == name).map(|call| call.run_time.count);
        assert_eq!((count("3"), count("other")), (Some(2), Some(9)));
        assert_eq!(snapshots.iter().map(|call| call.queue_wait.count).sum::<u64>(), MAX_NAMES as u64 + 10);
    }
}
