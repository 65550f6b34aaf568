//! Deliveries and latency over time, in a fixed number of bins.

use std::time::Duration;

use hdrhistogram::Histogram;

use super::latency::with_digits;
use crate::plan::nanoseconds;

/// Maximum number of bins of a run.
const MAX_BINS: u64 = 200;

/// The shortest bin.
const MIN_BIN_WIDTH: Duration = Duration::from_millis(100);

/// The bins of a run. Their number is bounded, so the memory does not depend on
/// the duration of the run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bins {
    width_ns: u64,
    count: usize,
}

impl Bins {
    /// Returns the bins of a run with this duration.
    pub(crate) fn new(duration: Duration) -> Self {
        let duration_ns = nanoseconds(duration).max(1);
        let width_ns = duration_ns.div_ceil(MAX_BINS).max(nanoseconds(MIN_BIN_WIDTH));
        let count = usize::try_from(duration_ns.div_ceil(width_ns)).unwrap_or(1);
        Self { width_ns, count }
    }

    /// Returns the length of a bin.
    pub(crate) const fn width(self) -> Duration {
        Duration::from_nanos(self.width_ns)
    }

    /// Returns the number of bins.
    pub(crate) const fn count(self) -> usize {
        self.count
    }

    /// Returns the index of the bin of `at_ns`. A time after the end belongs to
    /// the last bin.
    pub(crate) fn index(self, at_ns: u64) -> usize {
        usize::try_from(at_ns / self.width_ns).unwrap_or(usize::MAX).min(self.count - 1)
    }
}

/// Deliveries over time.
#[derive(Debug)]
pub(crate) struct DeliveryTimeline {
    bins: Bins,
    /// Number of deliveries, by the bin of their arrival.
    pub(crate) delivered: Vec<u64>,
    /// Latencies by the bin of the due time, with one significant digit.
    pub(crate) latency: Vec<Histogram<u32>>,
    /// The longest latency of each bin, exactly.
    pub(crate) longest_ns: Vec<u64>,
}

impl DeliveryTimeline {
    /// Returns an empty timeline.
    pub(crate) fn new(bins: Bins) -> Self {
        let count = bins.count();
        Self {
            bins,
            delivered: vec![0; count],
            latency: vec![with_digits(1); count],
            longest_ns: vec![0; count],
        }
    }

    /// Records one arrival.
    pub(crate) fn record_arrival(&mut self, now_ns: u64) {
        self.delivered[self.bins.index(now_ns)] += 1;
    }

    /// Records the latency of `count` deliveries that were due at `due_ns`.
    pub(crate) fn record_latency(&mut self, due_ns: u64, latency_ns: u64, count: u64) {
        let bin = self.bins.index(due_ns);
        self.latency[bin].saturating_record_n(latency_ns, u32::try_from(count).unwrap_or(u32::MAX));
        self.longest_ns[bin] = self.longest_ns[bin].max(latency_ns);
    }

    /// Adds `other`, which has the same bins.
    pub(crate) fn add(&mut self, other: &Self) {
        for bin in 0..self.bins.count() {
            self.delivered[bin] += other.delivered[bin];
            // Adding cannot fail, because the bounds are equal.
            let _ = self.latency[bin].add(&other.latency[bin]);
            self.longest_ns[bin] = self.longest_ns[bin].max(other.longest_ns[bin]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_bins_is_bounded_and_every_time_has_a_bin() {
        for (seconds, count, width_ms) in [(1, 10, 100), (20, 200, 100), (86_400, 200, 432_000)] {
            let bins = Bins::new(Duration::from_secs(seconds));
            assert_eq!((bins.count(), bins.width()), (count, Duration::from_millis(width_ms)));
            assert_eq!((bins.index(0), bins.index(u64::MAX)), (0, count - 1));
        }
        assert_eq!(Bins::new(Duration::from_nanos(1)).count(), 1);
    }
}
