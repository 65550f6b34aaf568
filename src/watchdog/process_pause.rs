//! Detects pauses of the whole process: a stopped process or a suspended
//! machine must not make a poll look long.

use std::collections::VecDeque;
use std::ops::Range;

use crate::os;
#[cfg(stack_capture)]
use crate::process::Process;
use crate::record::clock::{Clock, Ticks};
#[cfg(stack_capture)]
use crate::watchdog::procfs::ProcReader;

/// The watchdog reads its CPU time at each measurement that may find a delay,
/// and also at every measurement whose number is a multiple of this. The CPU
/// time of the measurements between counts as time without a pause, which is
/// less than a tick.
const MEASUREMENTS_PER_CPU_READ: u32 = 16;
/// The watchdog reads its run queue time at each measurement that finds a
/// delay, even a short one, and also at every measurement whose number is a
/// multiple of this. Otherwise, the short waits for a CPU of many measurements
/// would count as one long wait in the next measurement with a long delay, and
/// hide a pause.
const MEASUREMENTS_PER_RUN_QUEUE_READ: u32 = 16;
/// How many delays of each kind are kept. If there are more during one poll,
/// the oldest count as part of the poll's time.
const MAX_DELAYS: usize = 64;
/// A delay that nothing explains is noted if it is longer than a tick divided
/// by this. A timer is late by less on a machine that has its CPUs for itself.
const UNEXPLAINED_DIVISOR: u64 = 4;

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
    #[cfg(stack_capture)]
    proc_reader: ProcReader,
    measurements: u32,
    /// The watchdog's CPU time at the last measurement.
    cpu_nanos: u64,
    /// The watchdog's time in the run queue, when it was last read.
    run_queue_nanos: u64,
    pauses: VecDeque<Delay>,
    /// When the watchdog did not look: it waited long for a CPU or for another
    /// thread, or was asleep. Other threads of the process may have waited too.
    waits: VecDeque<Delay>,
    /// When the watchdog was late, and neither ran nor waited for a CPU. The
    /// host of a virtual machine that takes one CPU away may take others away
    /// too, and no time of a thread shows that.
    unexplained: VecDeque<Delay>,
}

/// A time of this many nanoseconds within a longer one. Both are by the
/// recorder's clock.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Delay {
    within: Range<u64>,
    nanos: u64,
}

/// The time between two measurements, and how much of it the watchdog ran or
/// waited for a CPU, in nanoseconds.
#[derive(Debug)]
struct Measured {
    within: Range<u64>,
    ran: u64,
    waited: u64,
}

impl ProcessPauses {
    /// The watchdog has not looked since the start of the clock.
    pub(crate) fn new(tid: i32, tick_nanos: u64, clock: &Clock) -> Self {
        let at = clock.ticks();
        let nanos = clock.since_start(at);
        let unseen = Delay { within: 0..nanos, nanos };
        let mut pauses = Self {
            at,
            tick_nanos,
            tid,
            #[cfg(stack_capture)]
            proc_reader: ProcReader::new(Process::Own, tid),
            measurements: 0,
            cpu_nanos: cpu_nanos(tid),
            run_queue_nanos: 0,
            pauses: VecDeque::new(),
            waits: VecDeque::from([unseen]),
            unexplained: VecDeque::new(),
        };
        pauses.new_wait_nanos();
        pauses
    }

    /// Starts the next measurement now: the watchdog slept without a planned
    /// end. A poll that began in that time has woken it, and was not seen until
    /// now.
    pub(crate) fn skip(&mut self, clock: &Clock) {
        let now = clock.ticks();
        let nanos = clock.nanos(std::mem::replace(&mut self.at, now), now);
        let end = clock.since_start(now);
        note(&mut self.waits, Delay { within: end.saturating_sub(nanos)..end, nanos });
        self.measurements = self.measurements.wrapping_add(1);
        if self.measurements.is_multiple_of(MEASUREMENTS_PER_CPU_READ) {
            self.cpu_nanos = cpu_nanos(self.tid);
        }
        if self.measurements.is_multiple_of(MEASUREMENTS_PER_RUN_QUEUE_READ) {
            self.new_wait_nanos();
        }
    }

    /// Records a pause if the watchdog, which planned to sleep for
    /// `planned_sleep_nanos` since the last measurement, was delayed by more
    /// than two ticks, and neither ran nor waited for a CPU in that time.
    ///
    /// When the pause began is not known, so each poll in that time may have
    /// been paused for all of it. A wait for a CPU is not a pause: the workers'
    /// own CPU times show which of them waited too.
    pub(crate) fn measure_sleep(&mut self, planned_sleep_nanos: u64, clock: &Clock) {
        let Some(delay) = self.measure(planned_sleep_nanos, clock) else { return };
        let Range { start, end } = delay.within;
        let is_long = end - start > self.allowed(planned_sleep_nanos);
        if is_long && delay.waited > self.tick_nanos {
            let within = end.saturating_sub(delay.waited).max(start)..end;
            note(&mut self.waits, Delay { within, nanos: delay.waited });
        }
        let paused = (end - start).saturating_sub(delay.ran + delay.waited);
        if paused > self.allowed(planned_sleep_nanos) {
            note(&mut self.pauses, Delay { within: delay.within, nanos: paused });
        }
    }

    /// Records a wait if the watchdog was delayed by more than two ticks since
    /// the last measurement, in which it did not sleep. A delay in the middle
    /// of a pass is no pause: on a machine without a free CPU, the watchdog may
    /// have waited for a lock that another thread keeps until it runs again, or
    /// in the kernel for a `fork` or for a page from disk.
    pub(crate) fn measure_pass(&mut self, clock: &Clock) {
        let Some(delay) = self.measure(0, clock) else { return };
        let elapsed = delay.within.end - delay.within.start;
        let waited = elapsed.saturating_sub(delay.ran);
        if elapsed > self.allowed(0) && waited > self.tick_nanos {
            note(&mut self.waits, Delay { within: delay.within, nanos: waited });
        }
    }

    /// Returns the time since the last measurement if the watchdog was late.
    /// Notes the delay if nothing explains it.
    fn measure(&mut self, planned_sleep_nanos: u64, clock: &Clock) -> Option<Measured> {
        let now = clock.ticks();
        let elapsed = clock.nanos(std::mem::replace(&mut self.at, now), now);
        self.measurements = self.measurements.wrapping_add(1);
        let is_early = elapsed <= planned_sleep_nanos.saturating_add(self.tick_nanos / 16);
        if is_early && !self.measurements.is_multiple_of(MEASUREMENTS_PER_CPU_READ) {
            return None;
        }
        let cpu = cpu_nanos(self.tid);
        let ran = cpu.saturating_sub(std::mem::replace(&mut self.cpu_nanos, cpu));
        let is_on_time = elapsed <= planned_sleep_nanos.saturating_add(ran + self.tick_nanos / 16);
        if is_on_time && !self.measurements.is_multiple_of(MEASUREMENTS_PER_RUN_QUEUE_READ) {
            return None;
        }
        let waited = self.new_wait_nanos();
        let end = clock.since_start(now);
        let within = end.saturating_sub(elapsed)..end;
        // Where the waits for a CPU are not known, one of them may explain it.
        let explained = planned_sleep_nanos.saturating_add(ran).saturating_add(waited.unwrap_or(u64::MAX));
        let unexplained = elapsed.saturating_sub(explained);
        if unexplained > self.tick_nanos / UNEXPLAINED_DIVISOR {
            note(&mut self.unexplained, Delay { within: within.clone(), nanos: unexplained });
        }
        Some(Measured { within, ran, waited: waited.unwrap_or(0).min(elapsed) })
    }

    /// Returns for how long the watchdog has waited for a CPU since the latest
    /// reading; `None` if it cannot be read.
    fn new_wait_nanos(&mut self) -> Option<u64> {
        #[cfg(stack_capture)]
        let run_queue = self.proc_reader.run_queue_nanos()?;
        #[cfg(not(stack_capture))]
        let run_queue = os::run_queue_nanos(self.tid)?;
        Some(run_queue.saturating_sub(std::mem::replace(&mut self.run_queue_nanos, run_queue)))
    }

    fn allowed(&self, planned_sleep_nanos: u64) -> u64 {
        planned_sleep_nanos.saturating_add(self.tick_nanos.saturating_mul(2))
    }

    /// Returns how much of the time from `start` to `end` was in pauses, in
    /// nanoseconds.
    pub(crate) fn within(&self, start: Ticks, end: Ticks, clock: &Clock) -> u64 {
        overlap(&self.pauses, clock.since_start(start)..clock.since_start(end))
    }

    /// Returns for how much of the time from `start` to `end` the watchdog was
    /// late without an explanation, in nanoseconds. Pauses are included.
    pub(crate) fn unexplained_within(&self, start: Ticks, end: Ticks, clock: &Clock) -> u64 {
        overlap(&self.unexplained, clock.since_start(start)..clock.since_start(end))
    }

    /// Returns for how much of the time from `start` to `end` the watchdog did
    /// not look, in nanoseconds. Short waits are not included.
    pub(crate) fn waited_within(&self, start: Ticks, end: Ticks, clock: &Clock) -> u64 {
        overlap(&self.waits, clock.since_start(start)..clock.since_start(end))
    }
}

fn note(delays: &mut VecDeque<Delay>, delay: Delay) {
    if delays.len() >= MAX_DELAYS {
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
    fn a_delay_in_the_middle_of_a_pass_is_a_wait_and_no_pause() {
        let clock = Clock::new();
        let tid = os::current_thread().map_or(0, |thread| thread.tid);
        let mut pauses = ProcessPauses::new(tid, 1_000, &clock);
        let begin = clock.ticks();
        assert!(pauses.waited_within(0, begin, &clock) > 0, "it has not looked before");
        thread::sleep(Duration::from_millis(5));
        pauses.measure_pass(&clock);
        let now = clock.ticks();
        assert_eq!(pauses.within(begin, now, &clock), 0);
        let waited = pauses.waited_within(begin, now, &clock);
        assert!(waited >= 3_000_000, "{waited}");
        thread::sleep(Duration::from_millis(5));
        pauses.measure_sleep(1_000_000, &clock);
        let paused = pauses.within(begin, clock.ticks(), &clock);
        assert!(paused >= 3_000_000, "{paused}");
        let begin = clock.ticks();
        thread::sleep(Duration::from_millis(5));
        pauses.skip(&clock);
        let now = clock.ticks();
        assert_eq!(pauses.within(begin, now, &clock), 0);
        assert!(pauses.waited_within(begin, now, &clock) >= 3_000_000);
    }

    #[test]
    fn a_delay_that_nothing_explains_is_noted_although_it_is_no_pause() {
        let tid = os::current_thread().map_or(0, |thread| thread.tid);
        let is_noted = |tick: Duration, elapsed: Duration, planned: Duration, run: Duration| {
            let (clock, time) = Clock::mock();
            let mut pauses = ProcessPauses::new(tid, tick.as_nanos() as u64, &clock);
            let begin = clock.ticks();
            let ran = cpu_nanos(tid);
            while cpu_nanos(tid) - ran < run.as_nanos() as u64 {}
            time.increment(elapsed);
            pauses.measure_sleep(planned.as_nanos() as u64, &clock);
            let end = clock.ticks();
            assert_eq!(pauses.within(begin, end, &clock), 0);
            pauses.unexplained_within(begin, end, &clock) > 0
        };
        // The thread may really wait for a CPU, for less than these times.
        let (tick, none) = (Duration::from_secs(1_000), Duration::ZERO);
        assert!(!is_noted(tick, Duration::from_secs(1_200), tick, none));
        assert!(is_noted(tick, Duration::from_secs(1_300), tick, none));
        assert!(is_noted(tick, Duration::from_secs(300), none, none));
        let (tick, run) = (Duration::from_secs(1), Duration::from_millis(100));
        assert!(!is_noted(tick, Duration::from_millis(300), none, run), "it has run");
    }
}
