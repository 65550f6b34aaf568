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
    /// itself waited long for a CPU.
    pub(crate) fn watchdog_waited(&self, start: Ticks, end: Ticks) -> u64 {
        self.pauses.waited_within(start, end, &self.clock)
    }

    /// Returns the time from `start` to `end`, with the pauses of the process.
    pub(crate) fn wall(&self, start: Ticks, end: Ticks) -> u64 {
        self.clock.nanos(start, end)
    }

    /// Returns the time from `start` to now, with the pauses of the process.
    pub(crate) fn wall_since(&self, start: Ticks) -> u64 {
        self.wall(start, self.clock.ticks())
    }

    /// Samples a thread, then measures whether the process paused before or
    /// during the sample. [`Self::elapsed`] therefore leaves this pause out of
    /// a time that ends at the sample.
    pub(crate) fn sample(&mut self, inspector: &mut Inspector) -> Option<ThreadSample> {
        let sample = inspector.sample(&self.clock)?;
        self.measure_pause();
        Some(sample)
    }

    /// Measures whether the process paused since the last measurement. The
    /// watchdog did not sleep in that time.
    pub(crate) fn measure_pause(&mut self) {
        self.pauses.measure(0, &self.clock);
    }

    /// Measures whether the process paused since the last measurement. The
    /// watchdog planned to sleep for `planned` in that time.
    pub(crate) fn measure_pause_after_sleep(&mut self, planned: Duration) {
        self.pauses.measure(planned.as_nanos() as u64, &self.clock);
    }

    /// The watchdog is about to read the memory of the process.
    pub(crate) fn begin_capture(&mut self) {
        self.pauses.begin_capture();
    }

    /// Starts the next measurement now: the watchdog read the memory of the
    /// process, and may have waited for it.
    pub(crate) fn end_capture(&mut self) {
        self.pauses.end_capture(&self.clock);
    }

    /// Starts the next measurement now: the watchdog slept without a planned
    /// end.
    pub(crate) fn skip(&mut self) {
        self.pauses.skip(&self.clock);
    }
}
