//! Converts the fine buckets of a snapshot into the buckets of the catalogue.

use crate::export::metrics::catalogue::BUCKETS;
use crate::snapshot::HistogramSnapshot;

/// Returns, for each of [`BUCKETS`], how many values are at most that bound.
/// Reads the histogram once.
pub(crate) fn counts_at_most(histogram: &HistogramSnapshot) -> [u64; BUCKETS.len()] {
    let mut fine = histogram.buckets.iter().peekable();
    let mut counted = 0;
    BUCKETS.map(|bound| {
        while let Some((_, count)) = fine.next_if(|(highest, _)| *highest <= bound) {
            counted += count;
        }
        counted
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn counts_equal_those_of_count_at_most() {
        let buckets: Vec<_> = (1..2_000_u64).map(|n| (Duration::from_nanos(n * n * 5_003), n % 7)).collect();
        let count = buckets.iter().map(|(_, n)| n).sum();
        let histogram = HistogramSnapshot { buckets, count, ..HistogramSnapshot::default() };
        assert_eq!(counts_at_most(&histogram), BUCKETS.map(|bound| histogram.count_at_most(bound)));
        assert_eq!(counts_at_most(&HistogramSnapshot::default()), [0; BUCKETS.len()]);
    }
}
