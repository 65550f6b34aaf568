//! The search for the highest rate that holds, as a machine without a clock:
//! it names a rate, is told what came of it, and names the next.
//!
//! From the first rate it doubles while trials hold and halves while they miss,
//! until one rate held and one above it missed. Between the two it tries the
//! geometric middle, until they are as near as the resolution asks. The lower
//! one is then tried again: only if every repeat holds as well is it the answer,
//! and a single miss makes it the new upper one. So noise can lower the answer,
//! and cannot raise it.

/// What came of one trial.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TrialResult {
    /// Every objective held.
    Held,
    /// One was missed.
    Missed,
}

/// The bounds of a search.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// The first rate.
    pub(crate) first: f64,
    /// No lower rate is tried.
    pub(crate) lowest: f64,
    /// No higher rate is tried.
    pub(crate) highest: f64,
    /// By which share the two ends may differ in the end.
    pub(crate) resolution: f64,
    /// How often the answer must have held.
    pub(crate) trials: u32,
    /// How many trials there may be in all.
    pub(crate) most_trials: u32,
}

/// A rate with what came of its trials.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RateTrials {
    /// Commands a second.
    pub(crate) rate: f64,
    /// How many trials held.
    pub(crate) held: u32,
    /// How many there were.
    pub(crate) trials: u32,
}

/// A search under way.
#[derive(Debug)]
pub(crate) struct Bracket {
    limits: Limits,
    tried: Vec<RateTrials>,
    trials: u32,
}

impl Bracket {
    /// Nothing tried yet.
    pub(crate) const fn new(limits: Limits) -> Self {
        Self { limits, tried: Vec::new(), trials: 0 }
    }

    /// The rate to try next; `None` once it is over.
    pub(crate) fn next(&self) -> Option<f64> {
        if self.trials >= self.limits.most_trials {
            return None;
        }
        let Limits { first, lowest, highest, resolution, trials, .. } = self.limits;
        let (below, above) = (self.below(), self.above());
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

    /// Takes in what came of a trial at `rate`.
    pub(crate) fn tell(&mut self, rate: f64, result: TrialResult) {
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

    /// The highest rate all of whose trials held, below every one that missed.
    pub(crate) fn below(&self) -> Option<RateTrials> {
        let above = self.above().map_or(f64::INFINITY, |above| above.rate);
        let held = self.tried.iter().filter(|tried| tried.held == tried.trials && tried.rate < above);
        held.copied().max_by(|a, b| a.rate.total_cmp(&b.rate))
    }

    /// The lowest rate of which a trial missed.
    pub(crate) fn above(&self) -> Option<RateTrials> {
        let missed = self.tried.iter().filter(|tried| tried.held < tried.trials);
        missed.copied().min_by(|a, b| a.rate.total_cmp(&b.rate))
    }

    /// Whether the answer has been tried as often as was asked for, and the rate
    /// above it is as near.
    pub(crate) fn is_settled(&self) -> bool {
        let Limits { highest, resolution, trials, .. } = self.limits;
        self.below().is_some_and(|below| {
            let near = match self.above() {
                Some(above) => above.rate <= below.rate * (1.0 + resolution),
                None => below.rate >= highest,
            };
            near && below.trials >= trials
        })
    }
}

/// How often a trial holds at least, with 95 % confidence, after `trials` of
/// which all held.
pub(crate) fn lower_bound(trials: u32) -> f64 {
    if trials == 0 { 0.0 } else { 0.05_f64.powf(1.0 / f64::from(trials)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Rng;

    const LIMITS: Limits =
        Limits { first: 100.0, lowest: 1.0, highest: 1e6, resolution: 0.05, trials: 3, most_trials: 60 };

    fn search(limits: Limits, mut holds: impl FnMut(f64) -> bool) -> Bracket {
        let mut bracket = Bracket::new(limits);
        while let Some(rate) = bracket.next() {
            assert!((limits.lowest..=limits.highest).contains(&rate), "{rate}");
            bracket.tell(rate, if holds(rate) { TrialResult::Held } else { TrialResult::Missed });
        }
        bracket
    }

    #[test]
    fn a_sharp_limit_is_found_to_the_resolution_from_either_side() {
        for limit in [3.0, 99.0, 100.0, 101.0, 12_345.0, 900_000.0] {
            let bracket = search(LIMITS, |rate| rate <= limit);
            let below = bracket.below().expect("a rate that holds");
            assert!(bracket.is_settled());
            assert!(below.rate <= limit && below.rate * 1.05 >= limit, "{} for {limit}", below.rate);
            assert_eq!((below.held, below.trials), (3, 3));
            assert!(bracket.trials < 40, "{} trials", bracket.trials);
        }
    }

    #[test]
    fn without_a_limit_the_highest_rate_is_the_answer_and_with_none_that_holds_there_is_none() {
        let bracket = search(LIMITS, |_| true);
        assert!(bracket.is_settled() && bracket.above().is_none());
        assert!((bracket.below().expect("it held").rate - 1e6).abs() < 1e-6);
        let bracket = search(LIMITS, |_| false);
        assert!(!bracket.is_settled() && bracket.below().is_none());
    }

    #[test]
    fn noise_lowers_the_answer_and_never_raises_it_above_what_held_each_time() {
        let mut rng = Rng::new(5);
        for _ in 0..100 {
            // Below 1000 it always holds, above 2000 never, in between by lot.
            let bracket = search(LIMITS, |rate| match rate {
                rate if rate <= 1000.0 => true,
                rate if rate >= 2000.0 => false,
                _ => rng.below(2) == 0,
            });
            let below = bracket.below().expect("low rates hold");
            assert!(below.rate < 2000.0 && below.held == below.trials);
            assert!(bracket.is_settled() || bracket.trials == LIMITS.most_trials);
        }
    }

    #[test]
    fn the_number_of_trials_is_bounded() {
        let bracket = search(Limits { most_trials: 4, ..LIMITS }, |rate| rate < 1e5);
        assert_eq!((bracket.trials, bracket.is_settled()), (4, false));
    }

    #[test]
    fn the_confidence_is_that_of_clopper_and_pearson() {
        assert!((lower_bound(3) - 0.3684).abs() < 1e-4);
        assert!((lower_bound(59) - 0.9505).abs() < 1e-4);
    }
}
