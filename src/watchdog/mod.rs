//! The watchdog thread. In each pass it reads the slots of all workers, and it
//! samples a worker's thread once that thread's poll has lasted for some time.
//! It collects evidence; the diagnosis is elsewhere.

#[cfg(stack_capture)]
pub(crate) mod call_info;
mod driver_watch;
mod hook_audit;
#[cfg(stack_capture)]
mod inspector;
#[cfg(not(stack_capture))]
#[path = "inspector_none.rs"]
mod inspector;
#[cfg(stack_capture)]
mod last_sleep;
#[cfg(stack_capture)]
mod lock_search;
#[cfg(not(tokio_unstable))]
mod no_progress;
mod park_places;
mod pressure;
#[cfg(stack_capture)]
mod proc_files;
mod process_clock;
mod process_pause;
#[cfg(stack_capture)]
pub(crate) mod procfs;
#[cfg(stack_capture)]
mod restart;
pub(crate) mod sample;
#[cfg(stack_capture)]
pub(crate) mod stack_capture;
#[cfg(stack_capture)]
pub(crate) mod syscalls;
mod task_run;
mod time_split;
mod worker_monitor;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};
use std::{io, panic, thread};

#[cfg(stack_capture)]
use crate::capture::signal_choice::{self, SignalChange};
use crate::evidence::Message;
use crate::fork::WritingReport;
use crate::os;
use crate::outbox::{Outbox, SendingEnd};
use crate::owned_thread::OwnedThread;
use crate::process::Process;
use crate::record::clock::Ticks;
use crate::record::recorder::Recorder;
use crate::self_metrics::{DropReason, SelfMetrics};
use crate::settings::{Settings, Signals};
use crate::token_bucket::TokenBucket;
use crate::watchdog::driver_watch::DriverWatch;
use crate::watchdog::hook_audit::HookAudit;
use crate::watchdog::inspector::Unwinder;
#[cfg(stack_capture)]
use crate::watchdog::lock_search::LockSearch;
use crate::watchdog::pressure::Pressure;
use crate::watchdog::process_clock::ProcessClock;
use crate::watchdog::worker_monitor::{MonitorContext, WorkerMonitor};

/// The burst size of the capture budget, in seconds of its refill rate.
const CAPTURE_BURST_SECONDS: u32 = 10;
/// All workers must be idle for this time before the watchdog sleeps until one
/// of them wakes it.
const SLEEP_AFTER_IDLE: Duration = Duration::from_secs(1);
/// The time between two wakes of the canaries.
const LAG_PROBE_INTERVAL: Duration = Duration::from_millis(100);

/// The settings that the watchdog uses.
#[derive(Debug, Clone, Copy)]
pub(crate) struct WatchdogConfig {
    signals: Signals,
    captures_per_second: u32,
}

impl From<&Settings> for WatchdogConfig {
    fn from(settings: &Settings) -> Self {
        Self { signals: settings.signals, captures_per_second: settings.captures_per_second }
    }
}

/// The running watchdog. Dropping it stops its thread and waits for its end.
#[derive(Debug)]
pub(crate) struct Watchdog {
    stop: Arc<AtomicBool>,
    thread: OwnedThread,
}

impl Watchdog {
    pub(crate) fn start(
        recorder: Arc<Recorder>,
        self_metrics: Arc<SelfMetrics>,
        outbox: SendingEnd,
        config: WatchdogConfig,
    ) -> io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        #[cfg(stack_capture)]
        proc_files::take_spare();
        let unwinder = Unwinder::new(Process::Own);
        let thread = OwnedThread::spawn("loopscope-watch", move || {
            let run =
                || WatchdogLoop::new(&recorder, &self_metrics, &outbox.0, config, unwinder).run(&stopped);
            // The state after a panic is unknown, so no pass follows.
            if panic::catch_unwind(AssertUnwindSafe(run)).is_err() {
                let _writing = WritingReport::begin();
                tracing::error!(
                    target: "loopscope",
                    "an internal error has ended the watchdog: it finds no more stalls in this process"
                );
            }
        })?;
        Ok(Self { stop, thread })
    }

    /// Ends the present sleep of the thread.
    pub(crate) fn wake(&self) {
        self.thread.unpark();
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        self.thread.unpark();
    }
}

/// The state of the watchdog's thread.
struct WatchdogLoop<'r> {
    recorder: &'r Recorder,
    self_metrics: &'r SelfMetrics,
    outbox: &'r Outbox,
    signals: Signals,
    unwinder: Unwinder,
    #[cfg(stack_capture)]
    lock_search: LockSearch,
    capture_budget: TokenBucket,
    monitors: Vec<WorkerMonitor>,
    /// The recorder's generation when `monitors` was last updated.
    generation: Option<u64>,
    /// The number of the worker that was added last.
    last_worker: usize,
    /// The shortest sleep between two passes, a quarter of the threshold.
    tick: Duration,
    process_clock: ProcessClock,
    pressure: Pressure,
    /// How many of the recorder's lost events have been counted.
    lost_events: u64,
    hook_audit: HookAudit,
    driver_watch: DriverWatch,
    lag_probes_woken_at: Instant,
    /// The number of passes so far.
    passes: usize,
    /// How many flushes have begun, and when a pass has found the latest one.
    flushes: u64,
    flush_found_at: Ticks,
    /// Whether the latest pass counts for a flush.
    is_settled: bool,
}

impl<'r> WatchdogLoop<'r> {
    /// Must be called on the watchdog's thread: the process clock reads the CPU
    /// times of the calling thread.
    fn new(
        recorder: &'r Recorder,
        self_metrics: &'r SelfMetrics,
        outbox: &'r Outbox,
        config: WatchdogConfig,
        mut unwinder: Unwinder,
    ) -> Self {
        unwinder.list_modules();
        let tid = os::current_thread().map_or(0, |thread| thread.tid);
        self_metrics.tid.store(tid, Relaxed);
        let tick = Duration::from_nanos(recorder.threshold_nanos / 4);
        let burst = config.captures_per_second.saturating_mul(CAPTURE_BURST_SECONDS);
        Self {
            recorder,
            self_metrics,
            outbox,
            signals: config.signals,
            unwinder,
            #[cfg(stack_capture)]
            lock_search: LockSearch::new(),
            capture_budget: TokenBucket::new(burst, f64::from(config.captures_per_second), Instant::now()),
            monitors: Vec::new(),
            generation: None,
            last_worker: 0,
            tick,
            process_clock: ProcessClock::new(recorder.clock.clone(), tid, tick.as_nanos() as u64),
            pressure: Pressure::new(&recorder.clock),
            lost_events: 0,
            hook_audit: HookAudit::new(),
            driver_watch: DriverWatch::new(),
            lag_probes_woken_at: Instant::now(),
            passes: 0,
            flushes: 0,
            flush_found_at: recorder.clock.ticks(),
            is_settled: true,
        }
    }

    fn run(&mut self, stop: &AtomicBool) {
        let mut idle_since = Instant::now();
        while !stop.load(Relaxed) {
            let is_requested = self.outbox.is_pass_requested();
            // An event needs time to arrive.
            let sleep = if is_requested { self.tick / 4 } else { self.time_to_next_pass() };
            self.process_clock.measure_pass();
            if !(is_requested && self.is_settled) {
                thread::park_timeout(sleep);
                self.process_clock.measure_sleep(sleep);
            }
            self.sample_workers();
            if !self.all_idle() {
                idle_since = Instant::now();
            } else if idle_since.elapsed() > SLEEP_AFTER_IDLE && self.recorder.level.is_paused() {
                self.sleep_while_paused(stop);
                idle_since = Instant::now();
            } else if idle_since.elapsed() > SLEEP_AFTER_IDLE {
                // A thread that is not parked executes no fence at its next
                // poll.
                let has_unparked_threads = !self.monitors.iter().all(WorkerMonitor::is_parked);
                #[cfg(stack_capture)]
                proc_files::close_all();
                #[cfg(stack_capture)]
                proc_files::take_spare();
                let limit = self.recorder.lag_probes.has_canaries().then_some(LAG_PROBE_INTERVAL);
                self.recorder.idle_park.sleep_while_idle(has_unparked_threads, limit, || {
                    let is_idle = |monitor: &WorkerMonitor| {
                        monitor.is_parked() || (has_unparked_threads && monitor.is_idle())
                    };
                    !stop.load(Relaxed)
                        && !self.outbox.is_pass_requested()
                        && self.generation == Some(self.recorder.generation())
                        && self.monitors.iter().all(is_idle)
                });
                // Without a limit, a worker has ended the sleep, so the next
                // sleep waits for idle workers again. With a limit, the sleep
                // was interrupted to wake the canaries and goes on.
                if limit.is_none() {
                    idle_since = Instant::now();
                }
                self.process_clock.skip();
            }
        }
        // Report what has ended since the last pass.
        self.sample_workers();
    }

    /// Sleeps until recording is resumed, a flush asks for a pass, or the scope
    /// ends. Each of them unparks the thread. No worker does.
    fn sleep_while_paused(&mut self, stop: &AtomicBool) {
        #[cfg(stack_capture)]
        proc_files::close_all();
        #[cfg(stack_capture)]
        proc_files::take_spare();
        while self.recorder.level.is_paused() && !stop.load(Relaxed) && !self.outbox.is_pass_requested() {
            thread::park();
        }
        self.process_clock.skip();
    }

    /// Returns the time to sleep until the next pass.
    ///
    /// A poll that is still in progress is sampled, including its thread's CPU
    /// times, before it reaches half the threshold, and then in each quarter of
    /// the threshold, or when its own time can first reach the age of the next
    /// capture. While all polls are short, two passes per threshold are enough.
    fn time_to_next_pass(&self) -> Duration {
        let threshold = self.recorder.threshold_nanos;
        let has_run = self.monitors.iter().any(|monitor| monitor.follows_run(&self.process_clock, threshold));
        let ages =
            self.monitors.iter().filter_map(|monitor| monitor.tracked_poll_age_nanos(&self.process_clock));
        let oldest = Duration::from_nanos(ages.max().unwrap_or(0));
        let sleep = if has_run { self.tick } else { (self.tick * 2).saturating_sub(oldest).max(self.tick) };
        let to_capture = self.monitors.iter().filter_map(WorkerMonitor::nanos_to_capture).min();
        let to_capture = to_capture.map(|nanos| Duration::from_nanos(nanos).max(self.tick / 8));
        let sleep = to_capture.map_or(sleep, |nanos| sleep.min(nanos));
        if self.recorder.lag_probes.has_canaries() { sleep.min(LAG_PROBE_INTERVAL) } else { sleep }
    }

    fn all_idle(&self) -> bool {
        self.monitors.iter().all(WorkerMonitor::is_idle)
    }

    /// Makes one pass over all workers.
    fn sample_workers(&mut self) {
        let flushes = self.outbox.begin_pass();
        if std::mem::replace(&mut self.flushes, flushes) != flushes {
            self.flush_found_at = self.recorder.clock.ticks();
        }
        let generation = self.recorder.generation();
        if self.generation != Some(generation) {
            self.generation = Some(generation);
            for worker in self.recorder.workers_added_after(self.last_worker) {
                self.last_worker = worker.number;
                self.monitors.push(WorkerMonitor::new(worker.number, worker));
            }
        }
        self.passes = self.passes.wrapping_add(1);
        let mut context = MonitorContext {
            recorder: self.recorder,
            self_metrics: self.self_metrics,
            unwinder: &mut self.unwinder,
            capture_budget: &mut self.capture_budget,
            outbox: self.outbox,
            signals: self.signals,
            process_clock: &mut self.process_clock,
            pass: self.passes,
            workers: self.monitors.len(),
            position: 0,
        };
        self.monitors.retain_mut(|monitor| {
            let has_ended = monitor.has_ended();
            monitor.sample(&mut context);
            if has_ended {
                monitor.end(&mut context);
            }
            context.position += 1;
            !has_ended
        });
        #[cfg(stack_capture)]
        self.find_lock_holders();
        let threshold = self.recorder.threshold_nanos;
        self.driver_watch.check(&mut self.monitors, &self.process_clock, threshold);
        let blocked = self.monitors.iter().filter(|monitor| monitor.is_blocked(threshold));
        let runtimes = blocked.map(|monitor| (&**monitor.runtime(), monitor.holds_driver()));
        self.pressure.update(runtimes, threshold, self.recorder, self.self_metrics);
        let lost_events = self.recorder.lost_events();
        self.self_metrics.count_dropped(DropReason::RingFull, lost_events - self.lost_events);
        self.lost_events = lost_events;
        if self.lag_probes_woken_at.elapsed() >= LAG_PROBE_INTERVAL {
            self.lag_probes_woken_at = Instant::now();
            self.recorder.lag_probes.wake_canaries(self.recorder.clock.ticks());
        }
        for hook in self.hook_audit.audit(self.recorder) {
            self.outbox.send(Message::Replaced(hook), self.self_metrics);
        }
        #[cfg(stack_capture)]
        self.note_signal();
        let is_unsettled =
            |monitor: &&WorkerMonitor, before| monitor.is_unsettled(before, &self.process_clock);
        let unsettled =
            |before| self.monitors.iter().filter(|monitor| is_unsettled(monitor, before)).count() as u64;
        self.self_metrics.set_unsettled_polls(unsettled(Ticks::MAX));
        self.is_settled = unsettled(self.flush_found_at) == 0;
        self.outbox.end_pass(self.is_settled);
    }

    /// Notes which signal the process uses to copy stacks, and reports a change
    /// of it. One scope of the process reports it.
    #[cfg(stack_capture)]
    fn note_signal(&self) {
        self.self_metrics.set_signal(signal_choice::chosen(), signal_choice::given_up());
        if let Some(SignalChange { given_up, replacement }) = signal_choice::take_unreported() {
            self.outbox.send(Message::SignalTaken { given_up, replacement }, self.self_metrics);
        }
    }

    /// Finds the threads that hold the locks for which stalled polls wait.
    #[cfg(stack_capture)]
    fn find_lock_holders(&mut self) {
        if !self.lock_search.is_due() {
            return;
        }
        let waiters = self.monitors.iter_mut().enumerate();
        let waiters: Vec<_> = waiters
            .filter_map(|(index, monitor)| Some((index, monitor.take_awaited_lock(&self.process_clock)?)))
            .collect();
        if waiters.is_empty() {
            return;
        }
        let mut locks: Vec<_> = waiters.iter().map(|(_, lock)| *lock).collect();
        locks.sort_unstable();
        locks.dedup();
        let in_polls: Vec<_> = self.monitors.iter().filter_map(WorkerMonitor::polling_thread).collect();
        let mut found = self.lock_search.search(&locks, &in_polls, &mut self.unwinder);
        let in_polls = self.monitors.iter_mut().filter(|monitor| monitor.polling_thread().is_some());
        self.lock_search
            .add_workers(&mut found, in_polls, |monitor| (monitor.number(), monitor.seems_to_hold(&locks)));
        for (lock, holders) in locks.into_iter().zip(found) {
            for (waiter, _) in waiters.iter().filter(|(_, awaited)| *awaited == lock) {
                self.monitors[*waiter].set_holders(lock, &holders);
            }
        }
        self.process_clock.measure_pass();
    }
}
