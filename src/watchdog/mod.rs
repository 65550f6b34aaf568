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
mod pace;
mod park_places;
mod pressure;
#[cfg(stack_capture)]
mod proc_files;
mod process_clock;
mod process_pause;
#[cfg(stack_capture)]
pub(crate) mod procfs;
mod rest;
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
use crate::watchdog::rest::Rest;
use crate::watchdog::worker_monitor::{MonitorContext, WorkerMonitor};

/// The burst size of the capture budget, in seconds of its refill rate.
const CAPTURE_BURST_SECONDS: u32 = 10;
/// The time between two wakes of the canaries.
const LAG_PROBE_INTERVAL: Duration = Duration::from_millis(100);
/// The time between two passes that also do what can wait: see
/// [`WatchdogLoop::keep_up`].
const UPKEEP_INTERVAL: Duration = Duration::from_millis(100);

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
    /// The watchdog's thread.
    #[cfg(stack_capture)]
    tid: i32,
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
    kept_up_at: Instant,
    lag_probes_woken_at: Instant,
    /// Whether the latest pass has woken canaries: the next one looks at their
    /// polls.
    has_woken_canaries: bool,
    rest: Rest,
    /// Whether no pass was made since the latest sleep.
    has_slept: bool,
    /// The number of passes so far.
    passes: usize,
    /// How many flushes have begun, and when a pass has found the latest one.
    flushes: u64,
    flush_found_at: Ticks,
    /// How many polls the latest pass has found unsettled.
    unsettled_polls: u64,
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
            #[cfg(stack_capture)]
            tid,
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
            kept_up_at: Instant::now(),
            lag_probes_woken_at: Instant::now(),
            has_woken_canaries: false,
            rest: Rest::new(Instant::now()),
            has_slept: false,
            passes: 0,
            flushes: 0,
            flush_found_at: recorder.clock.ticks(),
            unsettled_polls: 0,
            is_settled: true,
        }
    }

    fn run(&mut self, stop: &AtomicBool) {
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
            if self.recorder.level.is_paused() {
                self.sleep_while_paused(stop);
            } else if self.may_sleep() {
                self.sleep_until_woken(stop);
            }
        }
        // Report what has ended since the last pass.
        self.sample_workers();
        self.keep_up(Instant::now());
    }

    /// Makes one pass over all workers.
    fn sample_workers(&mut self) {
        self.has_slept = false;
        let flushes = self.outbox.begin_pass();
        let is_flushed = std::mem::replace(&mut self.flushes, flushes) != flushes;
        if is_flushed {
            self.flush_found_at = self.recorder.clock.ticks();
        }
        let generation = self.recorder.generation();
        if self.generation != Some(generation) {
            self.generation = Some(generation);
            self.rest.note_change(Instant::now());
            for worker in self.recorder.workers_added_after(self.last_worker) {
                self.last_worker = worker.number;
                self.monitors.push(WorkerMonitor::new(worker.number, worker, self.recorder.threshold_nanos));
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
        let now = Instant::now();
        let threshold = self.recorder.threshold_nanos;
        self.driver_watch.check(&mut self.monitors, &self.process_clock, threshold, now);
        let blocked = self.monitors.iter().filter(|monitor| monitor.is_blocked(threshold));
        let runtimes = blocked.map(|monitor| (&**monitor.runtime(), monitor.holds_driver()));
        self.pressure.update(runtimes, threshold, self.recorder, self.self_metrics);
        self.rest.add_pass(self.monitors.iter().any(WorkerMonitor::has_polled), now);
        self.has_woken_canaries = false;
        if now.duration_since(self.lag_probes_woken_at) >= LAG_PROBE_INTERVAL {
            self.lag_probes_woken_at = now;
            self.has_woken_canaries = self.recorder.lag_probes.has_canaries();
            self.recorder.lag_probes.wake_canaries(self.recorder.clock.ticks());
        }
        if is_flushed || now.duration_since(self.kept_up_at) >= UPKEEP_INTERVAL {
            self.keep_up(now);
        }
        let is_unsettled =
            |monitor: &&WorkerMonitor, before| monitor.is_unsettled(before, &self.process_clock);
        let unsettled =
            |before| self.monitors.iter().filter(|monitor| is_unsettled(monitor, before)).count() as u64;
        self.unsettled_polls = unsettled(Ticks::MAX);
        self.self_metrics.set_unsettled_polls(self.unsettled_polls);
        self.is_settled = unsettled(self.flush_found_at) == 0;
        self.outbox.end_pass(self.is_settled);
    }

    /// Does what need not be done in each pass, but before each sleep. A pass
    /// runs with cold caches, so that its cost is the amount of code and memory
    /// that it touches.
    fn keep_up(&mut self, now: Instant) {
        self.kept_up_at = now;
        let lost_events = self.recorder.lost_events();
        self.self_metrics.count_dropped(DropReason::RingFull, lost_events - self.lost_events);
        self.lost_events = lost_events;
        for hook in self.hook_audit.audit(self.recorder, now) {
            self.outbox.send(Message::Replaced(hook), self.self_metrics);
        }
        #[cfg(stack_capture)]
        self.note_signal();
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
