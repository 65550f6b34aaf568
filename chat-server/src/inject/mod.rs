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
pub(crate) struct MistakeSettings {
    /// How long it blocks at least.
    pub(crate) duration: Duration,
    /// In how many of a hundred calls.
    pub(crate) percent: f64,
}

/// Which mistakes are made.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Injections([Option<MistakeSettings>; Site::ALL.len()]);

impl Injections {
    /// Reads the values of all `--inject`; a later one for the same site wins.
    pub(crate) fn parse<'a>(specs: impl IntoIterator<Item = &'a str>) -> Result<Self, SpecError> {
        let mut injections = Injections::default();
        for text in specs {
            for (site, settings) in spec::parse(text)? {
                injections.0[site as usize] = Some(settings);
            }
        }
        Ok(injections)
    }

    /// The mistake to make at `site`, if any.
    pub(crate) fn at(&self, site: Site) -> Option<Mistake> {
        self.0[site as usize].map(|settings| Mistake::new(site, settings))
    }
}

/// Decides, call by call, whether the mistake is made.
#[derive(Debug)]
pub(crate) struct Mistake {
    duration: Duration,
    /// The share of all 64-bit numbers that mean yes.
    threshold: u64,
    calls: AtomicU64,
}

impl Mistake {
    fn new(site: Site, settings: MistakeSettings) -> Self {
        let threshold = (settings.percent / 100.0 * u64::MAX as f64) as u64;
        // Else all sites would strike on the same messages.
        let first = (site as u64) << 32;
        Mistake { duration: settings.duration, threshold, calls: AtomicU64::new(first) }
    }

    /// How long to block this time, if this time is one.
    pub(crate) fn decide(&self) -> Option<Duration> {
        let call = self.calls.fetch_add(1, Ordering::Relaxed);
        (scramble(call) <= self.threshold).then_some(self.duration)
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

    fn decided_calls(percent: f64) -> usize {
        let mistake =
            Mistake::new(Site::Sleep, MistakeSettings { duration: Duration::from_millis(1), percent });
        (0..10_000).filter(|_| mistake.decide().is_some()).count()
    }

    #[test]
    fn the_share_of_strikes_is_the_percentage() {
        assert_eq!(decided_calls(100.0), 10_000);
        assert!((50..=200).contains(&decided_calls(1.0)), "{}", decided_calls(1.0));
        assert!((4_500..=5_500).contains(&decided_calls(50.0)), "{}", decided_calls(50.0));
    }

    #[test]
    fn a_later_value_wins() {
        let injections = Injections::parse(["all", "sleep=20ms@5%"]).expect("valid");
        assert_eq!(injections.at(Site::Sleep).map(|it| it.duration), Some(Duration::from_millis(20)));
        assert!(injections.at(Site::History).is_some());
        assert!(Injections::default().at(Site::Sleep).is_none());
    }
}
