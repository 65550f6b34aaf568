//! The latencies of one interval of the `.hlog`.

use hdrhistogram::Histogram;

use super::latency::histogram;

/// The latencies of one interval of the log.
#[derive(Debug)]
pub(crate) struct IntervalLatencies {
    /// From due time to receipt; lost deliveries are censored samples.
    pub(crate) latency: Histogram<u64>,
    /// From send to receipt.
    pub(crate) service: Histogram<u64>,
}

impl IntervalLatencies {
    /// Returns empty histograms.
    pub(crate) fn new() -> Self {
        Self { latency: histogram(), service: histogram() }
    }

    /// Moves everything out of `other` into `self`.
    pub(crate) fn take_from(&mut self, other: &mut Self) {
        // Adding cannot fail, because the bounds are equal.
        let _ = self.latency.add(&other.latency);
        let _ = self.service.add(&other.service);
        other.latency.reset();
        other.service.reset();
    }
}
