//! The search for the highest rate at which the objectives hold, as a state
//! machine without I/O: it returns a rate, takes the result of the trial at
//! that rate, and returns the next rate.
//!
//! From the first rate on, the rate doubles while trials hold and halves while
//! they miss, until one rate has held and a higher one has missed. Between the
//! two, the geometric mean is tried until they are as close as the resolution
//! requires. Then the lower rate is tried again. It is the answer only if every
//! repetition holds; a single miss makes it the new upper rate. So noise can
//! lower the answer, but cannot raise it.

/// The result of one trial.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TrialResult {
    /// Every objective held.
    Held,
    /// An objective was missed, or the trial was invalid.
    NotHeld,
}

/// The bounds of a search.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// The first rate, in commands per second.
    pub(crate) first: f64,
    /// The lowest rate to try.
    pub(crate) lowest: f64,
    /// The highest rate to try.
    pub(crate) highest: f64,
    /// The largest allowed relative difference between the answer and the
    /// lowest rate that missed.
    pub(crate) resolution: f64,
    /// Trials in which the answer must hold.
    pub(crate) trials: u32,
    /// Maximum number of trials of the whole search.
    pub(crate) max_trials: u32,
}

/// A rate with the results of its trials.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RateTrials {
    /// Commands per second.
    pub(crate) rate: f64,
    /// Number of trials that held.
    pub(crate) held: u32,
    /// Number of trials.
    pub(crate) trials: u32,
}

/// A search in progress.
#[derive(Debug)]
pub(crate) struct Bracket {
    limits: Limits,
    tried: Vec<RateTrials>,
    trials: u32,
}

impl Bracket {
    /// Returns a search without trials.
    pub(crate) const fn new(limits: Limits) -> Self {
        Self { limits, tried: Vec::new(), trials: 0 }
    }

    /// Returns the rate to try next; `None` at the end of the search.
    pub(crate) fn next(&self) -> Option<f64> {
        if self.trials >= self.limits.max_trials {
            return None;
        }
        let Limits { first, lowest, highest, resolution, trials, .. } = self.limits;
        let (below, above) = (self.highest_held(), self.lowest_missed());
        match (below, above) {
            (None, None) => Some(first.clamp(lowest, highest)),
            (None, Some(above)) => (above.rate > lowest).then(|| (above.rate / 2.0).max(lowest)),
            (Some(below), None) if below.rate < highest => Some((below.rate * 2.0).min(highest)),
            (Some(below), Some(above)) if above.rate > below.rate * (1.0 + resolution) => {
                Some((below.rate * above.rate).sqrt())
            }
            (Some(below), _) => (below.trials < trials).then_some(below.rate),
        }
    }

    /// Records the result of a trial at `rate`.
    pub(crate) fn record(&mut self, rate: f64, result: TrialResult) {
        self.trials += 1;
        let held = u32::from(result == TrialResult::Held);
        match self.tried.iter_mut().find(|tried| tried.rate.to_bits() == rate.to_bits()) {
            Some(tried) => {
                tried.held += held;
                tried.trials += 1;
            }
            None => self.tried.push(RateTrials { rate, held, trials: 1 }),
        }
    }

    /// Returns the highest rate whose trials all held, below every rate that
    /// missed.
    pub(crate) fn highest_held(&self) -> Option<RateTrials> {
        let above = self.lowest_missed().map_or(f64::INFINITY, |above| above.rate);
        let held = self.tried.iter().filter(|tried| tried.held == tried.trials && tried.rate < above);
        held.copied().max_by(|a, b| a.rate.total_cmp(&b.rate))
    }

    /// Returns the lowest rate at which a trial missed.
    pub(crate) fn lowest_missed(&self) -> Option<RateTrials> {
        let missed = self.tried.iter().filter(|tried| tried.held < tried.trials);
        missed.copied().min_by(|a, b| a.rate.total_cmp(&b.rate))
    }

    /// Returns whether the answer has held in the required number of trials,
    /// and the lowest rate that missed is as close as the resolution requires.
    /// If no rate missed, the answer must be the highest allowed rate.
    pub(crate) fn is_settled(&self) -> bool {
        let Limits { highest, resolution, trials, .. } = self.limits;
        self.highest_held().is_some_and(|below| {
            let near = match self.lowest_missed() {
                Some(above) => above.rate <= below.rate * (1.0 + resolution),
                None => below.rate >= highest,
            };
            near && below.trials >= trials
        })
    }
}

/// Returns a lower bound of the probability that a trial holds. The bound has
/// 95 % confidence, if `trials` trials were run and all held.
pub(crate) fn lower_bound(trials: u32) -> f64 {
    if trials == 0 { 0.0 } else { 0.05_f64.powf(1.0 / f64::from(trials)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Rng;

    const LIMITS: Limits =
        Limits { first: 100.0, lowest: 1.0, highest: 1e6, resolution: 0.05, trials: 3, max_trials: 60 };

    fn search(limits: Limits, mut holds: impl FnMut(f64) -> bool) -> Bracket {
        let mut bracket = Bracket::new(limits);
        while let Some(rate) = bracket.next() {
            assert!((limits.lowest..=limits.highest).contains(&rate), "{rate}");
            bracket.record(rate, if holds(rate) { TrialResult::Held } else { TrialResult::NotHeld });
        }
        bracket
    }

    #[test]
    fn a_sharp_limit_is_found_to_within_the_resolution_from_either_side() {
        for limit in [3.0, 99.0, 100.0, 101.0, 12_345.0, 900_000.0] {
            let bracket = search(LIMITS, |rate| rate <= limit);
            let below = bracket.highest_held().expect("a rate that holds");
            assert!(bracket.is_settled());
            assert!(below.rate <= limit && below.rate * 1.05 >= limit, "{} for {limit}", below.rate);
            assert_eq!((below.held, below.trials), (3, 3));
            assert!(bracket.trials < 40, "{} trials", bracket.trials);
        }
    }

    #[test]
    fn the_answer_is_the_highest_rate_if_every_rate_holds_and_absent_if_no_rate_holds() {
        let bracket = search(LIMITS, |_| true);
        assert!(bracket.is_settled() && bracket.lowest_missed().is_none());
        assert!((bracket.highest_held().expect("it held").rate - 1e6).abs() < 1e-6);
        let bracket = search(LIMITS, |_| false);
        assert!(!bracket.is_settled() && bracket.highest_held().is_none());
    }

    #[test]
    fn noise_may_lower_the_answer_but_never_raises_it() {
        let mut rng = Rng::new(5);
        for _ in 0..100 {
            // Up to 1000 it always holds, from 2000 on never, in between at
            // random.
            let bracket = search(LIMITS, |rate| match rate {
                rate if rate <= 1000.0 => true,
                rate if rate >= 2000.0 => false,
                _ => rng.below(2) == 0,
            });
            let below = bracket.highest_held().expect("low rates hold");
            assert!(below.rate < 2000.0 && below.held == below.trials);
            assert!(bracket.is_settled() || bracket.trials == LIMITS.max_trials);
        }
    }

    #[test]
    fn the_number_of_trials_is_bounded() {
        let bracket = search(Limits { max_trials: 4, ..LIMITS }, |rate| rate < 1e5);
        assert_eq!((bracket.trials, bracket.is_settled()), (4, false));
    }

    #[test]
    fn the_confidence_is_that_of_clopper_and_pearson() {
        assert!((lower_bound(3) - 0.3684).abs() < 1e-4);
        assert!((lower_bound(59) - 0.9505).abs() < 1e-4);
    }
}
