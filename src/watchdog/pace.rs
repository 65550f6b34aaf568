//! When the watchdog makes the next pass, and when it sleeps until a worker
//! wakes it.

use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::{Duration, Instant};

#[cfg(stack_capture)]
use crate::watchdog::proc_files;
use crate::watchdog::worker_monitor::WorkerMonitor;
use crate::watchdog::{LAG_PROBE_INTERVAL, WatchdogLoop};

/// A sleep is ended after this time if files of `/proc` of other threads are
/// open, so that they are closed in the next one. The watchdog needs its own
/// one after each sleep.
#[cfg(stack_capture)]
const CLOSE_FILES_AFTER: Duration = Duration::from_secs(1);

/// While recording is paused, the watchdog makes a pass after this time, which
/// frees the records of threads that have ended.
const LONGEST_PAUSED_SLEEP: Duration = Duration::from_secs(10);

impl WatchdogLoop<'_> {
    /// Returns whether the watchdog may sleep until a worker wakes it, if the
    /// workers still rest then.
    pub(super) fn may_sleep(&self) -> bool {
        self.rest.may_sleep(Instant::now())
            && self.unsettled_polls == 0
            && !self.has_woken_canaries
            && !self.driver_watch.is_reporting()
            && self.monitors.iter().all(WorkerMonitor::is_at_rest)
    }

    pub(super) fn sleep_until_woken(&mut self, stop: &AtomicBool) {
        self.keep_up(Instant::now());
        // A thread that is not parked executes no fence at its next poll.
        let has_unparked_threads = !self.monitors.iter().all(WorkerMonitor::is_parked);
        let limit = self.sleep_limit();
        self.recorder.idle_park.sleep_while_idle(has_unparked_threads, limit, || {
            let is_idle = |monitor: &WorkerMonitor| {
                (has_unparked_threads || monitor.is_parked()) && monitor.is_at_rest()
            };
            !stop.load(Relaxed)
                && !self.outbox.is_pass_requested()
                && self.generation == Some(self.recorder.generation())
                && self.monitors.iter().all(is_idle)
        });
        #[cfg(stack_capture)]
        if limit == Some(CLOSE_FILES_AFTER) && self.monitors.iter().all(WorkerMonitor::is_at_rest) {
            proc_files::close_all_besides(self.tid);
            proc_files::take_spare();
        }
        self.has_slept = true;
        self.rest.end_sleep(self.longest_interval(), Instant::now());
        self.process_clock.skip();
    }

    /// Sleeps until recording is resumed, a flush asks for a pass, or the scope
    /// ends. Each of them unparks the thread, and no worker does. Returns at
    /// once while something that was recorded earlier is not reported.
    pub(super) fn sleep_while_paused(&mut self, stop: &AtomicBool) {
        if self.unsettled_polls > 0 || self.monitors.iter().any(WorkerMonitor::has_news) {
            return;
        }
        self.keep_up(Instant::now());
        #[cfg(stack_capture)]
        proc_files::close_all_besides(self.tid);
        #[cfg(stack_capture)]
        proc_files::take_spare();
        let may_sleep =
            || self.recorder.level.is_paused() && !stop.load(Relaxed) && !self.outbox.is_pass_requested();
        let deadline = Instant::now() + LONGEST_PAUSED_SLEEP;
        while may_sleep()
            && let Some(left) = deadline.checked_duration_since(Instant::now())
        {
            thread::park_timeout(left);
        }
        self.process_clock.skip();
    }

    /// Returns the longest time to sleep, if it is limited.
    fn sleep_limit(&self) -> Option<Duration> {
        if self.recorder.lag_probes.has_canaries() {
            return Some(self.time_to_lag_probe());
        }
        #[cfg(stack_capture)]
        if proc_files::has_files_besides(self.tid) {
            return Some(CLOSE_FILES_AFTER);
        }
        None
    }

    fn time_to_lag_probe(&self) -> Duration {
        LAG_PROBE_INTERVAL.saturating_sub(self.lag_probes_woken_at.elapsed())
    }

    /// Returns the time to sleep until the next pass.
    ///
    /// A poll that is still in progress is sampled, including its thread's CPU
    /// times, before it reaches half the threshold, and then in each quarter of
    /// the threshold, or when its own time can first reach the age of the next
    /// capture. While all polls are short, two passes per threshold are enough,
    /// or one while the workers are calm. The poll that has woken the watchdog
    /// is sampled early at no cost.
    pub(super) fn time_to_next_pass(&self) -> Duration {
        let threshold = self.recorder.threshold_nanos;
        let has_run = self.monitors.iter().any(|monitor| monitor.follows_run(&self.process_clock, threshold));
        let ages =
            self.monitors.iter().filter_map(|monitor| monitor.tracked_poll_age_nanos(&self.process_clock));
        let sleep = match ages.max() {
            _ if has_run => self.tick,
            Some(oldest) => (self.tick * 2).saturating_sub(Duration::from_nanos(oldest)).max(self.tick),
            None if self.is_calm() && !self.has_slept => self.longest_interval(),
            None => self.tick * 2,
        };
        let to_capture = self.monitors.iter().filter_map(WorkerMonitor::nanos_to_capture).min();
        let to_capture = to_capture.map(|nanos| Duration::from_nanos(nanos).max(self.tick / 8));
        let sleep = to_capture.map_or(sleep, |nanos| sleep.min(nanos));
        if self.recorder.lag_probes.has_canaries() { sleep.min(self.time_to_lag_probe()) } else { sleep }
    }

    /// Returns whether one pass per threshold is enough: the workers use little
    /// CPU time. A poll that begins directly after such a pass is sampled late,
    /// but the growth of the CPU times until then is almost all its own.
    /// Workers that report short waits fill their rings faster.
    fn is_calm(&self) -> bool {
        self.rest.is_settled(Instant::now())
            && !self.driver_watch.is_reporting()
            && self.monitors.iter().all(WorkerMonitor::is_calm)
    }

    /// Returns the time between two passes while the workers are calm. Without
    /// hooks for polls, a poll in progress may be many polls, and two passes
    /// must see it before it is long. The time of a poll that has read no clock
    /// counts from the first pass that finds it.
    fn longest_interval(&self) -> Duration {
        self.tick * if cfg!(tokio_unstable) && self.recorder.level.is_full() { 4 } else { 2 }
    }
}
