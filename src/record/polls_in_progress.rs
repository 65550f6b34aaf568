//! Which polls are in progress at one moment: plain data.

use std::collections::HashSet;

use crate::record::clock::ClockReading;

/// The polls that the workers' slots show as in progress.
#[derive(Debug, Clone)]
pub(crate) struct PollsInProgress {
    /// When the slots were read.
    pub(crate) at: ClockReading,
    /// The number of the worker and the sequence number of its poll.
    pub(crate) keys: HashSet<(usize, u64)>,
}

impl PollsInProgress {
    /// Returns the age of a poll that began at `start_nanos` by the recorder's
    /// clock. Returns `None` if the poll is over.
    pub(crate) fn age_nanos(&self, key: (usize, u64), start_nanos: u64) -> Option<u64> {
        self.keys.contains(&key).then(|| self.at.nanos.saturating_sub(start_nanos))
    }
}
