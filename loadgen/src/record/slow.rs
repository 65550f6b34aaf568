//! The slowest deliveries, kept with their times, in bounded memory.

use std::time::Instant;

use crate::plan::Rng;

/// How many are kept at most: 1.5 MiB.
const MAX_KEPT: usize = 65_536;

/// From when to when one delivery took, in nanoseconds since the measuring
/// began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DeliverySpan {
    /// When it was due.
    pub(crate) due_ns: u64,
    /// When it was sent.
    pub(crate) sent_ns: u64,
    /// When it arrived.
    pub(crate) arrived_ns: u64,
}

impl DeliverySpan {
    /// How long it took.
    pub(crate) const fn nanoseconds(&self) -> u64 {
        self.arrived_ns.saturating_sub(self.due_ns)
    }
}

/// Deliveries above a floor.
///
/// As long as there is room, all are kept. When there is none, the floor rises
/// to what the caller says is surely below the tail; if that is not enough,
/// every second one goes, by lot, and newcomers have to win as often. So what
/// is left is always a fair sample of everything above the floor.
#[derive(Debug)]
pub(crate) struct SlowestDeliveries {
    floor_ns: u64,
    /// One in two to the power of this is kept.
    halvings: u32,
    kept: Vec<DeliverySpan>,
    rng: Rng,
}

impl SlowestDeliveries {
    /// Keeps what takes longer than `floor_ns`.
    pub(crate) const fn with_floor(floor_ns: u64) -> Self {
        Self { floor_ns, halvings: 0, kept: Vec::new(), rng: Rng::new(1) }
    }

    /// Takes a delivery in; `below_tail_ns` is asked for when there is no room.
    pub(crate) fn offer(&mut self, span: DeliverySpan, below_tail_ns: impl FnOnce() -> u64) {
        if span.nanoseconds() <= self.floor_ns || !self.wins(self.halvings) {
            return;
        }
        self.kept.push(span);
        if self.kept.len() >= MAX_KEPT {
            self.raise(below_tail_ns());
            if self.kept.len() > MAX_KEPT / 2 {
                self.halve();
            }
        }
    }

    /// Adds what another part of the connections kept.
    pub(crate) fn add(&mut self, other: &Self) {
        self.raise(other.floor_ns);
        while self.halvings < other.halvings {
            self.halve();
        }
        let lots = self.halvings - other.halvings;
        for &span in &other.kept {
            if span.nanoseconds() > self.floor_ns && self.wins(lots) {
                self.kept.push(span);
            }
        }
    }

    /// Those that took longer than `threshold_ns`.
    pub(crate) fn longer_than(&self, threshold_ns: u64) -> Vec<DeliverySpan> {
        self.kept.iter().copied().filter(|span| span.nanoseconds() > threshold_ns).collect()
    }

    /// For how many deliveries each one stands.
    pub(crate) const fn weight(&self) -> u64 {
        1 << self.halvings
    }

    fn wins(&mut self, halvings: u32) -> bool {
        halvings == 0 || self.rng.next().trailing_zeros() >= halvings
    }

    fn raise(&mut self, floor_ns: u64) {
        if floor_ns > self.floor_ns {
            self.floor_ns = floor_ns;
            self.kept.retain(|span| span.nanoseconds() > floor_ns);
        }
    }

    fn halve(&mut self) {
        // Further than that, nothing that ever runs would come.
        self.halvings = (self.halvings + 1).min(48);
        let rng = &mut self.rng;
        self.kept.retain(|_| rng.next().is_multiple_of(2));
    }
}

/// The slow deliveries of a run.
#[derive(Debug, Clone)]
pub(crate) struct SlowDeliveries {
    /// When the measuring began: what the spans count from.
    pub(crate) start: Instant,
    /// For how long it was measured and waited for deliveries, in nanoseconds.
    pub(crate) measured_ns: u64,
    /// What makes them slow, in nanoseconds.
    pub(crate) threshold_ns: u64,
    /// Where the threshold comes from: `p99`, or the objective.
    pub(crate) threshold: String,
    /// How many there were.
    pub(crate) count: u64,
    /// Those that could be kept.
    pub(crate) kept: Vec<DeliverySpan>,
    /// For how many each of them stands.
    pub(crate) weight: u64,
}

impl SlowDeliveries {
    /// For how many each of them stands.
    #[expect(clippy::cast_precision_loss, reason = "a power of two")]
    pub(crate) const fn weight_factor(&self) -> f64 {
        self.weight as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn span(nanoseconds: u64) -> DeliverySpan {
        DeliverySpan { due_ns: 7, sent_ns: 7, arrived_ns: 7 + nanoseconds }
    }

    #[test]
    fn while_there_is_room_all_above_the_floor_are_kept() {
        let mut slow = SlowestDeliveries::with_floor(100);
        for nanoseconds in 0..1000 {
            slow.offer(span(nanoseconds), || unreachable!("there is room"));
        }
        assert_eq!((slow.longer_than(0).len(), slow.weight()), (899, 1));
        assert_eq!(slow.longer_than(989), (990..1000).map(span).collect::<Vec<_>>());
    }

    #[test]
    fn memory_is_bounded_and_the_sample_fair() {
        let mut slow = SlowestDeliveries::with_floor(0);
        let total = 1_000_000;
        for number in 0..total {
            // A tenth is slow, spread over the whole run; the floor may take the rest.
            slow.offer(span(if number % 10 == 0 { 1000 + number } else { 50 }), || 50);
            assert!(slow.kept.len() <= MAX_KEPT);
        }
        assert_eq!(slow.floor_ns, 50);
        assert!(slow.weight() > 1, "100,000 do not fit");
        let kept = slow.longer_than(50);
        let stands_for = kept.len() as u64 * slow.weight();
        assert!((95_000..105_000).contains(&stands_for), "{stands_for}");
        let late = kept.iter().filter(|span| span.nanoseconds() > 1000 + total / 2).count();
        let share = late as f64 / kept.len() as f64;
        assert!((0.48..0.52).contains(&share), "late in the run as likely as early: {share}");
    }

    #[test]
    fn parts_add_up_at_the_coarser_ones_grain() {
        let (mut fine, mut coarse) = (SlowestDeliveries::with_floor(0), SlowestDeliveries::with_floor(0));
        for nanoseconds in 1..=1000 {
            fine.offer(span(nanoseconds), || 0);
        }
        for nanoseconds in 1..=MAX_KEPT as u64 {
            coarse.offer(span(nanoseconds), || 0);
        }
        assert_eq!(coarse.weight(), 2);
        let mut sum = SlowestDeliveries::with_floor(0);
        sum.add(&fine);
        sum.add(&coarse);
        assert_eq!(sum.weight(), 2);
        let stands_for = sum.longer_than(0).len() as u64 * 2;
        assert!((63_500..69_500).contains(&stands_for), "{stands_for}");
    }
}
