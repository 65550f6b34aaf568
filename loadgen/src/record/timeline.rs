//! How it went over time, in a fixed number of stretches.

use std::time::Duration;

use hdrhistogram::Histogram;

use super::latency::with_digits;
use crate::plan::nanoseconds;

/// How many stretches a run is cut into at most.
const MAX_BINS: u64 = 200;

/// The shortest stretch.
const MIN_BIN_WIDTH: Duration = Duration::from_millis(100);

/// How a run of a known duration is cut into stretches: its memory does not
/// depend on how long the run is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bins {
    width_ns: u64,
    count: usize,
}

impl Bins {
    /// For a run of this duration.
    pub(crate) fn new(duration: Duration) -> Self {
        let duration_ns = nanoseconds(duration).max(1);
        let width_ns = duration_ns.div_ceil(MAX_BINS).max(nanoseconds(MIN_BIN_WIDTH));
        let count = usize::try_from(duration_ns.div_ceil(width_ns)).unwrap_or(1);
        Self { width_ns, count }
    }

    /// How long a stretch is.
    pub(crate) const fn width(self) -> Duration {
        Duration::from_nanos(self.width_ns)
    }

    /// How many there are.
    pub(crate) const fn count(self) -> usize {
        self.count
    }

    /// In which stretch `at_ns` lies; what comes after the end counts to the
    /// last one.
    pub(crate) fn index(self, at_ns: u64) -> usize {
        usize::try_from(at_ns / self.width_ns).unwrap_or(usize::MAX).min(self.count - 1)
    }
}

/// Deliveries over time.
#[derive(Debug)]
pub(crate) struct DeliveryTimeline {
    bins: Bins,
    /// Deliveries that came, by the time of their arrival.
    pub(crate) delivered: Vec<u64>,
    /// Latencies, by the due time, to one digit.
    pub(crate) latency: Vec<Histogram<u32>>,
    /// The longest of them, exactly.
    pub(crate) longest_ns: Vec<u64>,
}

impl DeliveryTimeline {
    /// Nothing yet.
    pub(crate) fn new(bins: Bins) -> Self {
        let count = bins.count();
        Self {
            bins,
            delivered: vec![0; count],
            latency: vec![with_digits(1); count],
            longest_ns: vec![0; count],
        }
    }

    /// One delivery has come.
    pub(crate) fn deliver(&mut self, now_ns: u64) {
        self.delivered[self.bins.index(now_ns)] += 1;
    }

    /// `count` deliveries that were due at `due_ns` took this long.
    pub(crate) fn took(&mut self, due_ns: u64, latency_ns: u64, count: u64) {
        let bin = self.bins.index(due_ns);
        self.latency[bin].saturating_record_n(latency_ns, u32::try_from(count).unwrap_or(u32::MAX));
        self.longest_ns[bin] = self.longest_ns[bin].max(latency_ns);
    }

    /// Adds `other`, which is cut in the same way.
    pub(crate) fn add(&mut self, other: &Self) {
        for bin in 0..self.bins.count() {
            self.delivered[bin] += other.delivered[bin];
            // Equal bounds cannot fail to add up.
            let _ = self.latency[bin].add(&other.latency[bin]);
            self.longest_ns[bin] = self.longest_ns[bin].max(other.longest_ns[bin]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_stretches_is_bounded_and_every_moment_has_one() {
        for (seconds, count, width_ms) in [(1, 10, 100), (20, 200, 100), (86_400, 200, 432_000)] {
            let bins = Bins::new(Duration::from_secs(seconds));
            assert_eq!((bins.count(), bins.width()), (count, Duration::from_millis(width_ms)));
            assert_eq!((bins.index(0), bins.index(u64::MAX)), (0, count - 1));
        }
        assert_eq!(Bins::new(Duration::from_nanos(1)).count(), 1);
    }
}
