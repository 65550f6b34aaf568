//! Which messages of which senders have reached one receiver.

use std::collections::HashMap;

/// How far behind the newest a message may still come.
const WINDOW_MESSAGES: u64 = 128;

/// What an arrival means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// For the first time; `late` if a newer one came before it. `given_up`
    /// messages before it are now too far behind to be waited for.
    First { late: bool, given_up: u64 },
    /// Again. A message that comes after it was given up counts as this too.
    Again,
}

/// A window over one sender's messages: everything below `base` is settled.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Sequence {
    base: u64,
    seen: u128,
    next: u64,
}

impl Sequence {
    /// One that is asked for `number` and what follows.
    pub(crate) const fn starting_at(number: u64) -> Self {
        Self { base: number, seen: 0, next: number }
    }

    /// How many are missing before the newest, besides those given up.
    pub(crate) const fn gaps(&self) -> u64 {
        (self.next - self.base) - self.seen.count_ones() as u64
    }

    /// Message `number` has arrived.
    pub(crate) fn arrive(&mut self, number: u64) -> Arrival {
        let Some(offset) = number.checked_sub(self.base) else { return Arrival::Again };
        let given_up = self.slide(offset.saturating_sub(WINDOW_MESSAGES - 1));
        let bit = 1_u128 << (number - self.base);
        if self.seen & bit != 0 {
            return Arrival::Again;
        }
        self.seen |= bit;
        let late = number < self.next;
        self.next = self.next.max(number + 1);
        let settled = self.seen.trailing_ones();
        self.seen = self.seen.checked_shr(settled).unwrap_or(0);
        self.base += u64::from(settled);
        Arrival::First { late, given_up }
    }

    /// Whether `number` is still missing, and was not given up before.
    pub(crate) const fn is_missing(&self, number: u64) -> bool {
        match number.checked_sub(self.base) {
            None => false,
            Some(offset) => offset >= WINDOW_MESSAGES || self.seen & (1 << offset) == 0,
        }
    }

    /// Moves the window on; how many missing messages fell out of it.
    fn slide(&mut self, by: u64) -> u64 {
        let Some(shift) = u32::try_from(by).ok().filter(|&shift| u64::from(shift) < WINDOW_MESSAGES) else {
            let missing = by - u64::from(self.seen.count_ones());
            self.seen = 0;
            self.base += by;
            return missing;
        };
        let falling = self.seen & ((1 << shift) - 1);
        self.seen >>= shift;
        self.base += by;
        by - u64::from(falling.count_ones())
    }
}

/// One window per member of the channel: memory grows with the channel, never with
/// the run.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    channel_size: usize,
    senders: Vec<Sequence>,
}

impl Inbox {
    /// For a channel of `channel_size` members; takes no memory until something comes.
    pub(crate) const fn new(channel_size: usize) -> Self {
        Self { channel_size, senders: Vec::new() }
    }

    /// Message `number` of the member at `place` in the channel has arrived.
    /// `None` if the channel has no such place.
    pub(crate) fn arrive(&mut self, place: usize, number: u64) -> Option<Arrival> {
        if self.senders.is_empty() {
            self.senders = vec![Sequence::default(); self.channel_size];
        }
        Some(self.senders.get_mut(place)?.arrive(number))
    }

    /// Whether message `number` of the member at `place` never came, and was
    /// not counted as lost before.
    pub(crate) fn is_missing(&self, place: usize, number: u64) -> bool {
        self.senders.get(place).is_none_or(|sequence| sequence.is_missing(number))
    }
}

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

    const ON_TIME: Arrival = Arrival::First { late: false, given_up: 0 };

    #[test]
    fn in_order_nothing_is_missing() {
        let mut sequence = Sequence::default();
        for number in 0..1000 {
            assert!(sequence.is_missing(number));
            assert_eq!(sequence.arrive(number), ON_TIME);
            assert!(!sequence.is_missing(number));
        }
    }

    #[test]
    fn a_swap_is_late_and_a_repeat_is_again() {
        let mut sequence = Sequence::default();
        assert_eq!(sequence.arrive(1), ON_TIME);
        assert_eq!(sequence.arrive(1), Arrival::Again);
        assert_eq!(sequence.arrive(0), Arrival::First { late: true, given_up: 0 });
        assert_eq!(sequence.arrive(0), Arrival::Again);
        assert_eq!(sequence.arrive(2), ON_TIME);
    }

    #[test]
    fn a_gap_stays_missing_until_it_is_given_up() {
        let mut sequence = Sequence::default();
        for number in 1..WINDOW_MESSAGES {
            assert_eq!(sequence.arrive(number), ON_TIME);
        }
        assert!(sequence.is_missing(0));
        assert_eq!(sequence.arrive(WINDOW_MESSAGES), Arrival::First { late: false, given_up: 1 });
        assert!(!sequence.is_missing(0), "given up is settled");
        assert_eq!(sequence.arrive(0), Arrival::Again);
    }

    #[test]
    fn a_leap_gives_up_exactly_what_was_missing() {
        let mut sequence = Sequence::default();
        assert_eq!(sequence.arrive(0), ON_TIME);
        assert_eq!(sequence.arrive(5), ON_TIME);
        // 1 to 4 and 6 to 872 fall out of the window that ends at 1000.
        assert_eq!(sequence.arrive(1000), Arrival::First { late: false, given_up: 871 });
        let missing = (0..=1000).filter(|&number| sequence.is_missing(number)).count();
        assert_eq!(missing, 127);
    }

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
