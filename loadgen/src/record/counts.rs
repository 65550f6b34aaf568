//! What became of a number of deliveries.

/// Counts of deliveries: of the whole run, of one stage or of one channel.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Counts {
    /// That should have come; known once the run has ended.
    pub(crate) expected: u64,
    /// That came, each counted once.
    pub(crate) delivered: u64,
    /// That never came. While the run goes on, those that are too far behind
    /// to be waited for.
    pub(crate) lost: u64,
    /// That came again.
    pub(crate) duplicated: u64,
    /// That a later message of the same sender overtook.
    pub(crate) out_of_order: u64,
    /// That took longer than the tightest objective on latency.
    pub(crate) late: u64,
}

impl Counts {
    /// Nothing.
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

    /// How many of them went wrong.
    pub(crate) const fn faults(&self) -> u64 {
        self.lost + self.duplicated + self.out_of_order
    }
}
