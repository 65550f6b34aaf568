//! Decides when the watchdog sleeps until a worker wakes it.
//!
//! The worker that ends a sleep makes a system call, and the watchdog wakes
//! once more than for its next pass. So the watchdog sleeps as soon as all
//! workers rest, but not if its last sleep was too short to be worth that.

use std::time::{Duration, Instant};

/// The watchdog does not sleep before the workers have been the same for this
/// time: replaced hooks and new drivers are found in passes.
const SLEEP_AFTER_CHANGE: Duration = Duration::from_secs(1);
/// A gap between two bursts of polls is short if it is shorter than this many
/// halves of the interval of the passes.
const SHORT_GAP_HALF_INTERVALS: u32 = 3;
/// How many passes in succession must have found no poll after a short gap.
const QUIET_PASSES_AFTER_SHORT_GAP: u32 = 2;

/// What the passes have found about the workers' rest.
#[derive(Debug)]
pub(super) struct Rest {
    changed_at: Instant,
    /// When a pass last found that a worker had polled since the pass before.
    active_at: Instant,
    /// How many passes have found no poll since.
    quiet_passes: u32,
    was_gap_short: bool,
}

impl Rest {
    pub(super) fn new(now: Instant) -> Self {
        Self { changed_at: now, active_at: now, quiet_passes: 0, was_gap_short: false }
    }

    /// Notes that workers were added or removed.
    pub(super) fn note_change(&mut self, now: Instant) {
        self.changed_at = now;
    }

    /// Adds a pass, and whether a worker has polled since the pass before.
    pub(super) fn add_pass(&mut self, is_active: bool, now: Instant) {
        if is_active {
            self.active_at = now;
            self.quiet_passes = 0;
        } else {
            self.quiet_passes = self.quiet_passes.saturating_add(1);
        }
    }

    /// Returns whether the workers have been the same for some time.
    pub(super) fn is_settled(&self, now: Instant) -> bool {
        now.duration_since(self.changed_at) > SLEEP_AFTER_CHANGE
    }

    /// Returns whether the watchdog may sleep, if all workers rest.
    pub(super) fn may_sleep(&self, now: Instant) -> bool {
        let wanted = if self.was_gap_short { QUIET_PASSES_AFTER_SHORT_GAP } else { 0 };
        self.is_settled(now) && self.quiet_passes >= wanted
    }

    /// Notes that a sleep has ended.
    pub(super) fn end_sleep(&mut self, pass_interval: Duration, now: Instant) {
        let gap = now.duration_since(self.active_at);
        self.was_gap_short = gap < pass_interval * SHORT_GAP_HALF_INTERVALS / 2;
        self.quiet_passes = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_millis(10);

    /// Returns how many passes and how many sleeps there are in ten seconds
    /// with a burst of polls in each `period`.
    fn passes_and_sleeps(period: Duration) -> (u32, u32) {
        let start = Instant::now();
        let end = start + Duration::from_secs(10);
        let mut rest = Rest::new(start - SLEEP_AFTER_CHANGE * 2);
        let (mut now, mut next_burst, mut passes, mut sleeps) = (start, start + period, 0, 0);
        while now < end {
            now += INTERVAL;
            let is_active = next_burst <= now;
            while next_burst <= now {
                next_burst += period;
            }
            passes += 1;
            rest.add_pass(is_active, now);
            if rest.may_sleep(now) {
                sleeps += 1;
                now = next_burst;
                rest.end_sleep(INTERVAL, now);
            }
        }
        (passes, sleeps)
    }

    #[test]
    fn a_pass_follows_each_burst_and_nothing_else_does() {
        for period in [50, 100, 250, 1_000] {
            let (passes, sleeps) = passes_and_sleeps(Duration::from_millis(period));
            let bursts = 10_000 / period as u32;
            assert!(passes <= bursts + 2 && sleeps <= bursts + 2, "{period} ms: {passes} and {sleeps}");
        }
    }

    #[test]
    fn bursts_in_quick_succession_do_not_wake_the_watchdog() {
        for period in [1, 7, 10, 13, 20] {
            let (passes, sleeps) = passes_and_sleeps(Duration::from_millis(period));
            assert!(passes <= 1_001 && sleeps <= 50, "{period} ms: {passes} passes, {sleeps} sleeps");
        }
    }

    #[test]
    fn a_new_worker_keeps_the_watchdog_awake() {
        let start = Instant::now();
        let mut rest = Rest::new(start);
        let later = start + SLEEP_AFTER_CHANGE * 2;
        assert!(!rest.may_sleep(start) && rest.may_sleep(later));
        rest.note_change(later);
        assert!(!rest.may_sleep(later) && rest.may_sleep(later + SLEEP_AFTER_CHANGE * 2));
    }
}
