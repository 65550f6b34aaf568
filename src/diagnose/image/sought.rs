//! The addresses of a look-up that are still sought.

use std::ops::Range;

/// Addresses and their places in the look-up, sorted.
#[derive(Debug)]
pub(super) struct Sought(Vec<(u64, usize)>);

impl Sought {
    pub(super) fn new(addresses: impl IntoIterator<Item = (u64, usize)>) -> Self {
        let mut sorted: Vec<_> = addresses.into_iter().collect();
        sorted.sort_unstable();
        Self(sorted)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Removes the addresses in a range, and returns their places. Takes time
    /// for those only.
    pub(super) fn take(&mut self, range: Range<u64>) -> impl Iterator<Item = usize> {
        let begin = self.0.partition_point(|(address, _)| *address < range.start);
        let end = self.0.partition_point(|(address, _)| *address < range.end).max(begin);
        self.0.drain(begin..end).map(|(_, place)| place)
    }
}
