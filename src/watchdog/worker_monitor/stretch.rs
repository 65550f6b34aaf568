//! Follows how long the thread of a poll waits in one call, or runs.

use crate::evidence::{Capture, Stretch, TimeSplit};
use crate::watchdog::sample::ThreadSample;

/// The maximum number of captures of one poll that are taken only because its
/// thread does something else than before.
const MAX_EXTRA_CAPTURES: u32 = 8;

/// Divides a poll into stretches. A thread that waits in the same call from one
/// sample to the next has not run in between; a thread that leaves the call
/// runs.
#[derive(Debug, Default)]
pub(super) struct StretchTracker {
    current: Stretch,
    is_running: bool,
    /// The CPU time and the slices at the latest sample.
    runs: (u64, u64),
    /// The split of the poll at the first sample of the current stretch.
    began: TimeSplit,
    /// Whether a capture was requested in the current stretch.
    is_captured: bool,
    extra_captures: u32,
}

impl StretchTracker {
    /// Adds a sample of the thread. `times` is the split of the poll until it.
    /// The captures of the current stretch get its length.
    pub(super) fn add(&mut self, sample: &ThreadSample, times: TimeSplit, captures: &mut [Capture]) {
        // A signal may have been answered since the latest sample.
        self.mark(captures);
        let runs = (sample.times.cpu_nanos, sample.times.slices);
        let is_running = sample.is_runnable();
        let is_same = self.is_running == is_running && (is_running || self.runs == runs);
        if self.current.number == 0 || !is_same {
            self.current = Stretch { number: self.current.number + 1, own_nanos: 0 };
            (self.is_running, self.began, self.is_captured) = (is_running, times, false);
        }
        self.runs = runs;
        let own = times.own().saturating_sub(self.began.own());
        let on_cpu = times.on_cpu.saturating_sub(self.began.on_cpu);
        self.current.own_nanos = if is_running { own.min(on_cpu) } else { own };
        for capture in captures.iter_mut().filter(|capture| capture.stretch.number == self.current.number) {
            capture.stretch = self.current;
        }
    }

    /// Assigns the captures that have no stretch yet to the current one, if
    /// they show what the thread does in it.
    pub(super) fn mark(&self, captures: &mut [Capture]) {
        let is_new =
            |capture: &&mut Capture| capture.stretch.number == 0 && capture.on_cpu == self.is_running;
        for capture in captures.iter_mut().filter(is_new) {
            capture.stretch = self.current;
        }
    }

    /// Returns whether the present stretch has lasted for a threshold without a
    /// capture: then it is a blocking call of its own.
    pub(super) fn needs_capture(&self, threshold_nanos: u64) -> bool {
        !self.is_captured
            && self.current.own_nanos >= threshold_nanos
            && self.extra_captures < MAX_EXTRA_CAPTURES
    }

    /// Notes that a capture is requested now. `is_extra` says that none would
    /// be due without [`needs_capture`](Self::needs_capture).
    pub(super) fn set_captured(&mut self, is_extra: bool) {
        self.is_captured = true;
        self.extra_captures += u32::from(is_extra);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watchdog::sample::{ThreadActivity, ThreadTimes};

    fn sample(is_running: bool, cpu_nanos: u64) -> ThreadSample {
        ThreadSample {
            times: ThreadTimes { cpu_nanos, ..ThreadTimes::default() },
            is_on_cpu: is_running,
            state: if is_running { b'R' } else { b'S' },
            activity: if is_running { ThreadActivity::Running } else { ThreadActivity::OutsideSyscall },
        }
    }

    fn times(on_cpu: u64, off_cpu: u64) -> TimeSplit {
        TimeSplit { on_cpu, off_cpu, ..TimeSplit::default() }
    }

    #[test]
    fn a_wait_lasts_until_the_thread_runs() {
        let mut tracker = StretchTracker::default();
        let mut captures = vec![Capture::without_stack(12, false, None)];
        for off_cpu in [2, 7, 12] {
            tracker.add(&sample(false, 5), times(0, off_cpu), &mut captures);
        }
        assert_eq!(captures[0].stretch, Stretch { number: 1, own_nanos: 10 });
        assert!(tracker.needs_capture(10));
        tracker.set_captured(false);
        assert!(!tracker.needs_capture(10));
        // Another call: the thread has run in between.
        captures.push(Capture::without_stack(30, false, None));
        captures[1].stretch.number = 0;
        tracker.add(&sample(false, 6), times(1, 20), &mut []);
        tracker.add(&sample(false, 6), times(1, 31), &mut captures);
        assert!(tracker.needs_capture(10), "the second call has no capture");
        assert_eq!(captures[0].stretch.own_nanos, 10, "the first call is over");
        assert_eq!(captures[1].stretch, Stretch { number: 2, own_nanos: 11 });
    }

    #[test]
    fn a_running_thread_counts_with_its_cpu_time() {
        let mut tracker = StretchTracker::default();
        let mut captures = vec![Capture::without_stack(9, false, None)];
        tracker.add(&sample(true, 5), times(1, 500), &mut captures);
        tracker.add(&sample(true, 9), times(5, 505), &mut captures);
        assert!(!tracker.needs_capture(5));
        tracker.add(&sample(true, 12), times(8, 507), &mut captures);
        assert!(tracker.needs_capture(5));
        assert_eq!(captures[0].stretch.number, 0, "it shows a wait");
    }

    #[test]
    fn the_number_of_extra_captures_is_bounded() {
        let mut tracker = StretchTracker::default();
        let mut extra = 0;
        for call in 0..100 {
            tracker.add(&sample(false, call), times(0, 20 * call), &mut []);
            tracker.add(&sample(false, call), times(0, 20 * call + 15), &mut []);
            if tracker.needs_capture(10) {
                tracker.set_captured(true);
                extra += 1;
            }
        }
        assert_eq!(extra, MAX_EXTRA_CAPTURES);
    }
}
