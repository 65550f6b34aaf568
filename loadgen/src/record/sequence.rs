//! Which messages of which senders have reached one receiver.

use std::collections::HashMap;

/// How far a message may be behind the newest one before it is given up.
const WINDOW_MESSAGES: u64 = 128;

/// What an arrival says about the messages of its sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// The message arrived for the first time. It is `late` if a newer message
    /// arrived before it. `given_up` older messages are now too far behind and
    /// are given up.
    First { late: bool, given_up: u64 },
    /// The message arrived before, or it was given up before.
    Again,
}

/// A window over the messages of one sender. Every message below `base` has
/// arrived or is given up.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Sequence {
    base: u64,
    /// Bit `n` is set if message `base + n` has arrived.
    seen_bits: u128,
    /// The number after the newest message that has arrived.
    next: u64,
}

impl Sequence {
    /// Returns a window that starts with message `number`.
    pub(crate) const fn starting_at(number: u64) -> Self {
        Self { base: number, seen_bits: 0, next: number }
    }

    /// Returns how many messages before the newest one are missing, without
    /// those that were given up.
    pub(crate) const fn gaps(&self) -> u64 {
        (self.next - self.base) - self.seen_bits.count_ones() as u64
    }

    /// Records the arrival of message `number`.
    pub(crate) fn arrive(&mut self, number: u64) -> Arrival {
        let Some(offset) = number.checked_sub(self.base) else { return Arrival::Again };
        let given_up = self.slide(offset.saturating_sub(WINDOW_MESSAGES - 1));
        let bit = 1_u128 << (number - self.base);
        if self.seen_bits & bit != 0 {
            return Arrival::Again;
        }
        self.seen_bits |= bit;
        let late = number < self.next;
        self.next = self.next.max(number + 1);
        let arrived_in_a_row = self.seen_bits.trailing_ones();
        self.seen_bits = self.seen_bits.checked_shr(arrived_in_a_row).unwrap_or(0);
        self.base += u64::from(arrived_in_a_row);
        Arrival::First { late, given_up }
    }

    /// Returns whether message `number` is missing and was not given up.
    pub(crate) const fn is_missing(&self, number: u64) -> bool {
        match number.checked_sub(self.base) {
            None => false,
            Some(offset) => offset >= WINDOW_MESSAGES || self.seen_bits & (1 << offset) == 0,
        }
    }

    /// Moves the window forward by `by` messages. Returns how many missing
    /// messages are no longer in it.
    fn slide(&mut self, by: u64) -> u64 {
        let Some(shift) = u32::try_from(by).ok().filter(|&shift| u64::from(shift) < WINDOW_MESSAGES) else {
            let missing = by - u64::from(self.seen_bits.count_ones());
            self.seen_bits = 0;
            self.base += by;
            return missing;
        };
        let leaving_bits = self.seen_bits & ((1 << shift) - 1);
        self.seen_bits >>= shift;
        self.base += by;
        by - u64::from(leaving_bits.count_ones())
    }
}

/// The messages that one receiver got from each member of its channel. The
/// memory depends on the size of the channel, but not on the duration of the
/// run.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    channel_size: usize,
    senders: Vec<Sequence>,
}

impl Inbox {
    /// Returns an empty inbox for a channel of `channel_size` members. It takes
    /// no memory before the first arrival.
    pub(crate) const fn new(channel_size: usize) -> Self {
        Self { channel_size, senders: Vec::new() }
    }

    /// Records the arrival of message `number` of member `index` in the
    /// channel. Returns `None` if the channel has no such member.
    pub(crate) fn arrive(&mut self, index: usize, number: u64) -> Option<Arrival> {
        if self.senders.is_empty() {
            self.senders = vec![Sequence::default(); self.channel_size];
        }
        Some(self.senders.get_mut(index)?.arrive(number))
    }

    /// Returns whether message `number` of member `index` never arrived
    /// and was not yet counted as lost.
    pub(crate) fn is_missing(&self, index: usize, number: u64) -> bool {
        self.senders.get(index).is_none_or(|sequence| sequence.is_missing(number))
    }
}

/// The messages that a visitor got. Which message is the first or the last one
/// for a visitor depends on when the server processes its JOIN and QUIT, so it
/// is unknown. Between the first and the last message that the visitor got from
/// a sender, none may be missing.
#[derive(Debug, Default)]
pub(crate) struct Visit {
    /// By sender: the number of the first message, and the window from there.
    senders: HashMap<usize, (u64, Sequence)>,
}

impl Visit {
    /// Records the arrival of message `number` of `sender`. Returns `None` if
    /// it is older than the first one, because nothing is known about such
    /// messages.
    pub(crate) fn arrive(&mut self, sender: usize, number: u64) -> Option<Arrival> {
        let (first, sequence) =
            self.senders.entry(sender).or_insert_with(|| (number, Sequence::starting_at(number)));
        (number >= *first).then(|| sequence.arrive(number))
    }

    /// Returns how many messages between the first and the last one are
    /// missing, without those that were given up.
    pub(crate) fn missing(&self) -> u64 {
        self.senders.values().map(|(_, sequence)| sequence.gaps()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ON_TIME: Arrival = Arrival::First { late: false, given_up: 0 };

    #[test]
    fn messages_in_order_are_not_missing() {
        let mut sequence = Sequence::default();
        for number in 0..1000 {
            assert!(sequence.is_missing(number));
            assert_eq!(sequence.arrive(number), ON_TIME);
            assert!(!sequence.is_missing(number));
        }
    }

    #[test]
    fn a_swapped_message_is_late_and_a_duplicate_arrives_again() {
        let mut sequence = Sequence::default();
        assert_eq!(sequence.arrive(1), ON_TIME);
        assert_eq!(sequence.arrive(1), Arrival::Again);
        assert_eq!(sequence.arrive(0), Arrival::First { late: true, given_up: 0 });
        assert_eq!(sequence.arrive(0), Arrival::Again);
        assert_eq!(sequence.arrive(2), ON_TIME);
    }

    #[test]
    fn a_message_stays_missing_until_it_is_given_up() {
        let mut sequence = Sequence::default();
        for number in 1..WINDOW_MESSAGES {
            assert_eq!(sequence.arrive(number), ON_TIME);
        }
        assert!(sequence.is_missing(0));
        assert_eq!(sequence.arrive(WINDOW_MESSAGES), Arrival::First { late: false, given_up: 1 });
        assert!(!sequence.is_missing(0), "a message that was given up is no longer missing");
        assert_eq!(sequence.arrive(0), Arrival::Again);
    }

    #[test]
    fn a_jump_gives_up_exactly_the_missing_messages() {
        let mut sequence = Sequence::default();
        assert_eq!(sequence.arrive(0), ON_TIME);
        assert_eq!(sequence.arrive(5), ON_TIME);
        // 1 to 4 and 6 to 872 fall out of the window that ends at 1000.
        assert_eq!(sequence.arrive(1000), Arrival::First { late: false, given_up: 871 });
        let missing = (0..=1000).filter(|&number| sequence.is_missing(number)).count();
        assert_eq!(missing, 127);
    }

    #[test]
    fn only_messages_between_the_first_and_the_last_can_be_missing() {
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
