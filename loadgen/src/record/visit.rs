//! What somebody got who came into a room and left again.

use std::collections::HashMap;

use super::sequence::{Arrival, Sequence};

/// A visitor cannot know which message was the first that it should get, nor
/// which the last: that depends on when the server let it in and out. Between
/// the first and the last that it got of a sender, none may be missing.
#[derive(Debug, Default)]
pub(crate) struct Visit {
    /// By sender: the first message that came, and what followed.
    senders: HashMap<usize, (u64, Sequence)>,
}

impl Visit {
    /// Message `number` of `sender` has come. `None` if it lies before the first
    /// one, so that nothing can be said of it.
    pub(crate) fn arrive(&mut self, sender: usize, number: u64) -> Option<Arrival> {
        let (first, sequence) =
            self.senders.entry(sender).or_insert_with(|| (number, Sequence::starting_at(number)));
        (number >= *first).then(|| sequence.arrive(number))
    }

    /// How many are missing between the first and the last, besides those that
    /// were given up.
    pub(crate) fn missing(&self) -> u64 {
        self.senders.values().map(|(_, sequence)| sequence.gaps()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_in_between_is_lost_and_what_lies_around_is_not() {
        let mut visit = Visit::default();
        for number in [7, 8, 10, 11, 14] {
            assert!(visit.arrive(1, number).is_some());
        }
        assert!(visit.arrive(2, 1000).is_some());
        assert_eq!(visit.missing(), 3, "9, 12 and 13");
        assert_eq!(visit.arrive(1, 9), Some(Arrival::First { late: true, given_up: 0 }));
        assert_eq!(visit.arrive(1, 8), Some(Arrival::Again));
        assert_eq!(visit.arrive(1, 6), None, "it may have been sent before the visit");
        assert_eq!(visit.missing(), 2);
    }
}
