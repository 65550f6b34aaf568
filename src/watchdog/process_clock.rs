//! Time between two readings of the recorder's clock, with or without the time
//! in which the whole process did not run.

use std::time::Duration;

use crate::record::clock::{Clock, Ticks};
use crate::watchdog::inspector::Inspector;
use crate::watchdog::process_pause::ProcessPauses;
use crate::watchdog::sample::ThreadSample;

/// The recorder's clock, together with the pauses of the process.
///
/// All results are in nanoseconds.
#[derive(Debug)]
pub(crate) struct ProcessClock {
    clock: Clock,
    pauses: ProcessPauses,
}

impl ProcessClock {
    /// `tid` is the watchdog's thread, which sleeps for `tick_nanos` or longer
    /// between two passes.
    pub(crate) fn new(clock: Clock, tid: i32, tick_nanos: u64) -> Self {
        let pauses = ProcessPauses::new(tid, tick_nanos, &clock);
        Self { clock, pauses }
    }

    /// Returns the time from `start` to `end`, without the pauses of the
    /// process.
    pub(crate) fn elapsed(&self, start: Ticks, end: Ticks) -> u64 {
        self.wall(start, end).saturating_sub(self.paused(start, end))
    }

    /// Returns the part of the time from `start` to `end` in which the process
    /// did not run.
    pub(crate) fn paused(&self, start: Ticks, end: Ticks) -> u64 {
        self.pauses.within(start, end, &self.clock)
    }

    /// Returns the part of the time from `start` to `end` in which the watchdog
    /// did not look: it waited long for a CPU or for another thread, slept, or
    /// was late for no known reason.
    pub(crate) fn watchdog_waited(&self, start: Ticks, end: Ticks) -> u64 {
        let unexplained = self.pauses.unexplained_within(start, end, &self.clock);
        // A delay in the middle of a pass is of both kinds.
        let waited = self.pauses.waited_within(start, end, &self.clock);
        waited.max(unexplained.saturating_sub(self.paused(start, end)))
    }

    /// Returns whether the process paused from `start` to `end`, or a delay of
    /// the watchdog has no explanation. Other threads may have had such a delay
    /// too.
    pub(crate) fn is_disturbed(&self, start: Ticks, end: Ticks) -> bool {
        self.paused(start, end) > 0 || self.pauses.unexplained_within(start, end, &self.clock) > 0
    }

    /// Returns the time from `start` to `end`, with the pauses of the process.
    pub(crate) fn wall(&self, start: Ticks, end: Ticks) -> u64 {
        self.clock.nanos(start, end)
    }

    /// Returns the time from `start` to now, with the pauses of the process.
    pub(crate) fn wall_since(&self, start: Ticks) -> u64 {
        self.wall(start, self.clock.ticks())
    }

    /// Samples a thread, then measures whether the watchdog was delayed before
    /// or during the sample.
    pub(crate) fn sample(&mut self, inspector: &mut Inspector) -> Option<ThreadSample> {
        let sample = inspector.sample(&self.clock)?;
        self.measure_pass();
        Some(sample)
    }

    /// Measures whether the watchdog was delayed in this pass.
    pub(crate) fn measure_pass(&mut self) {
        self.pauses.measure_pass(&self.clock);
    }

    /// Measures whether the process paused since the last measurement, in which
    /// the watchdog did nothing but sleep. It planned to sleep for `planned`.
    pub(crate) fn measure_sleep(&mut self, planned: Duration) {
        self.pauses.measure_sleep(planned.as_nanos() as u64, &self.clock);
    }

    /// Starts the next measurement now: the watchdog slept without a planned
    /// end.
    pub(crate) fn skip(&mut self) {
        self.pauses.skip(&self.clock);
    }
}
