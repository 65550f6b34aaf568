//! What one receiver got from everybody in its room.

use super::sequence::{Arrival, Sequence};

/// One window per member of the room: memory grows with the room, never with
/// the run.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    room_size: usize,
    senders: Vec<Sequence>,
}

impl Inbox {
    /// For a room of `room_size` members; takes no memory until something comes.
    pub(crate) const fn new(room_size: usize) -> Self {
        Self { room_size, senders: Vec::new() }
    }

    /// Message `number` of the member at `place` in the room has arrived.
    /// `None` if the room has no such place.
    pub(crate) fn arrive(&mut self, place: usize, number: u64) -> Option<Arrival> {
        if self.senders.is_empty() {
            self.senders = vec![Sequence::default(); self.room_size];
        }
        Some(self.senders.get_mut(place)?.arrive(number))
    }

    /// Whether message `number` of the member at `place` never came, and was
    /// not counted as lost before.
    pub(crate) fn is_missing(&self, place: usize, number: u64) -> bool {
        self.senders.get(place).is_none_or(|sequence| sequence.is_missing(number))
    }
}
