//! The thread that watches: looks at the workers' slots, and at a thread only
//! once its poll has gone on for some time. Writes evidence, judges nothing.

mod hook_audit;
#[cfg(stack_capture)]
mod inspector;
#[cfg(not(stack_capture))]
#[path = "inspector_none.rs"]
mod inspector;
#[cfg(not(tokio_unstable))]
mod no_progress;
pub(crate) mod outbox;
mod pressure;
mod process_pause;
#[cfg(stack_capture)]
mod procfs;
mod sample;
#[cfg(stack_capture)]
mod syscalls;
mod task_run;
mod time_split;
mod worker_monitor;

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::evidence::Message;
use crate::os;
use crate::record::recorder::Recorder;
use crate::self_metrics::{Dropped, SelfMetrics};
use crate::settings::{Settings, Signals};
use crate::token_bucket::TokenBucket;
use crate::watchdog::hook_audit::HookAudit;
use crate::watchdog::inspector::Unwinder;
use crate::watchdog::outbox::Outbox;
use crate::watchdog::pressure::Pressure;
use crate::watchdog::process_pause::ProcessPauses;
use crate::watchdog::worker_monitor::{MonitorContext, WorkerMonitor};

/// A burst may take the captures of so many seconds.
const SECONDS_IN_A_BURST: u32 = 10;
/// How long nothing must run before the watchdog sleeps without a time limit.
const QUIET: Duration = Duration::from_secs(1);
/// How often canaries are woken.
const RING_EVERY: Duration = Duration::from_millis(100);

/// How the watchdog goes about it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct WatchdogConfig {
    signals: Signals,
    captures_per_second: u32,
}

impl WatchdogConfig {
    pub(crate) fn of(settings: &Settings) -> Self {
        Self { signals: settings.signals, captures_per_second: settings.captures_per_second }
    }
}

/// The running watchdog. Stops and joins its thread as it is dropped.
#[derive(Debug)]
pub(crate) struct Watchdog {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Watchdog {
    pub(crate) fn start(
        recorder: Arc<Recorder>,
        self_metrics: Arc<SelfMetrics>,
        outbox: Outbox,
        manner: WatchdogConfig,
    ) -> io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::Builder::new()
            .name("loopscope-watch".to_owned())
            .spawn(move || WatchdogLoop::new(&recorder, &self_metrics, &outbox, manner).run(&stopped))?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // A panic there has been printed by the panic hook already.
            let _ = thread.join();
        }
    }
}

/// The watchdog's own state.
struct WatchdogLoop<'r> {
    recorder: &'r Recorder,
    self_metrics: &'r SelfMetrics,
    outbox: &'r Outbox,
    signals: Signals,
    unwinder: Unwinder,
    captures: TokenBucket,
    monitors: Vec<WorkerMonitor>,
    generation: Option<u64>,
    /// The shortest pause between looks, a quarter of the threshold.
    tick: Duration,
    pauses: ProcessPauses,
    pressure: Pressure,
    lost_events: u64,
    hook_audit: HookAudit,
    rang_at: Instant,
}

impl<'r> WatchdogLoop<'r> {
    fn new(
        recorder: &'r Recorder,
        self_metrics: &'r SelfMetrics,
        outbox: &'r Outbox,
        manner: WatchdogConfig,
    ) -> Self {
        let burst = manner.captures_per_second.saturating_mul(SECONDS_IN_A_BURST);
        Self {
            recorder,
            self_metrics,
            outbox,
            signals: manner.signals,
            unwinder: Unwinder::new(),
            captures: TokenBucket::new(burst, f64::from(manner.captures_per_second), Instant::now()),
            monitors: Vec::new(),
            generation: None,
            tick: Duration::from_nanos(recorder.threshold_nanos / 4),
            pauses: ProcessPauses::new(0, 0, &recorder.clock),
            pressure: Pressure::new(&recorder.clock),
            lost_events: 0,
            hook_audit: HookAudit::new(),
            rang_at: Instant::now(),
        }
    }

    fn run(&mut self, stop: &AtomicBool) {
        let tid = os::current_thread().map_or(0, |thread| thread.tid);
        self.self_metrics.tid.store(tid, Relaxed);
        let clock = &self.recorder.clock;
        self.pauses = ProcessPauses::new(tid, self.tick.as_nanos() as u64, clock);
        let mut quiet_since = Instant::now();
        while !stop.load(Relaxed) {
            let pause = self.pause();
            thread::park_timeout(pause);
            self.pauses.measure(pause.as_nanos() as u64, clock);
            self.look();
            if !self.all_idle() {
                quiet_since = Instant::now();
            } else if quiet_since.elapsed() > QUIET {
                let unhooked = self.monitors.iter().any(WorkerMonitor::is_unhooked);
                let limit = self.recorder.lag_probes.has_canaries().then_some(RING_EVERY);
                self.recorder.idle_park.sleep_while_idle(unhooked, limit, || {
                    !stop.load(Relaxed)
                        && self.generation == Some(self.recorder.generation())
                        && self.all_idle()
                });
                if limit.is_none() {
                    quiet_since = Instant::now();
                }
                self.pauses.skip(clock);
            }
        }
        // What has just ended is told before the end.
        self.look();
        self.outbox.close();
    }

    /// Until the next look. Any poll is to be met, and its thread's accounts be
    /// read, by the time it has lasted for half of the threshold, and looked at
    /// each quarter from then on: a worker that is busy with short polls needs
    /// no more than two looks a threshold.
    fn pause(&self) -> Duration {
        let is_run = self.monitors.iter().any(|monitor| monitor.follows_run(self.recorder));
        let ages = self.monitors.iter().filter_map(|monitor| monitor.suspect_age(self.recorder));
        let oldest = Duration::from_nanos(ages.max().unwrap_or(0));
        let pause = if is_run { self.tick } else { (self.tick * 2).saturating_sub(oldest).max(self.tick) };
        if self.recorder.lag_probes.has_canaries() { pause.min(RING_EVERY) } else { pause }
    }

    fn all_idle(&self) -> bool {
        self.monitors.iter().all(WorkerMonitor::is_idle)
    }

    fn look(&mut self) {
        let generation = self.recorder.generation();
        if self.generation != Some(generation) {
            self.generation = Some(generation);
            let workers = self.recorder.all_workers();
            for (index, worker) in workers.into_iter().enumerate().skip(self.monitors.len()) {
                self.monitors.push(WorkerMonitor::new(index, worker));
            }
        }
        let mut context = MonitorContext {
            recorder: self.recorder,
            self_metrics: self.self_metrics,
            unwinder: &mut self.unwinder,
            captures: &mut self.captures,
            outbox: self.outbox,
            signals: self.signals,
            pauses: &mut self.pauses,
        };
        for monitor in &mut self.monitors {
            monitor.look(&mut context);
        }
        self.seek_holders();
        let threshold = self.recorder.threshold_nanos;
        let blocked = self.monitors.iter().filter(|monitor| monitor.is_blocked(self.recorder));
        let runtimes = blocked.map(|monitor| monitor.runtime());
        self.pressure.look(runtimes, threshold, self.recorder, self.self_metrics);
        let lost_events = self.recorder.lost_events();
        self.self_metrics.dropped(Dropped::RingFull, lost_events - self.lost_events);
        self.lost_events = lost_events;
        if self.rang_at.elapsed() >= RING_EVERY {
            self.rang_at = Instant::now();
            self.recorder.lag_probes.wake_canaries(self.recorder.clock.ticks());
        }
        for hook in self.hook_audit.look(self.recorder) {
            self.outbox.send(Message::Replaced(hook), self.self_metrics);
        }
    }

    /// Looks who holds what others wait for. Two that could are none: it must
    /// not be the wrong one.
    fn seek_holders(&mut self) {
        for waiter in 0..self.monitors.len() {
            let Some(lock) = self.monitors[waiter].wanted_lock() else { continue };
            let others = self.monitors.iter_mut().enumerate().filter(|(index, _)| *index != waiter);
            let mut holders =
                others.filter_map(|(index, monitor)| monitor.seems_to_hold(lock).then_some(index));
            if let (Some(holder), None) = (holders.next(), holders.next()) {
                self.monitors[waiter].set_holder(lock, holder);
            }
        }
    }
}
