//! The messages that the history has lost, counted for each channel.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use crate::irc::names::NameKey;
use crate::services::stored_message::StoredMessage;

/// What each channel has lost.
pub(super) type Gaps = HashMap<NameKey, Gap>;

/// Lost messages of a channel.
#[derive(Debug, Clone, Copy)]
pub(super) struct Gap {
    pub(super) count: u64,
    /// The id and the time of the last of them. A line that stands for all has
    /// its place.
    pub(super) id: u64,
    pub(super) time: SystemTime,
}

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
    pub(super) fn add(&self, channel: NameKey, message: &StoredMessage) {
        self.with(|gaps| {
            if gaps.len() < MAX_CHANNELS || gaps.contains_key(&channel) {
                let gap = gaps.entry(channel).or_insert(Gap { count: 0, id: 0, time: message.time });
                gap.count += 1;
                if message.id > gap.id {
                    (gap.id, gap.time) = (message.id, message.time);
                }
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
            gaps.retain(|channel, gap| {
                gap.count = gap.count.saturating_sub(stored.get(channel).map_or(0, |stored| stored.count));
                gap.count > 0
            });
        });
    }

    /// Returns how many messages `channel` has lost.
    pub(super) fn count_of(&self, channel: &NameKey) -> u64 {
        self.with(|gaps| gaps.get(channel).map_or(0, |gap| gap.count))
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
        let message = |id| StoredMessage::gap(id, SystemTime::now(), 0);
        for (channel, id) in [(&a, 1), (&a, 3), (&b, 2)] {
            lost.add(channel.clone(), &message(id));
        }
        let stored = lost.gaps();
        assert_eq!((stored[&a].id, stored[&b].id), (3, 2));
        lost.add(a.clone(), &message(4));
        lost.remove(&stored);
        assert_eq!((lost.count_of(&a), lost.count_of(&b), lost.gaps().len()), (1, 0, 1));
        assert_eq!(lost.gaps()[&a].id, 4);
    }
}
