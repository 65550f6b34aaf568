//! How much of a difference is chance: confidence intervals by the bootstrap.
//!
//! Deliveries are not independent samples: one stall delays hundreds of them.
//! So the bootstrap never resamples deliveries. For two reports it resamples
//! slices of the run; a run has 32, and each is longer than the effect of one
//! stall. For commands that run in alternation it resamples whole rounds, with
//! both runs of a round together.

use hdrhistogram::{Counter, Histogram};

use crate::plan::Rng;

/// The number of resamples.
pub(crate) const RESAMPLES: usize = 2000;

/// The interval of a ratio of B to A, with 95 % confidence.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct ConfidenceInterval {
    /// The lower end.
    pub(crate) low: f64,
    /// The upper end.
    pub(crate) high: f64,
}

/// The latencies of each slice of a run, stored so that any selection of slices
/// is added up quickly.
#[derive(Debug)]
pub(crate) struct SliceCounts {
    /// The latencies that occur, in ascending order.
    values: Vec<u64>,
    /// For each slice, how often each latency occurs.
    counts: Vec<Vec<u64>>,
}

impl SliceCounts {
    /// Returns the counts of one histogram per slice, without empty slices.
    pub(crate) fn from_histograms<T: Counter>(histograms: &[Histogram<T>]) -> Self {
        let mut values: Vec<u64> = histograms
            .iter()
            .flat_map(|histogram| histogram.iter_recorded().map(|step| step.value_iterated_to()))
            .collect();
        values.sort_unstable();
        values.dedup();
        let count = |histogram: &Histogram<T>| {
            let mut counts = vec![0; values.len()];
            for step in histogram.iter_recorded() {
                if let Ok(index) = values.binary_search(&step.value_iterated_to()) {
                    counts[index] += step.count_at_value().as_u64();
                }
            }
            counts
        };
        let counts = histograms.iter().filter(|histogram| !histogram.is_empty()).map(count).collect();
        Self { values, counts }
    }

    /// Draws as many slices as there are, with replacement, and returns their
    /// quantiles.
    fn draw(&self, quantiles: &[f64], rng: &mut Rng) -> Vec<f64> {
        let mut sum = vec![0_u64; self.values.len()];
        for _ in &self.counts {
            let drawn = usize::try_from(rng.below(self.counts.len() as u64)).unwrap_or(0);
            for (sum, count) in sum.iter_mut().zip(&self.counts[drawn]) {
                *sum += count;
            }
        }
        quantiles.iter().map(|&quantile| self.quantile(&sum, quantile).unwrap_or(f64::NAN)).collect()
    }

    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "counts of a run are far below 2^53"
    )]
    fn quantile(&self, counts: &[u64], quantile: f64) -> Option<f64> {
        let total: u64 = counts.iter().sum();
        let rank = ((total as f64 * quantile).ceil() as u64).clamp(1, total.max(1));
        let mut seen = 0;
        let at = counts.iter().position(|count| {
            seen += count;
            seen >= rank
        })?;
        Some(self.values[at] as f64)
    }
}

/// Returns the intervals of the ratios of B's quantiles to A's, from
/// `resamples` resamples; `None` with fewer than two slices on either side.
pub(crate) fn ratios_of_quantiles(
    a: &SliceCounts,
    b: &SliceCounts,
    quantiles: &[f64],
    resamples: usize,
) -> Vec<Option<ConfidenceInterval>> {
    if a.counts.len() < 2 || b.counts.len() < 2 {
        return vec![None; quantiles.len()];
    }
    let mut rng = Rng::new(1);
    let drawn: Vec<_> =
        (0..resamples).map(|_| (a.draw(quantiles, &mut rng), b.draw(quantiles, &mut rng))).collect();
    let ratios = |index: usize| drawn.iter().map(|(a, b)| b[index] / a[index]).collect();
    (0..quantiles.len()).map(|index| percentile_interval(ratios(index))).collect()
}

/// Returns the interval of the geometric mean of the ratios, one for each
/// round; `None` with fewer than two rounds.
pub(crate) fn ratio_of_pairs(ratios: &[f64]) -> Option<ConfidenceInterval> {
    if ratios.len() < 2 {
        return None;
    }
    let mut rng = Rng::new(1);
    let draw = |rng: &mut Rng| {
        let drawn = ratios.iter().filter_map(|_| {
            let index = usize::try_from(rng.below(ratios.len() as u64)).ok()?;
            ratios.get(index).copied()
        });
        geometric_mean(&drawn.collect::<Vec<_>>())
    };
    percentile_interval((0..RESAMPLES).map(|_| draw(&mut rng)).collect())
}

/// Returns the geometric mean.
#[expect(clippy::cast_precision_loss, reason = "the number of rounds is small")]
pub(crate) fn geometric_mean(ratios: &[f64]) -> f64 {
    (ratios.iter().map(|ratio| ratio.ln()).sum::<f64>() / ratios.len() as f64).exp()
}

/// Returns the interval that contains the middle 95 % of the draws.
fn percentile_interval(mut draws: Vec<f64>) -> Option<ConfidenceInterval> {
    draws.retain(|draw| draw.is_finite());
    draws.sort_by(f64::total_cmp);
    let at = |thousandths: usize| draws.get(draws.len() * thousandths / 1000).copied();
    Some(ConfidenceInterval { low: at(25)?, high: at(975).or(draws.last().copied())? })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns 32 slices of 500 samples around `typical_ms`.
    fn run(seed: u64, typical_ms: f64) -> SliceCounts {
        let mut rng = Rng::new(seed);
        let slice = |_| {
            let mut histogram = Histogram::<u32>::new_with_bounds(1, 3_600_000_000_000, 2).expect("bounds");
            // Each slice is slow or fast as a whole: its samples are
            // correlated.
            let slice_factor = 0.8 + rng.below(400) as f64 / 1000.0;
            for _ in 0..500 {
                let spread = 0.5 + rng.below(1000) as f64 / 1000.0;
                histogram.saturating_record((typical_ms * slice_factor * spread * 1e6) as u64);
            }
            histogram
        };
        SliceCounts::from_histograms(&(0..32).map(slice).collect::<Vec<_>>())
    }

    fn ratio(a: &SliceCounts, b: &SliceCounts, quantile: f64) -> ConfidenceInterval {
        ratios_of_quantiles(a, b, &[quantile], 200)[0].expect("an interval")
    }

    #[test]
    fn the_interval_of_equal_runs_usually_contains_the_ratio_1() {
        let outside = (0..40).filter(|&pair| {
            let interval = ratio(&run(2 * pair + 1, 10.0), &run(2 * pair + 2, 10.0), 0.9);
            interval.low > 1.0 || interval.high < 1.0
        });
        let outside = outside.count();
        assert!(outside <= 6, "{outside} of 40 equal pairs were reported as different");
    }

    #[test]
    fn a_run_that_is_slower_by_half_is_reported_as_different() {
        for pair in 0..5 {
            let interval = ratio(&run(100 + pair, 10.0), &run(200 + pair, 15.0), 0.99);
            assert!(interval.low > 1.1 && interval.low < 1.5 && interval.high > 1.4, "{interval:?}");
        }
    }

    #[test]
    fn rounds_that_agree_have_a_narrow_interval() {
        let interval = ratio_of_pairs(&[1.2, 1.25, 1.22, 1.18, 1.21]).expect("an interval");
        assert!(interval.low > 1.17 && interval.high < 1.26, "{interval:?}");
        let interval = ratio_of_pairs(&[0.5, 2.0, 1.0, 0.7, 1.6]).expect("an interval");
        assert!(interval.low < 1.0 && interval.high > 1.0, "{interval:?}");
        assert!(ratio_of_pairs(&[1.2]).is_none());
    }

    #[test]
    fn runs_without_samples_have_no_interval() {
        let nothing = SliceCounts::from_histograms::<u32>(&[]);
        assert_eq!(ratios_of_quantiles(&nothing, &run(1, 1.0), &[0.5], 10), [None]);
    }
}
