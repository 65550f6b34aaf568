//! When what is due, from whom: the open model's plan.

use super::mix::{Action, Mix};
use super::rng::Rng;

/// One planned command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Due {
    /// When, in nanoseconds since the measuring began.
    pub(crate) at_ns: u64,
    /// Who, as an index into the members that take part.
    pub(crate) sender: usize,
    /// What.
    pub(crate) action: Action,
    /// For a measured message, its number among the sender's, from 0.
    pub(crate) sequence: u64,
}

/// The plan of a whole run, as an iterator: absolute times at a constant rate,
/// sender and command chosen by a seeded generator.
///
/// It knows nothing of what the server does; that is what makes the model
/// open. Cloning it and walking it again gives the same plan, so that nobody
/// has to remember it message by message.
#[derive(Debug, Clone)]
pub(crate) struct Schedule {
    rng: Rng,
    mix: Mix,
    rate: f64,
    duration_ns: u64,
    issued: u64,
    sequences: Vec<u64>,
}

impl Schedule {
    /// `rate` commands a second for `duration_ns`, from `senders` members.
    pub(crate) fn new(seed: u64, rate: f64, duration_ns: u64, senders: usize, mix: Mix) -> Self {
        Self { rng: Rng::new(seed), mix, rate, duration_ns, issued: 0, sequences: vec![0; senders] }
    }

    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "counts and nanoseconds of a run are far below 2^53"
    )]
    fn next_time(&self) -> u64 {
        (self.issued as f64 * 1e9 / self.rate) as u64
    }
}

impl Iterator for Schedule {
    type Item = Due;

    fn next(&mut self) -> Option<Due> {
        let at_ns = self.next_time();
        if at_ns >= self.duration_ns || self.sequences.is_empty() {
            return None;
        }
        self.issued += 1;
        let action = self.mix.pick(&mut self.rng);
        let sender = usize::try_from(self.rng.below(self.sequences.len() as u64)).unwrap_or(0);
        let mut sequence = 0;
        if action == Action::Privmsg {
            sequence = self.sequences[sender];
            self.sequences[sender] += 1;
        }
        Some(Due { at_ns, sender, action, sequence })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(seed: u64) -> Schedule {
        Schedule::new(seed, 100.0, 2_000_000_000, 7, "privmsg:8,who:2".parse().expect("a mix"))
    }

    #[test]
    fn a_seed_gives_one_plan() {
        let plan: Vec<_> = schedule(1).collect();
        assert_eq!(plan, schedule(1).collect::<Vec<_>>());
        assert_ne!(plan, schedule(2).collect::<Vec<_>>());
    }

    #[test]
    fn times_are_absolute_and_evenly_spaced() {
        let times: Vec<_> = schedule(1).map(|due| due.at_ns).collect();
        assert_eq!(times.len(), 200);
        assert_eq!(times[0], 0);
        assert_eq!(times[150], 1_500_000_000);
        assert!(times.windows(2).all(|pair| pair[1] - pair[0] == 10_000_000));
    }

    #[test]
    fn sequences_count_each_senders_messages_without_a_gap() {
        let mut next = [0; 7];
        for due in schedule(3).filter(|due| due.action == Action::Privmsg) {
            assert_eq!(due.sequence, next[due.sender]);
            next[due.sender] += 1;
        }
        assert!(next.iter().all(|&count| count > 0));
    }

    #[test]
    fn without_senders_nothing_is_due() {
        let mut empty = Schedule::new(1, 10.0, 1_000_000_000, 0, "privmsg".parse().expect("a mix"));
        assert_eq!(empty.next(), None);
    }
}
