//! Whether a stalled worker held the driver of its runtime.
//!
//! In each multi-thread runtime, at most one worker waits in the driver, which
//! waits for I/O and timers in `epoll_wait`. All other parked workers wait on a
//! condition variable. If the worker in the driver wakes with a single task, it
//! polls the task and wakes no other worker. Until that poll ends, nothing
//! drives I/O and timers.

use crate::watchdog::park_places::ParkPlaces;
use crate::watchdog::process_clock::ProcessClock;
use crate::watchdog::sample::ParkPlace;
use crate::watchdog::worker_monitor::WorkerMonitor;
use crate::watchdog::worker_monitor::driver_check::DriverHold;

/// What a worker does for the driver of its runtime.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DriverRole {
    /// The worker waits in the driver.
    InDriver,
    /// The worker polls tasks. It runs the driver soon, between two polls or
    /// when it parks.
    Polling,
    /// The worker does not run the driver: it is parked outside of the driver,
    /// or it is in a long poll.
    Away,
    Unknown,
}

impl WorkerMonitor {
    /// Returns whether a poll is tracked.
    pub(crate) fn is_in_tracked_poll(&self) -> bool {
        self.tracked.is_some()
    }

    /// Returns whether the tracked poll is due for a check, and schedules the
    /// next one if so.
    pub(crate) fn take_driver_check(&mut self, clock: &ProcessClock) -> bool {
        let is_worker = self.is_runtime_worker();
        let Some(tracked) = self.tracked.as_mut().filter(|_| is_worker) else { return false };
        tracked.driver.take_due(clock.wall_since(tracked.poll.start))
    }

    /// Records whether the tracked poll holds the driver.
    pub(crate) fn set_driver_hold(&mut self, hold: Option<DriverHold>) {
        if let Some(tracked) = &mut self.tracked {
            tracked.driver.set_hold(hold);
        }
    }

    /// Returns how often the other workers had unparked when the last check
    /// found that the tracked poll holds the driver.
    pub(crate) fn other_unparks_at_check(&self) -> Option<u64> {
        self.tracked.as_ref()?.driver.other_unparks()
    }

    pub(crate) fn unparks(&self) -> u64 {
        self.worker.counters.unparks.get()
    }

    /// Returns whether the tracked poll holds the driver, as far as is known.
    pub(crate) fn holds_driver(&self) -> bool {
        self.tracked.as_ref().is_some_and(|tracked| tracked.driver.held().is_some())
    }

    /// Returns whether the worker is in a poll of at least `long_nanos`.
    pub(crate) fn is_in_long_poll(&self, clock: &ProcessClock, long_nanos: u64) -> bool {
        self.worker.active().is_some_and(|poll| clock.wall_since(poll.start) >= long_nanos)
    }

    /// Returns what the worker does for the driver. A poll of at least
    /// `long_nanos` keeps the worker away from it.
    pub(crate) fn driver_role(
        &self,
        clock: &ProcessClock,
        long_nanos: u64,
        places: &mut ParkPlaces,
    ) -> DriverRole {
        if !self.is_parked() {
            let is_away = self.is_in_long_poll(clock, long_nanos);
            return if is_away { DriverRole::Away } else { DriverRole::Polling };
        }
        let Some(thread) = self.worker.thread() else { return DriverRole::Away };
        match places.of(thread) {
            ParkPlace::Driver => DriverRole::InDriver,
            ParkPlace::Condvar => DriverRole::Away,
            ParkPlace::Nowhere => DriverRole::Polling,
            ParkPlace::Unknown => DriverRole::Unknown,
        }
    }
}
