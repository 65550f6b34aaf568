//! Decides at each call whether to make the mistake.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::inject::spec::{InjectionSite, MistakeSettings};

/// The mistake of one site.
#[derive(Debug)]
pub(crate) struct Mistake {
    duration: Duration,
    /// The mistake is made if a random 64-bit number is at most this.
    threshold: u64,
    calls: AtomicU64,
}

impl Mistake {
    pub(super) fn new(site: InjectionSite, settings: MistakeSettings) -> Self {
        let threshold = (settings.percent / 100.0 * u64::MAX as f64) as u64;
        // Each site starts at another number. With the same number all sites
        // would make their mistake on the same messages.
        let first = (site as u64) << 32;
        Self { duration: settings.duration, threshold, calls: AtomicU64::new(first) }
    }

    /// Counts a call. Returns how long to block, or `None` if this call does it
    /// the right way.
    pub(crate) fn decide(&self) -> Option<Duration> {
        let call = self.calls.fetch_add(1, Ordering::Relaxed);
        (scramble(call) <= self.threshold).then_some(self.duration)
    }

    /// Returns the same mistake, made on every call.
    #[cfg(test)]
    pub(crate) fn on_every_call(self) -> Self {
        Self { threshold: u64::MAX, ..self }
    }

    pub(crate) fn duration(&self) -> Duration {
        self.duration
    }
}

/// Turns consecutive numbers into numbers that look random (SplitMix64). It
/// needs neither a lock nor a thread-local.
fn scramble(number: u64) -> u64 {
    let mut z = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns in how many of 10,000 calls the mistake is made.
    fn mistakes(percent: f64) -> usize {
        let settings = MistakeSettings { duration: Duration::from_millis(1), percent };
        let mistake = Mistake::new(InjectionSite::Sleep, settings);
        (0..10_000).filter(|_| mistake.decide().is_some()).count()
    }

    #[test]
    fn the_share_of_mistakes_is_the_percentage() {
        assert_eq!(mistakes(100.0), 10_000);
        assert!((50..=200).contains(&mistakes(1.0)), "{}", mistakes(1.0));
        assert!((4_500..=5_500).contains(&mistakes(50.0)), "{}", mistakes(50.0));
    }
}
