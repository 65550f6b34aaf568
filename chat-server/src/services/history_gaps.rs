//! The messages that the history has lost, counted for each channel.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use crate::irc::names::NameKey;
use crate::services::history_query::HistoryChannel;
use crate::services::stored_message::StoredMessage;

/// What each channel has lost. Private messages are counted apart, by the
/// channel that may know of them; see [`StoredMessage::private_to`].
pub(super) type Gaps = HashMap<(NameKey, Option<u64>), Gap>;

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

/// The losses that are not on disk yet. The hub and the writer add to them
/// when a message finds no space. Nothing takes the lock otherwise, except one
/// commit per second.
#[derive(Debug, Default)]
pub(super) struct LostLines(Mutex<Gaps>);

impl LostLines {
    /// Counts one lost message of `channel`.
    pub(super) fn add(&self, channel: NameKey, message: &StoredMessage) {
        let key = (channel, message.private_to);
        self.with(|gaps| {
            if gaps.len() < MAX_CHANNELS || gaps.contains_key(&key) {
                let gap = gaps.entry(key).or_insert(Gap { count: 0, id: 0, time: message.time });
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
            gaps.retain(|key, gap| {
                gap.count = gap.count.saturating_sub(stored.get(key).map_or(0, |stored| stored.count));
                gap.count > 0
            });
        });
    }

    /// Returns how many messages `channel` has lost that its members could
    /// have read.
    pub(super) fn count_of(&self, channel: &HistoryChannel) -> u64 {
        let keys = [None, Some(channel.id)].map(|private_to| (channel.name.clone(), private_to));
        self.with(|gaps| keys.iter().filter_map(|key| gaps.get(key)).map(|gap| gap.count).sum())
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
        let [a, b] = ["#a", "#b"].map(|name| (NameKey::new(name.as_bytes()), None));
        let message = |id| StoredMessage::gap(id, SystemTime::now(), 0);
        for ((name, _), id) in [(&a, 1), (&a, 3), (&b, 2)] {
            lost.add(name.clone(), &message(id));
        }
        let stored = lost.gaps();
        assert_eq!((stored[&a].id, stored[&b].id), (3, 2));
        lost.add(a.0.clone(), &message(4));
        lost.remove(&stored);
        assert_eq!((count(&lost, "#a", 0), count(&lost, "#b", 0), lost.gaps().len()), (1, 0, 1));
        assert_eq!(lost.gaps()[&a].id, 4);
    }

    #[test]
    fn private_losses_are_counted_only_for_their_channel() {
        let lost = LostLines::default();
        for (id, private_to) in [(2, Some(1)), (3, Some(1)), (4, None), (6, Some(5))] {
            let message = StoredMessage { private_to, ..StoredMessage::gap(id, SystemTime::now(), 0) };
            lost.add(NameKey::new(b"#a"), &message);
        }
        assert_eq!([1, 5, 7].map(|channel_id| count(&lost, "#a", channel_id)), [3, 2, 1]);
        assert_eq!(lost.gaps()[&(NameKey::new(b"#a"), Some(1))].id, 3);
    }

    fn count(lost: &LostLines, name: &str, id: u64) -> u64 {
        lost.count_of(&HistoryChannel { name: NameKey::new(name.as_bytes()), id })
    }
}
