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
/// If the watchdog was delayed in a capture and the process used less than one
/// part in this many of that time on a CPU, then the process did not run.
const MIN_PROCESS_CPU_DIVISOR: u64 = 8;

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
    /// The CPU time of the process at the beginning of the last capture.
    process_cpu_nanos: u64,
    pauses: VecDeque<Delay>,
    /// When the watchdog waited long for a CPU. Other threads of the process
    /// may have waited too.
    waits: VecDeque<Delay>,
}

/// A time of this many nanoseconds within a longer one. Both are by the
/// recorder's clock.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Delay {
    within: Range<u64>,
    nanos: u64,
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
            process_cpu_nanos: 0,
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
    /// The pause is the time since the last measurement without the time in
    /// which the watchdog ran or waited for a CPU. When it began is not known,
    /// so each poll in that time may have been paused for all of it. A wait for
    /// a CPU is not a pause: the workers' own CPU times show which of them
    /// waited too.
    pub(crate) fn measure(&mut self, planned_sleep_nanos: u64, clock: &Clock) {
        if let Some(pause) = self.measure_delay(planned_sleep_nanos, clock) {
            note(&mut self.pauses, pause);
        }
    }

    /// The watchdog is about to read the memory of the process.
    pub(crate) fn begin_capture(&mut self) {
        self.process_cpu_nanos = os::process_cpu_nanos();
    }

    /// Starts the next measurement now, after a capture. A delay is a pause
    /// only if the process used no CPU meanwhile: the watchdog may have waited
    /// in the kernel while the rest of the process ran, for example for a
    /// `fork`.
    pub(crate) fn end_capture(&mut self, clock: &Clock) {
        let Some(pause) = self.measure_delay(0, clock) else { return };
        let used = os::process_cpu_nanos().saturating_sub(self.process_cpu_nanos);
        if used < pause.nanos / MIN_PROCESS_CPU_DIVISOR {
            note(&mut self.pauses, pause);
        }
    }

    /// Returns the time of a delay that may be a pause, and records a long wait
    /// for a CPU.
    fn measure_delay(&mut self, planned_sleep_nanos: u64, clock: &Clock) -> Option<Delay> {
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
            let waited = waited.min(elapsed);
            note(&mut self.waits, Delay { within: end.saturating_sub(waited)..end, nanos: waited });
        }
        let within = end.saturating_sub(elapsed)..end;
        (paused > expected).then_some(Delay { within, nanos: paused })
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

fn note(delays: &mut VecDeque<Delay>, delay: Delay) {
    if delays.len() >= MAX_PAUSES {
        delays.pop_front();
    }
    delays.push_back(delay);
}

fn overlap(delays: &VecDeque<Delay>, with: Range<u64>) -> u64 {
    let overlap = |delay: &Delay| {
        let Range { start, end } = delay.within;
        end.min(with.end).saturating_sub(start.max(with.start)).min(delay.nanos)
    };
    delays.iter().map(overlap).sum()
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
        let within = base + 8_000..base + 20_000;
        note(&mut pauses.pauses, Delay { within, nanos: 10_000 });
        let within = |from, to| pauses.within(at(base + from), at(base + to), &clock) / 1_000;
        assert_eq!(within(0, 7_000), 0);
        assert!((6..=7).contains(&within(0, 15_000)));
        assert!((9..=10).contains(&within(5_000, 50_000)));
        assert_eq!(within(30_000, 50_000), 0);
    }

    #[test]
    fn a_delay_in_a_capture_is_a_pause_if_the_process_does_not_run() {
        let clock = Clock::new();
        let tid = os::current_thread().map_or(0, |thread| thread.tid);
        let mut pauses = ProcessPauses::new(tid, 1_000, &clock);
        let begin = clock.ticks();
        let paused = |pauses: &ProcessPauses| pauses.within(begin, clock.ticks(), &clock);
        // A thread of this process runs, and this one waits for it.
        pauses.begin_capture();
        let spin = || {
            let tid = os::current_thread().map_or(0, |thread| thread.tid);
            while cpu_nanos(tid) < 20_000_000 {
                std::hint::spin_loop();
            }
        };
        thread::spawn(spin).join().unwrap();
        pauses.end_capture(&clock);
        let before = paused(&pauses);
        // More CPU time than any process uses: nothing has run.
        pauses.process_cpu_nanos = u64::MAX;
        thread::sleep(Duration::from_millis(5));
        pauses.end_capture(&clock);
        let in_capture = paused(&pauses) - before;
        assert!(in_capture >= 3_000_000, "{in_capture}");
        thread::sleep(Duration::from_millis(5));
        pauses.measure(0, &clock);
        assert!(paused(&pauses) - before - in_capture >= 3_000_000, "{}", paused(&pauses));
        assert_eq!(before, 0, "the process ran in the first capture");
    }
}
