//! Distributions of times.

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// A distribution of times.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Timing {
    pub(crate) samples: u64,
    pub(crate) min_seconds: f64,
    pub(crate) mean_seconds: f64,
    pub(crate) p50_seconds: f64,
    pub(crate) p90_seconds: f64,
    pub(crate) p99_seconds: f64,
    pub(crate) p999_seconds: f64,
    pub(crate) max_seconds: f64,
}

impl Timing {
    /// Returns the figures of a histogram of nanoseconds; `None` if it has no
    /// samples.
    #[expect(clippy::cast_precision_loss, reason = "three digits are kept")]
    pub(crate) fn from_histogram(histogram: &Histogram<u64>) -> Option<Self> {
        let seconds = |nanoseconds: u64| nanoseconds as f64 / 1e9;
        let quantile = |quantile| seconds(histogram.value_at_quantile(quantile));
        (!histogram.is_empty()).then(|| Self {
            samples: histogram.len(),
            min_seconds: seconds(histogram.min()),
            mean_seconds: histogram.mean() / 1e9,
            p50_seconds: quantile(0.5),
            p90_seconds: quantile(0.9),
            p99_seconds: quantile(0.99),
            p999_seconds: quantile(0.999),
            max_seconds: seconds(histogram.max()),
        })
    }
}

/// A point of a distribution: the share `quantile` of the samples is at most
/// `seconds`.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct SpectrumPoint {
    pub(crate) quantile: f64,
    pub(crate) seconds: f64,
}
