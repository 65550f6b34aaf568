//! A set of moments, as disjoint intervals.

use std::ops::Range;

/// Disjoint intervals in any order.
#[derive(Debug, Default)]
pub(crate) struct Intervals(Vec<Range<u64>>);

impl Intervals {
    /// Adds an interval and returns how much of it is new.
    pub(crate) fn add(&mut self, mut added: Range<u64>) -> u64 {
        let length = |range: &Range<u64>| range.end.saturating_sub(range.start);
        let mut known = 0;
        // Each interval that touches the added one becomes a part of it.
        self.0.retain(|interval| {
            let is_apart = interval.end < added.start || added.end < interval.start;
            if !is_apart {
                known += length(interval);
                added = added.start.min(interval.start)..added.end.max(interval.end);
            }
            is_apart
        });
        let new = length(&added).saturating_sub(known);
        self.0.push(added);
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_new_moments_count() {
        let mut intervals = Intervals::default();
        assert_eq!(intervals.add(10..20), 10);
        assert_eq!(intervals.add(30..40), 10);
        assert_eq!(intervals.add(12..18), 0);
        assert_eq!(intervals.add(15..35), 10);
        assert_eq!(intervals.add(5..45), 10);
        assert_eq!(intervals.add(5..45), 0);
    }

    proptest::proptest! {
        #[test]
        fn the_sum_is_the_size_of_the_union(ranges in proptest::collection::vec((0_u64..200, 0_u64..50), 0..40)) {
            let mut intervals = Intervals::default();
            let mut moments = std::collections::BTreeSet::new();
            let mut sum = 0;
            for (start, length) in ranges {
                sum += intervals.add(start..start + length);
                moments.extend(start..start + length);
            }
            proptest::prop_assert_eq!(sum, moments.len() as u64);
        }
    }
}
