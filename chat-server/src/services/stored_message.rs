//! A channel message in the history.

use std::time::SystemTime;

/// A stored channel message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StoredMessage {
    /// The id, unique in the store.
    pub(crate) id: u64,
    pub(crate) time: SystemTime,
    /// `nick!user@host`, or only the nick in a line of an older version.
    pub(crate) sender: Box<[u8]>,
    pub(crate) text: Box<[u8]>,
    /// The client-only tags of the sender.
    pub(crate) tags: Box<[u8]>,
    /// Set if the channel was private when the line was said: the id of that
    /// channel. Members of a later channel of the same name cannot read it.
    pub(crate) private_to: Option<u64>,
}

impl StoredMessage {
    /// Returns the line that stands in the place of `count` lost messages. It
    /// has no sender.
    pub(crate) fn gap(id: u64, time: SystemTime, count: u64) -> Self {
        let text = format!("lost lines: {count}").into_bytes().into();
        Self { id, time, sender: Box::default(), text, tags: Box::default(), private_to: None }
    }

    /// Returns the sender's nick.
    pub(crate) fn nick(&self) -> &[u8] {
        self.sender.split(|&byte| byte == b'!').next().unwrap_or_default()
    }

    /// Returns whether the line stands for lost messages.
    pub(crate) fn is_gap(&self) -> bool {
        self.sender.is_empty()
    }
}
