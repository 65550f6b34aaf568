//! Follows how long the thread of a poll waits in one call, or runs.

use crate::evidence::{Capture, Stretch, TimeSplit};
use crate::watchdog::sample::{ThreadActivity, ThreadSample};

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
    /// The latest sample, and how many signals the thread had got by then.
    last: Option<(ThreadSample, u64)>,
    /// The split of the poll at the first sample of the current stretch.
    began: TimeSplit,
    /// Whether a capture was requested in the current stretch.
    is_captured: bool,
    extra_captures: u32,
}

impl StretchTracker {
    /// Adds a sample of the thread. `times` is the split of the poll until it,
    /// and `signals` is how many signals the watchdog has sent to the thread.
    /// The captures of the current stretch get its length.
    pub(super) fn add(
        &mut self,
        sample: &ThreadSample,
        times: TimeSplit,
        signals: u64,
        captures: &mut [Capture],
    ) {
        // A signal may have been answered since the latest sample.
        self.mark(captures);
        let is_running = sample.is_runnable();
        let is_same = self.last.is_some_and(|(last, sent)| {
            let has_stayed =
                || stays_in_call(&last, sample) || signals == sent + 1 && resumes_call(&last, sample);
            self.is_running == is_running && (is_running || has_stayed())
        });
        if !is_same {
            self.current = Stretch { number: self.current.number + 1, own_nanos: 0 };
            (self.is_running, self.began, self.is_captured) = (is_running, times, false);
        }
        self.last = Some((*sample, signals));
        let own = times.own().saturating_sub(self.began.own());
        let on_cpu = times.on_cpu.saturating_sub(self.began.on_cpu);
        self.current.own_nanos = if is_running { own.min(on_cpu) } else { own };
        for capture in captures.iter_mut().filter(|capture| capture.stretch.number == self.current.number) {
            capture.stretch = self.current;
        }
    }

    /// Returns the number of the current stretch.
    pub(super) fn number(&self) -> u32 {
        self.current.number
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

/// Returns whether a waiting thread has not run between two samples.
fn stays_in_call(last: &ThreadSample, now: &ThreadSample) -> bool {
    (last.times.cpu_nanos, last.times.slices) == (now.times.cpu_nanos, now.times.slices)
}

/// Returns whether a waiting thread has only handled a signal between two
/// samples: it has run once and is at the same place of the same call, which
/// the kernel may have given another number.
fn resumes_call(last: &ThreadSample, now: &ThreadSample) -> bool {
    let place = |sample: &ThreadSample| match sample.activity {
        ThreadActivity::InSyscall(call) => Some((call.sp, call.pc)),
        _ => None,
    };
    let has_run_once = now.times.slices == last.times.slices + 1;
    has_run_once && place(last).is_some() && place(last) == place(now)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watchdog::sample::{InSyscall, ThreadTimes};

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
            tracker.add(&sample(false, 5), times(0, off_cpu), 0, &mut captures);
        }
        assert_eq!(captures[0].stretch, Stretch { number: 1, own_nanos: 10 });
        assert!(tracker.needs_capture(10));
        tracker.set_captured(false);
        assert!(!tracker.needs_capture(10));
        // Another call: the thread has run in between.
        captures.push(Capture::without_stack(30, false, None));
        captures[1].stretch.number = 0;
        tracker.add(&sample(false, 6), times(1, 20), 0, &mut []);
        tracker.add(&sample(false, 6), times(1, 31), 0, &mut captures);
        assert!(tracker.needs_capture(10), "the second call has no capture");
        assert_eq!(captures[0].stretch.own_nanos, 10, "the first call is over");
        assert_eq!(captures[1].stretch, Stretch { number: 2, own_nanos: 11 });
    }

    #[test]
    fn a_running_thread_counts_with_its_cpu_time() {
        let mut tracker = StretchTracker::default();
        let mut captures = vec![Capture::without_stack(9, false, None)];
        tracker.add(&sample(true, 5), times(1, 500), 0, &mut captures);
        tracker.add(&sample(true, 9), times(5, 505), 0, &mut captures);
        assert!(!tracker.needs_capture(5));
        tracker.add(&sample(true, 12), times(8, 507), 0, &mut captures);
        assert!(tracker.needs_capture(5));
        assert_eq!(captures[0].stretch.number, 0, "it shows a wait");
    }

    #[test]
    fn the_number_of_extra_captures_is_bounded() {
        let mut tracker = StretchTracker::default();
        let mut extra = 0;
        for call in 0..100 {
            tracker.add(&sample(false, call), times(0, 20 * call), 0, &mut []);
            tracker.add(&sample(false, call), times(0, 20 * call + 15), 0, &mut []);
            if tracker.needs_capture(10) {
                tracker.set_captured(true);
                extra += 1;
            }
        }
        assert_eq!(extra, MAX_EXTRA_CAPTURES);
    }

    #[test]
    fn a_signal_of_the_watchdog_does_not_end_a_wait() {
        let in_call = |sp: u64, slices: u64| ThreadSample {
            times: ThreadTimes { cpu_nanos: slices, slices, ..ThreadTimes::default() },
            activity: ThreadActivity::InSyscall(InSyscall { number: 230, arguments: [0; 6], sp, pc: 9 }),
            ..sample(false, 0)
        };
        let mut tracker = StretchTracker::default();
        tracker.add(&in_call(7, 1), times(0, 2), 0, &mut []);
        tracker.add(&in_call(7, 2), times(0, 15), 1, &mut []);
        assert!(tracker.needs_capture(10), "the same stretch");
        tracker.add(&in_call(7, 3), times(0, 20), 1, &mut []);
        assert!(!tracker.needs_capture(10), "no signal made it run");
        tracker.add(&in_call(7, 5), times(0, 31), 2, &mut []);
        assert!(!tracker.needs_capture(10), "it ran twice");
        tracker.add(&in_call(8, 6), times(0, 42), 3, &mut []);
        assert!(!tracker.needs_capture(10), "another call");
    }
}
