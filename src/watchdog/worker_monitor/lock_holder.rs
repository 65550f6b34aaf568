//! Finds the holder of a lock that a stalled poll waits for.

use crate::evidence::LockHolders;
use crate::watchdog::process_clock::ProcessClock;
use crate::watchdog::worker_monitor::{WorkerMonitor, current_inspector};

/// If no thread seems to hold a lock for which a poll has waited for this long,
/// the finding says so. Earlier, the holder may only have run at the search.
const MIN_WAIT_WITHOUT_HOLDER_NANOS: u64 = 500_000_000;

/// A thread outside of polls is searched again until this many searches in
/// succession have found it alone.
const MIN_SEARCHES_WITH_THREAD: u32 = 3;

/// The poll's age grows by this part until the next search.
const AGES_BETWEEN_SEARCHES_DIVISOR: u64 = 4;

impl WorkerMonitor {
    /// Returns the lock that a stalled poll waits for, at its first capture and
    /// then at growing ages, until its holder is found.
    pub(crate) fn take_awaited_lock(&mut self, clock: &ProcessClock) -> Option<u64> {
        let age = self.tracked_poll_age_nanos(clock)?;
        let tracked = self.tracked.as_mut().filter(|tracked| !tracked.has_holder)?;
        let lock = tracked.captures.iter().rev().find_map(|capture| capture.call.as_ref()?.lock)?;
        if age < tracked.next_search_nanos {
            return None;
        }
        tracked.next_search_nanos = age + age / AGES_BETWEEN_SEARCHES_DIVISOR;
        Some(lock)
    }

    /// Returns the id of the worker's thread while it is in a poll.
    pub(crate) fn polling_thread(&self) -> Option<i32> {
        self.worker.active().and_then(|_| self.worker.thread()).map(|thread| thread.tid)
    }

    /// Returns which of these locks the thread seems to hold; `None` if its
    /// stack cannot be read.
    pub(crate) fn seems_to_hold(&mut self, locks: &[u64]) -> Option<Vec<bool>> {
        current_inspector(&mut self.inspector, &self.worker)?.seems_to_hold(locks)
    }

    /// Records the threads that seem to hold the lock that this worker waits
    /// for.
    pub(crate) fn set_holders(&mut self, lock: u64, holders: &LockHolders) {
        let Some(tracked) = &mut self.tracked else { return };
        let is_long = tracked.next_search_nanos >= MIN_WAIT_WITHOUT_HOLDER_NANOS;
        let is_held_by_none =
            holders.has_read_all && holders.workers.is_empty() && holders.threads.is_empty();
        if is_held_by_none && !is_long {
            return;
        }
        let is_single = holders.is_single();
        // A thread may have the address on its stack from earlier work.
        let is_thread = is_single && holders.workers.is_empty();
        tracked.searches_with_thread = if is_thread { tracked.searches_with_thread + 1 } else { 0 };
        tracked.has_holder = is_held_by_none
            || is_single && (!is_thread || tracked.searches_with_thread >= MIN_SEARCHES_WITH_THREAD);
        // The next pass reports the stall again: its holder can be described
        // only while the holder's own stall is in progress.
        tracked.is_report_due |= is_single || is_held_by_none;
        let calls = tracked.captures.iter_mut().filter_map(|capture| capture.call.as_mut());
        for call in calls.filter(|call| call.lock == Some(lock)) {
            call.holders = Some(holders.clone());
        }
    }
}
