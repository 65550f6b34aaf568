//! Finds the holder of a lock that a stalled poll waits for.

use crate::watchdog::worker_monitor::{WorkerMonitor, current_inspector};

impl WorkerMonitor {
    /// Returns the lock that a stalled poll waits for, once per poll.
    pub(crate) fn take_awaited_lock(&mut self) -> Option<u64> {
        let tracked = self.tracked.as_mut().filter(|tracked| !tracked.has_searched_holder)?;
        let lock = tracked.captures.iter().find_map(|capture| capture.call.as_ref()?.lock)?;
        tracked.has_searched_holder = true;
        Some(lock)
    }

    /// Returns whether the worker is in a poll and seems to hold a lock.
    pub(crate) fn seems_to_hold(&mut self, lock: u64) -> bool {
        let is_polling = self.worker.active().is_some();
        is_polling
            && current_inspector(&mut self.inspector, &self.worker)
                .is_some_and(|inspector| inspector.seems_to_hold(lock))
    }

    /// Records the worker that seems to hold the lock that this one waits for.
    pub(crate) fn set_holder(&mut self, lock: u64, holder: usize) {
        let Some(tracked) = &mut self.tracked else { return };
        // The next pass reports the stall again: its holder can be described
        // only while the holder's own stall is in progress.
        tracked.reported_milestone = None;
        let captures = tracked.captures.iter_mut();
        for call in
            captures.filter_map(|capture| capture.call.as_mut()).filter(|call| call.lock == Some(lock))
        {
            call.holder = Some(holder);
        }
    }
}
