//! Latencies by slice of the run. Their spread says how much of the difference
//! between two runs is chance.

use std::time::Duration;

use hdrhistogram::Histogram;

use super::latency::with_digits;
use crate::plan::nanoseconds;

/// The number of slices of a run.
const SLICE_COUNT: usize = 32;

/// The latencies of a run in slices of equal length.
#[derive(Debug)]
pub(crate) struct LatencySlices {
    width_ns: u64,
    /// Latency by slice of the due time, with two significant digits.
    latency: Vec<Histogram<u32>>,
}

impl LatencySlices {
    /// Returns empty slices for a run of this duration.
    pub(crate) fn new(duration: Duration) -> Self {
        let width_ns = nanoseconds(duration).div_ceil(SLICE_COUNT as u64).max(1);
        Self { width_ns, latency: vec![with_digits(2); SLICE_COUNT] }
    }

    /// Records `count` deliveries that were due at `due_ns`.
    pub(crate) fn record(&mut self, due_ns: u64, latency_ns: u64, count: u64) {
        let index = usize::try_from(due_ns / self.width_ns).unwrap_or(usize::MAX).min(self.latency.len() - 1);
        self.latency[index].saturating_record_n(latency_ns, u32::try_from(count).unwrap_or(u32::MAX));
    }

    /// Adds `other`, which is of a run with the same duration.
    pub(crate) fn add(&mut self, other: &Self) {
        for (slice, other) in self.latency.iter_mut().zip(&other.latency) {
            // Adding cannot fail, because the bounds are equal.
            let _ = slice.add(other);
        }
    }

    /// Returns the histograms in the order of the slices.
    pub(crate) fn latency(&self) -> &[Histogram<u32>] {
        &self.latency
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_due_time_has_its_slice() {
        let mut slices = LatencySlices::new(Duration::from_secs(32));
        for due_ms in [0, 999, 1000, 31_999, 90_000] {
            slices.record(due_ms * 1_000_000, 5, 2);
        }
        slices.record(0, 5, 0);
        let counts: Vec<_> = slices.latency().iter().map(Histogram::len).collect();
        assert_eq!((counts[0], counts[1], counts[31], counts.len()), (4, 2, 4, 32));
    }
}
