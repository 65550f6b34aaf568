//! Detects pauses of the whole process: a stopped process or a suspended
//! machine must not make a poll look long.

use std::collections::VecDeque;
use std::ops::Range;

use crate::os;
use crate::record::clock::{Clock, Ticks};

/// The watchdog reads its run queue time at each measurement that finds a
/// delay, even a short one, and also at every measurement whose number is a
/// multiple of this. Otherwise, the short waits for a CPU of many measurements
/// would count as one long wait in the next measurement with a long delay, and
/// hide a pause.
const MEASUREMENTS_PER_RUN_QUEUE_READ: u32 = 64;
/// How many pauses, and how many waits, are kept. If there are more during one
/// poll, the oldest count as part of the poll's time.
const MAX_PAUSES: usize = 64;

/// The pauses. They are detected by delays of the watchdog's own thread, which
/// sleeps for one to two ticks at a time.
///
/// Times are by the recorder's clock, because polls are measured by it. That
/// clock may count the time of a suspended machine, which the system's clock
/// leaves out.
#[derive(Debug)]
pub(crate) struct ProcessPauses {
    /// The time of the last measurement.
    at: Ticks,
    tick_nanos: u64,
    /// The watchdog's thread.
    tid: i32,
    measurements: u32,
    /// The watchdog's CPU time at the last measurement.
    cpu_nanos: u64,
    /// The watchdog's time in the run queue, when it was last read.
    run_queue_nanos: u64,
    /// From start to end, in nanoseconds of the recorder's clock.
    pauses: VecDeque<Range<u64>>,
    /// When the watchdog waited long for a CPU. Other threads of the process
    /// may have waited too.
    waits: VecDeque<Range<u64>>,
}

impl ProcessPauses {
    pub(crate) fn new(tid: i32, tick_nanos: u64, clock: &Clock) -> Self {
        Self {
            at: clock.ticks(),
            tick_nanos,
            tid,
            measurements: 0,
            cpu_nanos: cpu_nanos(tid),
            run_queue_nanos: os::run_queue_nanos(tid),
            pauses: VecDeque::new(),
            waits: VecDeque::new(),
        }
    }

    /// Starts the next measurement now: the watchdog slept without a planned
    /// end.
    pub(crate) fn skip(&mut self, clock: &Clock) {
        self.at = clock.ticks();
        self.cpu_nanos = cpu_nanos(self.tid);
        self.run_queue_nanos = os::run_queue_nanos(self.tid);
    }

    /// Records a pause if the watchdog was delayed by more than two ticks since
    /// the last measurement, and neither ran nor waited for a CPU in that time.
    /// It planned to sleep for `planned_sleep_nanos`, or for zero in the middle
    /// of a pass.
    ///
    /// It is not known when the pause began. So the whole time since the last
    /// measurement counts as the pause, except for the time in which the
    /// watchdog ran or waited for a CPU. A wait for a CPU is not a pause: the
    /// workers' own CPU times show which of them waited too.
    pub(crate) fn measure(&mut self, planned_sleep_nanos: u64, clock: &Clock) {
        if let Some(pause) = self.measure_delay(planned_sleep_nanos, clock) {
            note(&mut self.pauses, pause);
        }
    }

    /// Starts the next measurement now, and records no pause: since the last
    /// measurement, the watchdog read the memory of the process. It may have
    /// waited in the kernel while the rest of the process ran, for example for
    /// a `fork` or for a page from disk.
    pub(crate) fn measure_without_pause(&mut self, clock: &Clock) {
        self.measure_delay(0, clock);
    }

    /// Returns the time of a delay that may be a pause, and records a long wait
    /// for a CPU.
    fn measure_delay(&mut self, planned_sleep_nanos: u64, clock: &Clock) -> Option<Range<u64>> {
        let now = clock.ticks();
        let elapsed = clock.nanos(std::mem::replace(&mut self.at, now), now);
        let cpu = cpu_nanos(self.tid);
        let ran = cpu.saturating_sub(std::mem::replace(&mut self.cpu_nanos, cpu));
        self.measurements = self.measurements.wrapping_add(1);
        let expected = planned_sleep_nanos.saturating_add(self.tick_nanos.saturating_mul(2));
        let is_on_time = elapsed <= planned_sleep_nanos.saturating_add(ran + self.tick_nanos / 16);
        if is_on_time && !self.measurements.is_multiple_of(MEASUREMENTS_PER_RUN_QUEUE_READ) {
            return None;
        }
        let run_queue = os::run_queue_nanos(self.tid);
        let waited = run_queue.saturating_sub(std::mem::replace(&mut self.run_queue_nanos, run_queue));
        if elapsed <= expected {
            return None;
        }
        let paused = elapsed.saturating_sub(ran + waited);
        let end = clock.since_start(now);
        if waited > self.tick_nanos {
            note(&mut self.waits, end.saturating_sub(waited.min(elapsed))..end);
        }
        (paused > expected).then(|| end.saturating_sub(paused)..end)
    }

    /// Returns how much of the time from `start` to `end` was in pauses, in
    /// nanoseconds.
    pub(crate) fn within(&self, start: Ticks, end: Ticks, clock: &Clock) -> u64 {
        overlap(&self.pauses, clock.since_start(start)..clock.since_start(end))
    }

    /// Returns for how much of the time from `start` to `end` the watchdog
    /// waited for a CPU, in nanoseconds. Short waits are not included.
    pub(crate) fn waited_within(&self, start: Ticks, end: Ticks, clock: &Clock) -> u64 {
        overlap(&self.waits, clock.since_start(start)..clock.since_start(end))
    }
}

fn note(times: &mut VecDeque<Range<u64>>, time: Range<u64>) {
    if times.len() >= MAX_PAUSES {
        times.pop_front();
    }
    times.push_back(time);
}

fn overlap(times: &VecDeque<Range<u64>>, with: Range<u64>) -> u64 {
    times.iter().map(|time| time.end.min(with.end).saturating_sub(time.start.max(with.start))).sum()
}

fn cpu_nanos(tid: i32) -> u64 {
    os::thread_cpu_nanos(tid).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::thread;
    use std::time::Duration;

    use super::*;

    #[test]
    fn only_the_overlap_with_a_pause_counts() {
        let clock = Clock::new();
        let mut pauses = ProcessPauses::new(0, 1_000, &clock);
        let begin = clock.ticks();
        let at = |wanted: u64| {
            let mut ticks = begin;
            while clock.since_start(ticks) < wanted {
                ticks += 100;
            }
            ticks
        };
        let base = clock.since_start(begin);
        note(&mut pauses.pauses, base + 10_000..base + 20_000);
        let within = |from, to| pauses.within(at(base + from), at(base + to), &clock) / 1_000;
        assert_eq!(within(0, 9_000), 0);
        assert!((4..=5).contains(&within(0, 15_000)));
        assert!((9..=10).contains(&within(5_000, 50_000)));
        assert_eq!(within(30_000, 50_000), 0);
    }

    #[test]
    fn a_wait_of_the_watchdog_in_a_capture_is_no_pause() {
        let clock = Clock::new();
        let tid = os::current_thread().map_or(0, |thread| thread.tid);
        let mut pauses = ProcessPauses::new(tid, 1_000, &clock);
        let begin = clock.ticks();
        let paused = |pauses: &ProcessPauses| pauses.within(begin, clock.ticks(), &clock);
        thread::sleep(Duration::from_millis(5));
        pauses.measure_without_pause(&clock);
        assert_eq!(paused(&pauses), 0);
        thread::sleep(Duration::from_millis(5));
        pauses.measure(0, &clock);
        assert!(paused(&pauses) >= 3_000_000, "{}", paused(&pauses));
    }
}
