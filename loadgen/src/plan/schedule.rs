//! The schedule of the open model: which command is due when, from which
//! sender.

use clap::ValueEnum;

use super::mix::{Action, Mix};
use super::rng::Rng;
use super::stages::{Stages, nanoseconds};

/// How the due times are distributed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Arrivals {
    /// At even intervals.
    #[default]
    Constant,
    /// As a Poisson process, the way independent users send.
    Poisson,
}

impl Arrivals {
    /// Returns its name in flags and reports.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Constant => "constant",
            Self::Poisson => "poisson",
        }
    }
}

/// One planned command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Due {
    /// When it is due, in nanoseconds since the measurement began.
    pub(crate) at_ns: u64,
    /// The sender, as an index into the members.
    pub(crate) sender: usize,
    /// The command.
    pub(crate) action: Action,
    /// The number of a measured message among those of its sender, from 0.
    pub(crate) sequence: u64,
}

/// The commands of a whole run, as an iterator. Their absolute times follow the
/// rates of the stages; a seeded generator chooses sender and command.
///
/// The schedule does not depend on the server; that makes the model open. A
/// second walk over a clone gives the same commands, so no message has to be
/// stored.
#[derive(Debug, Clone)]
pub(crate) struct Schedule {
    rng: Rng,
    gaps: Rng,
    mix: Mix,
    arrivals: Arrivals,
    times: Times,
    /// The position of the last command: see [`Times`].
    position: f64,
    issued: u64,
    sequences: Vec<u64>,
}

impl Schedule {
    /// Returns the schedule of `stages` for this many senders.
    pub(crate) fn new(seed: u64, stages: Stages, arrivals: Arrivals, senders: usize, mix: Mix) -> Self {
        Self {
            rng: Rng::new(seed),
            // A separate sequence, so that a seed chooses the same senders and
            // commands for every distribution of the due times.
            gaps: Rng::new(!seed),
            mix,
            arrivals,
            times: Times::new(stages),
            position: 0.0,
            issued: 0,
            sequences: vec![0; senders],
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "counts of a run are far below 2^53")]
    fn advance(&mut self) -> f64 {
        match self.arrivals {
            Arrivals::Constant => self.position = self.issued as f64,
            Arrivals::Poisson => self.position += self.gaps.gap(),
        }
        self.issued += 1;
        self.position
    }
}

impl Iterator for Schedule {
    type Item = Due;

    fn next(&mut self) -> Option<Due> {
        if self.sequences.is_empty() {
            return None;
        }
        let position = self.advance();
        let at_ns = self.times.at_ns(position)?;
        let action = self.mix.pick(&mut self.rng);
        let sender = usize::try_from(self.rng.below(self.sequences.len() as u64)).unwrap_or(0);
        let mut sequence = 0;
        if action.is_measured() {
            sequence = self.sequences[sender];
            self.sequences[sender] += 1;
        }
        Some(Due { at_ns, sender, action, sequence })
    }
}

/// Converts positions to times. The position of a command is the area under the
/// rate curve up to its due time. The positions must ascend.
#[derive(Debug, Clone)]
struct Times {
    stages: Stages,
    stage: usize,
    begin_ns: u64,
    begin_position: f64,
}

impl Times {
    const fn new(stages: Stages) -> Self {
        Self { stages, stage: 0, begin_ns: 0, begin_position: 0.0 }
    }

    /// Returns the time of `position`; `None` after the end of the last stage.
    fn at_ns(&mut self, position: f64) -> Option<u64> {
        loop {
            let stage = self.stages.all().get(self.stage)?;
            let offset = position - self.begin_position;
            let length_ns = nanoseconds(stage.duration);
            if offset < stage.commands() {
                // Rounding must not move the command into the next stage.
                return Some(self.begin_ns + stage.at_ns(offset).min(length_ns - 1));
            }
            self.begin_position += stage.commands();
            self.begin_ns += length_ns;
            self.stage += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(seed: u64) -> Schedule {
        planned(seed, "100:2s", Arrivals::Constant)
    }

    fn planned(seed: u64, stages: &str, arrivals: Arrivals) -> Schedule {
        let (stages, mix) = (stages.parse().expect("stages"), "privmsg:8,who:2".parse().expect("a mix"));
        Schedule::new(seed, stages, arrivals, 7, mix)
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
        let stages = "10:1s".parse().expect("stages");
        let mix = "privmsg".parse().expect("a mix");
        let mut empty = Schedule::new(1, stages, Arrivals::Constant, 0, mix);
        assert_eq!(empty.next(), None);
    }

    #[test]
    fn stages_follow_each_other_and_a_rate_of_zero_has_no_commands() {
        let times: Vec<_> =
            planned(1, "0-100:10s,0:5s,50:2s", Arrivals::Constant).map(|due| due.at_ns).collect();
        assert_eq!(times.len(), 600);
        assert!(times.is_sorted());
        assert_eq!((times[125], times[500], times[550]), (5_000_000_000, 15_000_000_000, 16_000_000_000));
        assert!(times[499] < 10_000_000_000);
    }

    #[test]
    fn poisson_arrivals_have_the_mean_and_variance_of_the_rate() {
        let times: Vec<_> = planned(1, "1000:100s", Arrivals::Poisson).map(|due| due.at_ns).collect();
        assert!(times.is_sorted());
        let mut per_100ms = vec![0_u32; 1000];
        for at in &times {
            per_100ms[usize::try_from(at / 100_000_000).expect("small")] += 1;
        }
        let mean = f64::from(per_100ms.iter().sum::<u32>()) / 1000.0;
        let variance = per_100ms.iter().map(|&count| (f64::from(count) - mean).powi(2)).sum::<f64>() / 1000.0;
        // Mean and variance of a Poisson distribution are the same.
        assert!((mean - 100.0).abs() < 2.0 && (variance / mean - 1.0).abs() < 0.2, "{mean} {variance}");
    }

    #[test]
    fn a_seed_chooses_the_same_senders_for_every_distribution_of_times() {
        let senders =
            |arrivals| planned(5, "50:1s", arrivals).map(|due| due.sender).take(30).collect::<Vec<_>>();
        assert_eq!(senders(Arrivals::Constant), senders(Arrivals::Poisson));
    }
}
