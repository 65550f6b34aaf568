//! Latencies by stretch of time: what says how much of a difference between two
//! runs is chance.

use std::time::Duration;

use hdrhistogram::Histogram;

use super::latency::with_digits;
use crate::plan::nanoseconds;

/// Into how many stretches a run is cut.
pub(crate) const SLICES: usize = 32;

/// The run cut into stretches of the same length, whatever its duration.
#[derive(Debug)]
pub(crate) struct LatencySlices {
    width_ns: u64,
    /// By the time at which they were due, to two digits.
    latency: Vec<Histogram<u32>>,
}

impl LatencySlices {
    /// For a run of this duration.
    pub(crate) fn new(duration: Duration) -> Self {
        let width_ns = nanoseconds(duration).div_ceil(SLICES as u64).max(1);
        Self { width_ns, latency: vec![with_digits(2); SLICES] }
    }

    /// `count` deliveries that were due at `due_ns` took this long.
    pub(crate) fn took(&mut self, due_ns: u64, latency_ns: u64, count: u64) {
        let index = usize::try_from(due_ns / self.width_ns).unwrap_or(usize::MAX).min(self.latency.len() - 1);
        self.latency[index].saturating_record_n(latency_ns, u32::try_from(count).unwrap_or(u32::MAX));
    }

    /// Adds `other`, which is cut in the same way.
    pub(crate) fn add(&mut self, other: &Self) {
        for (slice, other) in self.latency.iter_mut().zip(&other.latency) {
            // Equal bounds cannot fail to add up.
            let _ = slice.add(other);
        }
    }

    /// The stretches in order.
    pub(crate) fn latency(&self) -> &[Histogram<u32>] {
        &self.latency
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_moment_has_its_stretch() {
        let mut slices = LatencySlices::new(Duration::from_secs(32));
        for due_ms in [0, 999, 1000, 31_999, 90_000] {
            slices.took(due_ms * 1_000_000, 5, 2);
        }
        slices.took(0, 5, 0);
        let counts: Vec<_> = slices.latency().iter().map(Histogram::len).collect();
        assert_eq!((counts[0], counts[1], counts[31], counts.len()), (4, 2, 4, 32));
    }
}
