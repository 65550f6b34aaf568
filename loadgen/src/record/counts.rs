//! Counts of deliveries.

/// Counts of deliveries of the whole run, of one stage or of one channel.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Counts {
    /// Deliveries that should arrive; known after the run.
    pub(crate) expected: u64,
    /// Deliveries that arrived, without duplicates.
    pub(crate) delivered: u64,
    /// Deliveries that never arrived. During the run: deliveries that are given
    /// up because they are too far behind the newest one.
    pub(crate) lost: u64,
    /// Deliveries that arrived more than once.
    pub(crate) duplicated: u64,
    /// Deliveries that arrived after a later message of the same sender.
    pub(crate) out_of_order: u64,
    /// Deliveries that took longer than the tightest latency objective.
    pub(crate) late: u64,
}

impl Counts {
    /// No delivery.
    pub(crate) const NONE: Self =
        Self { expected: 0, delivered: 0, lost: 0, duplicated: 0, out_of_order: 0, late: 0 };

    /// Adds `other`.
    pub(crate) const fn add(&mut self, other: &Self) {
        self.expected += other.expected;
        self.delivered += other.delivered;
        self.lost += other.lost;
        self.duplicated += other.duplicated;
        self.out_of_order += other.out_of_order;
        self.late += other.late;
    }

    /// Returns the number of lost, duplicated and out-of-order deliveries.
    pub(crate) const fn faults(&self) -> u64 {
        self.lost + self.duplicated + self.out_of_order
    }
}
