//! The mistakes that people really make, on demand, each beside the way it is done right.
//!
//! One file per site. Its `right` way is what runs by default; its `wrong` function is what `--inject`
//! turns on. Each `wrong` is a plain function that is never inlined, and the line that blocks stands
//! alone in it: it is what loopscope has to name.

mod spec;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

pub(crate) use spec::{Site, SpecError};

/// How long a mistake blocks, and how often it is made.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Dose {
    /// How long it blocks at least.
    pub(crate) duration: Duration,
    /// In how many of a hundred cases.
    pub(crate) percent: f64,
}

/// Which mistakes are made.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Injections([Option<Dose>; Site::ALL.len()]);

impl Injections {
    /// Reads the values of all `--inject`; a later one for the same site wins.
    pub(crate) fn parse<'a>(specs: impl IntoIterator<Item = &'a str>) -> Result<Self, SpecError> {
        let mut injections = Injections::default();
        for text in specs {
            for (site, dose) in spec::parse(text)? {
                injections.0[site as usize] = Some(dose);
            }
        }
        Ok(injections)
    }

    /// The mistake to make at `site`, if any.
    pub(crate) fn at(&self, site: Site) -> Option<Mistake> {
        self.0[site as usize].map(|dose| Mistake::new(site, dose))
    }
}

/// Decides, case by case, whether the mistake is made.
#[derive(Debug)]
pub(crate) struct Mistake {
    duration: Duration,
    /// The share of all 64-bit numbers that mean yes.
    threshold: u64,
    cases: AtomicU64,
}

impl Mistake {
    fn new(site: Site, dose: Dose) -> Self {
        let threshold = (dose.percent / 100.0 * u64::MAX as f64) as u64;
        // Else all sites would strike on the same messages.
        let first = (site as u64) << 32;
        Mistake { duration: dose.duration, threshold, cases: AtomicU64::new(first) }
    }

    /// How long to block this time, if this time is one.
    pub(crate) fn strikes(&self) -> Option<Duration> {
        let case = self.cases.fetch_add(1, Ordering::Relaxed);
        (scramble(case) <= self.threshold).then_some(self.duration)
    }

    /// The same mistake, made on every call.
    #[cfg(test)]
    pub(crate) fn on_every_call(self) -> Self {
        Self { threshold: u64::MAX, ..self }
    }

    pub(crate) fn duration(&self) -> Duration {
        self.duration
    }
}

/// SplitMix64: numbers in a row become numbers that look random, without a lock or a thread-local.
fn scramble(number: u64) -> u64 {
    let mut z = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strikes(percent: f64) -> usize {
        let mistake = Mistake::new(Site::Sleep, Dose { duration: Duration::from_millis(1), percent });
        (0..10_000).filter(|_| mistake.strikes().is_some()).count()
    }

    #[test]
    fn the_share_of_strikes_is_the_percentage() {
        assert_eq!(strikes(100.0), 10_000);
        assert!((50..=200).contains(&strikes(1.0)), "{}", strikes(1.0));
        assert!((4_500..=5_500).contains(&strikes(50.0)), "{}", strikes(50.0));
    }

    #[test]
    fn a_later_value_wins() {
        let injections = Injections::parse(["all", "sleep=20ms@5%"]).expect("valid");
        assert_eq!(injections.at(Site::Sleep).map(|it| it.duration), Some(Duration::from_millis(20)));
        assert!(injections.at(Site::History).is_some());
        assert!(Injections::default().at(Site::Sleep).is_none());
    }
}
