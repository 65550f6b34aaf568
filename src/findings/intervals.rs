//! A set of moments, as disjoint intervals.

use std::ops::Range;

/// How many intervals are kept. If there are more, the two with the shortest
/// gap between them become one.
const MAX_INTERVALS: usize = 16;

/// Disjoint intervals in ascending order.
#[derive(Debug, Default)]
pub(crate) struct Intervals(Vec<Range<u64>>);

impl Intervals {
    /// Adds an interval and returns how much of it is new. With more than
    /// [`MAX_INTERVALS`], what is in the shortest gaps is no longer new.
    pub(crate) fn add(&mut self, added: Range<u64>) -> u64 {
        // Each interval that touches the added one becomes a part of it.
        let first = self.0.partition_point(|interval| interval.end < added.start);
        let last = self.0.partition_point(|interval| interval.start <= added.end).max(first);
        let known: u64 = self.0[first..last].iter().map(length).sum();
        let start = self.0[first..last].first().map_or(added.start, |touching| touching.start);
        let end = self.0[first..last].last().map_or(added.end, |touching| touching.end);
        let whole = added.start.min(start)..added.end.max(end);
        let new = length(&whole).saturating_sub(known);
        self.0.splice(first..last, [whole]);
        if self.0.len() > MAX_INTERVALS {
            self.close_shortest_gap();
        }
        new
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    fn close_shortest_gap(&mut self) {
        let gap = |index: &usize| self.0[*index].start - self.0[*index - 1].end;
        if let Some(index) = (1..self.0.len()).min_by_key(gap) {
            let after = self.0.remove(index);
            self.0[index - 1].end = after.end;
        }
    }
}

/// Returns the length of an interval; zero if it ends before it begins.
pub(crate) fn length(range: &Range<u64>) -> u64 {
    range.end.saturating_sub(range.start)
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

    #[test]
    fn many_intervals_take_little_memory_and_only_gaps_are_lost() {
        let mut intervals = Intervals::default();
        // From the latest to the earliest, as stalls are compared with a wait.
        for n in (0..4096).rev() {
            assert_eq!(intervals.add(n * 100..n * 100 + 99), 99);
        }
        assert_eq!(intervals.0.len(), MAX_INTERVALS);
        assert_eq!(intervals.add(0..409_600), MAX_INTERVALS as u64, "what was not in a closed gap");
    }

    proptest::proptest! {
        #[test]
        fn the_sum_is_the_size_of_the_union(
            ranges in proptest::collection::vec((0_u64..200, 0_u64..50), 0..MAX_INTERVALS),
        ) {
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
