//! The latest readings of a worker's CPU times, taken between two polls or
//! during one.

use crate::os::ThreadInfo;
use crate::record::clock::Clock;
use crate::watchdog::inspector::Inspector;
use crate::watchdog::sample::ThreadTimes;

/// A worker is calm if it runs and waits for a CPU for less than this part of
/// the time.
const CALM_DIVISOR: u64 = 4;
/// The run-queue time is read again once it may have grown by the threshold
/// divided by this, at its latest rate.
const RUN_QUEUE_GROWTH_DIVISOR: u64 = 32;
/// The run-queue time is read again after this many thresholds at the latest.
const MAX_RUN_QUEUE_AGE_THRESHOLDS: u64 = 8;

/// The readings of one worker.
#[derive(Debug)]
pub(super) struct Readings {
    threshold_nanos: u64,
    /// The two latest readings, the latest first. A poll may have begun between
    /// them.
    latest: [Option<(ThreadInfo, ThreadTimes)>; 2],
    /// The latest reading that includes the run-queue time.
    complete: Option<(ThreadInfo, ThreadTimes)>,
    /// By how much the run-queue time grew between the latest two complete
    /// readings, and the time between them.
    run_queue_growth: (u64, u64),
    is_calm: bool,
}

impl Readings {
    pub(super) fn new(threshold_nanos: u64) -> Self {
        Self { threshold_nanos, latest: [None; 2], complete: None, run_queue_growth: (0, 0), is_calm: false }
    }

    /// Returns the readings of this thread, the latest first.
    pub(super) fn of(
        &self,
        thread: Option<ThreadInfo>,
    ) -> impl DoubleEndedIterator<Item = &ThreadTimes> + Clone {
        let is_of = move |(reader, _): &&(ThreadInfo, ThreadTimes)| thread == Some(*reader);
        self.latest.iter().flatten().filter(is_of).map(|(_, times)| times)
    }

    /// Returns whether the thread used little CPU time, and hardly waited for a
    /// CPU, between the latest two readings. Without run-queue times, only
    /// frequent samples of a poll prove what it took.
    pub(super) fn is_calm(&self) -> bool {
        self.is_calm && self.complete.is_some_and(|(_, times)| times.run_queue_nanos.is_some())
    }

    /// Notes that the thread has not polled since the latest reading.
    pub(super) fn note_rest(&mut self) {
        self.is_calm = true;
    }

    /// Reads the CPU times. The run-queue time, which takes longer to read, is
    /// that of an earlier reading while it grows slowly. So its growth until a
    /// later sample is an upper bound, as it is with an older reading.
    pub(super) fn read(&mut self, inspector: &Inspector, clock: &Clock) -> Option<ThreadTimes> {
        let thread = inspector.thread();
        let cpu = inspector.cpu_times(clock)?;
        let times = match self.complete.filter(|(reader, _)| *reader == thread) {
            Some((_, last)) if !self.is_run_queue_due(clock.nanos(last.at, cpu.at)) => {
                ThreadTimes { run_queue_nanos: last.run_queue_nanos, slices: last.slices, ..cpu }
            }
            _ => return self.read_complete(inspector, clock),
        };
        self.add(thread, times, clock);
        Some(times)
    }

    /// Reads the CPU times, with the run-queue time.
    pub(super) fn read_complete(&mut self, inspector: &Inspector, clock: &Clock) -> Option<ThreadTimes> {
        let times = inspector.times(clock)?;
        self.add_complete(inspector.thread(), times, clock);
        Some(times)
    }

    /// Adds a reading that includes the run-queue time.
    pub(super) fn add_complete(&mut self, thread: ThreadInfo, times: ThreadTimes, clock: &Clock) {
        let last = self.complete.replace((thread, times)).filter(|(reader, _)| *reader == thread);
        self.run_queue_growth = last.map_or((0, 0), |(_, last)| {
            (times.known_wait_since(last.run_queue_nanos), clock.nanos(last.at, times.at))
        });
        self.add(thread, times, clock);
    }

    fn add(&mut self, thread: ThreadInfo, times: ThreadTimes, clock: &Clock) {
        let last = self.latest[0].filter(|(reader, _)| *reader == thread);
        self.is_calm = last.is_some_and(|(_, last)| {
            let elapsed = clock.nanos(last.at, times.at);
            let ran = times.cpu_nanos.saturating_sub(last.cpu_nanos);
            // After a gap, such as in a CPU quota, it may run all the time.
            let is_recent = elapsed <= self.threshold_nanos.saturating_mul(2);
            is_recent && ran.saturating_add(self.expected_wait(elapsed)) <= elapsed / CALM_DIVISOR
        });
        self.latest = [Some((thread, times)), self.latest[0]];
    }

    fn is_run_queue_due(&self, age_nanos: u64) -> bool {
        age_nanos >= self.threshold_nanos.saturating_mul(MAX_RUN_QUEUE_AGE_THRESHOLDS)
            || self.expected_wait(age_nanos) >= self.threshold_nanos / RUN_QUEUE_GROWTH_DIVISOR
    }

    /// Returns by how much the run-queue time grows in this time at its latest
    /// rate.
    fn expected_wait(&self, nanos: u64) -> u64 {
        match self.run_queue_growth {
            (_, 0) => 0,
            (grown, elapsed) => (grown as f64 / elapsed as f64 * nanos as f64) as u64,
        }
    }
}

#[cfg(all(test, stack_capture))]
mod tests {
    use super::*;
    use crate::os;

    const MS: u64 = 1_000_000;

    /// Adds a complete reading every 10 ms, in which the thread has run and has
    /// waited for a CPU for these times.
    fn readings(ran: u64, waited: u64) -> Readings {
        let (clock, _mock) = Clock::mock();
        let thread = os::current_thread().unwrap();
        let mut readings = Readings::new(10 * MS);
        for n in 0..3 {
            let run_queue_nanos = Some(n * waited);
            let times = ThreadTimes { at: n * 10 * MS, cpu_nanos: n * ran, run_queue_nanos, slices: n };
            readings.add_complete(thread, times, &clock);
        }
        readings
    }

    #[test]
    fn a_worker_that_runs_or_waits_for_a_cpu_is_not_calm() {
        assert!(readings(0, 0).is_calm());
        assert!(readings(2 * MS, 0).is_calm());
        assert!(!readings(3 * MS, 0).is_calm());
        assert!(!readings(MS, 2 * MS).is_calm());
        assert!(!Readings::new(MS).is_calm(), "nothing is known yet");
    }

    #[test]
    fn the_run_queue_time_is_read_the_more_often_the_faster_it_grows() {
        let interval = |waited| (1..).find(|ms| readings(0, waited).is_run_queue_due(ms * MS)).unwrap();
        assert_eq!(interval(0), 80);
        assert_eq!(interval(MS / 10), 32);
        assert_eq!(interval(MS), 4);
        assert_eq!(interval(9 * MS), 1);
    }
}
