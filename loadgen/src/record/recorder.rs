//! Latencies and counts of one part of the connections.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;

use super::sequence::Arrival;

/// The longest time that is told apart from longer ones: an hour.
const MAX_NS: u64 = 3_600_000_000_000;

/// A histogram of nanoseconds: three digits, up to an hour, fixed size.
pub(crate) fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, MAX_NS, 3).expect("the bounds are constant and right")
}

/// What was received. Each part of the connections has its own, so that they
/// do not wait for each other; at the end all are added up.
#[derive(Debug)]
pub(crate) struct Recorder {
    /// From the due time to the arrival.
    pub(crate) latency: Histogram<u64>,
    /// The due times, or a little later, of deliveries given up: their waiting
    /// time is known once the run has ended.
    pub(crate) given_up: Histogram<u64>,
    /// Deliveries that came, each counted once.
    pub(crate) delivered: u64,
    /// Deliveries that came again.
    pub(crate) duplicated: u64,
    /// Deliveries that a later message of the same sender overtook.
    pub(crate) out_of_order: u64,
    /// Error replies by number.
    pub(crate) error_replies: BTreeMap<u16, u64>,
}

impl Recorder {
    /// Nothing received yet.
    pub(crate) fn new() -> Self {
        Self {
            latency: histogram(),
            given_up: histogram(),
            delivered: 0,
            duplicated: 0,
            out_of_order: 0,
            error_replies: BTreeMap::new(),
        }
    }

    /// Takes in one arrival of a message due at `due_ns`, at `now_ns`.
    pub(crate) fn record(&mut self, arrival: Arrival, due_ns: u64, now_ns: u64) {
        match arrival {
            Arrival::Again => self.duplicated += 1,
            Arrival::First { late, given_up } => {
                self.delivered += 1;
                self.out_of_order += u64::from(late);
                self.latency.saturating_record(now_ns.saturating_sub(due_ns).max(1));
                if given_up > 0 {
                    self.given_up.saturating_record_n(due_ns.max(1), given_up);
                }
            }
        }
    }

    /// Adds what `other` received.
    pub(crate) fn add(&mut self, other: &Self) {
        // Equal bounds cannot fail to add up.
        let _ = self.latency.add(&other.latency);
        let _ = self.given_up.add(&other.given_up);
        self.delivered += other.delivered;
        self.duplicated += other.duplicated;
        self.out_of_order += other.out_of_order;
        for (&numeric, count) in &other.error_replies {
            *self.error_replies.entry(numeric).or_default() += count;
        }
    }
}
