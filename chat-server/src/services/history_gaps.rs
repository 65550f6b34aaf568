//! The messages that the history has lost, counted for each channel.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::irc::names::NameKey;

/// How many messages each channel has lost.
pub(super) type Gaps = HashMap<NameKey, u64>;

/// Maximum channels whose losses are counted. Losses of further channels only
/// appear in the metric.
const MAX_CHANNELS: usize = 10_000;

/// The losses that are not on disk yet. Sessions and the writer add to them
/// when a message finds no space. Nothing takes the lock otherwise, except one
/// commit per second.
#[derive(Debug, Default)]
pub(super) struct LostLines(Mutex<Gaps>);

impl LostLines {
    /// Counts one lost message of `channel`.
    pub(super) fn add(&self, channel: NameKey) {
        self.with(|gaps| {
            if gaps.len() < MAX_CHANNELS || gaps.contains_key(&channel) {
                *gaps.entry(channel).or_default() += 1;
            }
        });
    }

    /// Returns all losses.
    pub(super) fn gaps(&self) -> Gaps {
        self.with(|gaps| gaps.clone())
    }

    /// Removes losses that are on disk now. Further ones may have come since.
    pub(super) fn remove(&self, stored: &Gaps) {
        self.with(|gaps| {
            gaps.retain(|channel, count| {
                *count = count.saturating_sub(stored.get(channel).copied().unwrap_or(0));
                *count > 0
            });
        });
    }

    /// Returns how many messages `channel` has lost.
    pub(super) fn count_of(&self, channel: &NameKey) -> u64 {
        self.with(|gaps| gaps.get(channel).copied().unwrap_or(0))
    }

    fn with<R>(&self, run: impl FnOnce(&mut Gaps) -> R) -> R {
        run(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_that_come_during_a_commit_stay() {
        let lost = LostLines::default();
        let (a, b) = (NameKey::new(b"#a"), NameKey::new(b"#b"));
        [&a, &a, &b].into_iter().cloned().for_each(|channel| lost.add(channel));
        let stored = lost.gaps();
        lost.add(a.clone());
        lost.remove(&stored);
        assert_eq!((lost.count_of(&a), lost.count_of(&b), lost.gaps().len()), (1, 0, 1));
    }
}
