//! The slowest deliveries, or logins, kept with their times, in bounded memory.

use std::time::Instant;

use crate::plan::Rng;

/// Maximum number of waits that are kept. They take 1.5 MiB.
const MAX_KEPT_WAITS: usize = 65_536;

/// The times of one delivery, in nanoseconds since the measurement began, or of
/// one login, since the run began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct WaitSpan {
    /// When it was due.
    pub(crate) due_ns: u64,
    /// When it was sent; of a login, when the connection was begun.
    pub(crate) sent_ns: u64,
    /// When it arrived; of a login, when the connection was ready.
    pub(crate) arrived_ns: u64,
}

impl WaitSpan {
    /// Returns the latency.
    pub(crate) const fn nanoseconds(&self) -> u64 {
        self.arrived_ns.saturating_sub(self.due_ns)
    }
}

/// A sample of the waits above a floor, in bounded memory.
///
/// As long as the capacity suffices, all of them are kept. When it is reached,
/// the floor rises to a latency that, according to the caller, is below the
/// tail. If that does not remove enough, each wait is removed with a
/// probability of one half, and each later one is kept with the same
/// probability as the earlier ones. So the kept waits are always a fair sample
/// of all above the floor.
#[derive(Debug)]
pub(crate) struct SlowestWaits {
    floor_ns: u64,
    /// One of 2^`halvings` waits is kept.
    halvings: u32,
    kept: Vec<WaitSpan>,
    rng: Rng,
}

impl SlowestWaits {
    /// Returns an empty sample of the waits that take longer than `floor_ns`.
    pub(crate) const fn with_floor(floor_ns: u64) -> Self {
        Self { floor_ns, halvings: 0, kept: Vec::new(), rng: Rng::new(1) }
    }

    /// Offers a wait to the sample. When the capacity is reached,
    /// `below_tail_ns` returns a latency below the tail.
    pub(crate) fn offer(&mut self, span: WaitSpan, below_tail_ns: impl FnOnce() -> u64) {
        if span.nanoseconds() <= self.floor_ns || !self.is_drawn(self.halvings) {
            return;
        }
        self.kept.push(span);
        if self.kept.len() >= MAX_KEPT_WAITS {
            self.raise_floor(below_tail_ns());
            if self.kept.len() > MAX_KEPT_WAITS / 2 {
                self.halve();
            }
        }
    }

    /// Adds the sample of another part of the connections.
    pub(crate) fn add(&mut self, other: &Self) {
        self.raise_floor(other.floor_ns);
        while self.halvings < other.halvings {
            self.halve();
        }
        let halvings = self.halvings - other.halvings;
        for &span in &other.kept {
            if span.nanoseconds() > self.floor_ns && self.is_drawn(halvings) {
                self.kept.push(span);
            }
        }
    }

    /// Returns the kept waits that took longer than `threshold_ns`.
    pub(crate) fn longer_than(&self, threshold_ns: u64) -> Vec<WaitSpan> {
        self.kept.iter().copied().filter(|span| span.nanoseconds() > threshold_ns).collect()
    }

    /// Returns how many waits each kept one represents.
    pub(crate) const fn weight(&self) -> u64 {
        1 << self.halvings
    }

    fn is_drawn(&mut self, halvings: u32) -> bool {
        halvings == 0 || self.rng.next().trailing_zeros() >= halvings
    }

    fn raise_floor(&mut self, floor_ns: u64) {
        if floor_ns > self.floor_ns {
            self.floor_ns = floor_ns;
            self.kept.retain(|span| span.nanoseconds() > floor_ns);
        }
    }

    fn halve(&mut self) {
        // No run has enough deliveries for more halvings.
        self.halvings = (self.halvings + 1).min(48);
        let rng = &mut self.rng;
        self.kept.retain(|_| rng.next().is_multiple_of(2));
    }
}

/// The slow deliveries of a run, or its slow logins.
#[derive(Debug, Clone)]
pub(crate) struct SlowWaits {
    /// The instant from which the spans count.
    pub(crate) start: Instant,
    /// Time from `start` to the end of the drain, in nanoseconds.
    pub(crate) measured_ns: u64,
    /// The latency, in nanoseconds, above which one is slow.
    pub(crate) threshold_ns: u64,
    /// The origin of the threshold: `p99`, for logins `p90`, or the text of an
    /// objective.
    pub(crate) threshold: String,
    /// How many were slow.
    pub(crate) count: u64,
    /// Those that were kept.
    pub(crate) kept: Vec<WaitSpan>,
    /// How many each kept one represents.
    pub(crate) weight: u64,
}

impl SlowWaits {
    /// Returns the weight as a factor.
    #[expect(clippy::cast_precision_loss, reason = "a power of two")]
    pub(crate) const fn weight_factor(&self) -> f64 {
        self.weight as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn span(nanoseconds: u64) -> WaitSpan {
        WaitSpan { due_ns: 7, sent_ns: 7, arrived_ns: 7 + nanoseconds }
    }

    #[test]
    fn all_deliveries_above_the_floor_are_kept_below_the_capacity() {
        let mut slow = SlowestWaits::with_floor(100);
        for nanoseconds in 0..1000 {
            slow.offer(span(nanoseconds), || unreachable!("the capacity is not reached"));
        }
        assert_eq!((slow.longer_than(0).len(), slow.weight()), (899, 1));
        assert_eq!(slow.longer_than(989), (990..1000).map(span).collect::<Vec<_>>());
    }

    #[test]
    fn memory_is_bounded_and_the_sample_is_fair() {
        let mut slow = SlowestWaits::with_floor(0);
        let total = 1_000_000;
        for number in 0..total {
            // A tenth is slow, spread over the whole run; the floor may remove
            // the rest.
            slow.offer(span(if number % 10 == 0 { 1000 + number } else { 50 }), || 50);
            assert!(slow.kept.len() <= MAX_KEPT_WAITS);
        }
        assert_eq!(slow.floor_ns, 50);
        assert!(slow.weight() > 1, "100,000 do not fit");
        let kept = slow.longer_than(50);
        let represented = kept.len() as u64 * slow.weight();
        assert!((95_000..105_000).contains(&represented), "{represented}");
        let late = kept.iter().filter(|span| span.nanoseconds() > 1000 + total / 2).count();
        let share = late as f64 / kept.len() as f64;
        assert!(
            (0.48..0.52).contains(&share),
            "early and late deliveries must be kept with the same probability: {share}"
        );
    }

    #[test]
    fn a_sum_has_the_coarser_sampling_rate_of_its_parts() {
        let (mut fine, mut coarse) = (SlowestWaits::with_floor(0), SlowestWaits::with_floor(0));
        for nanoseconds in 1..=1000 {
            fine.offer(span(nanoseconds), || 0);
        }
        for nanoseconds in 1..=MAX_KEPT_WAITS as u64 {
            coarse.offer(span(nanoseconds), || 0);
        }
        assert_eq!(coarse.weight(), 2);
        let mut sum = SlowestWaits::with_floor(0);
        sum.add(&fine);
        sum.add(&coarse);
        assert_eq!(sum.weight(), 2);
        let represented = sum.longer_than(0).len() as u64 * 2;
        assert!((63_500..69_500).contains(&represented), "{represented}");
    }
}
