//! Counts distinct tasks in bounded memory: a bottom-k sketch.

use std::collections::BTreeSet;

use crate::finding::Victims;

/// Number of hashes kept: 4 to 8 KB for a finding with many victims.
const MAX_HASHES: usize = Victims::MAX_EXACT_TASKS as usize;

/// A set of the smallest hashes of the task numbers added. The hash is a
/// bijection, so the count is exact until the set is full. From then on, the
/// largest kept hash shows how dense the hashes are, which gives an estimate
/// with a standard error of 1/sqrt(k - 2): 4.4 % for 512 hashes.
#[derive(Debug, Default)]
pub(crate) struct DistinctTasks(BTreeSet<u64>);

impl DistinctTasks {
    /// Adds a task by its number, which may have been added before.
    pub(crate) fn add(&mut self, task: u64) {
        self.0.insert(mix(task));
        // One hash beyond the maximum shows that the count is no longer exact.
        if self.0.len() > MAX_HASHES + 1 {
            self.0.pop_last();
        }
    }

    /// Returns the number of distinct tasks, beyond [`MAX_HASHES`] an estimate.
    pub(crate) fn count(&self) -> u64 {
        match self.0.last() {
            Some(largest) if self.0.len() > MAX_HASHES => {
                let share = *largest as f64 / u64::MAX as f64;
                (MAX_HASHES as f64 / share).round().max(self.0.len() as f64) as u64
            }
            _ => self.0.len() as u64,
        }
    }
}

/// The finaliser of SplitMix64: a bijection that spreads consecutive numbers.
fn mix(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count_of(tasks: impl Iterator<Item = u64>) -> u64 {
        let mut distinct = DistinctTasks::default();
        tasks.for_each(|task| distinct.add(task));
        distinct.count()
    }

    #[test]
    fn few_tasks_are_counted_exactly_whether_or_not_they_repeat() {
        assert_eq!(count_of(std::iter::empty()), 0);
        assert_eq!(count_of((0..20).cycle().take(68)), 20);
        assert_eq!(count_of(0..512), 512);
        assert_eq!(count_of((0..512).chain(0..512)), 512);
    }

    #[test]
    fn many_tasks_are_estimated_in_bounded_memory() {
        let mut distinct = DistinctTasks::default();
        for task in (0..100_000).chain(0..100_000) {
            distinct.add(task);
        }
        assert!(distinct.0.len() <= MAX_HASHES + 1);
        let count = distinct.count();
        assert!((80_000..120_000).contains(&count), "{count}");
        assert!(count_of(0..513) > 512, "an estimate is never taken for an exact count");
    }
}
