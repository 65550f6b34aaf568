//! The thread that watches: looks at the workers' slots, and at a thread only
//! once its poll has gone on for some time. Writes evidence, judges nothing.

mod account;
mod audit;
mod budget;
pub(crate) mod evidence;
mod hog;
#[cfg(all(target_os = "linux", target_arch = "x86_64", not(loopscope_no_capture)))]
mod inspector;
#[cfg(not(all(target_os = "linux", target_arch = "x86_64", not(loopscope_no_capture))))]
#[path = "inspector_none.rs"]
mod inspector;
pub(crate) mod meter;
pub(crate) mod outbox;
#[cfg(all(target_os = "linux", target_arch = "x86_64", not(loopscope_no_capture)))]
mod probe;
mod sample;
#[cfg(all(target_os = "linux", target_arch = "x86_64", not(loopscope_no_capture)))]
mod syscalls;
mod watch;

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

pub(crate) use budget::Budget;

use self::{
    audit::Audit,
    evidence::Message,
    inspector::Unwinder,
    meter::{Dropped, Meter},
    outbox::Outbox,
    watch::{Context, Watch},
};
use crate::{Signals, os, record::Recorder};

/// At most so many captures a second on average, and so many in one burst.
const CAPTURES_PER_SECOND: f64 = 10.0;
const CAPTURES_IN_A_BURST: u32 = 100;
/// How long nothing must run before the watchdog sleeps without a time limit.
const QUIET: Duration = Duration::from_secs(1);

/// The running watchdog. Stops and joins its thread as it is dropped.
#[derive(Debug)]
pub(crate) struct Watchdog {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Watchdog {
    pub(crate) fn start(
        recorder: Arc<Recorder>,
        meter: Arc<Meter>,
        outbox: Outbox,
        signals: Signals,
    ) -> io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::Builder::new()
            .name("loopscope-watch".to_owned())
            .spawn(move || Round::new(&recorder, &meter, &outbox, signals).run(&stopped))?;
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
struct Round<'r> {
    recorder: &'r Recorder,
    meter: &'r Meter,
    outbox: &'r Outbox,
    signals: Signals,
    unwinder: Unwinder,
    captures: Budget,
    watches: Vec<Watch>,
    generation: Option<u64>,
    tick: Duration,
    lost_events: u64,
    audit: Audit,
}

impl<'r> Round<'r> {
    fn new(recorder: &'r Recorder, meter: &'r Meter, outbox: &'r Outbox, signals: Signals) -> Self {
        Self {
            recorder,
            meter,
            outbox,
            signals,
            unwinder: Unwinder::new(),
            captures: Budget::new(CAPTURES_IN_A_BURST, CAPTURES_PER_SECOND, Instant::now()),
            watches: Vec::new(),
            generation: None,
            tick: Duration::from_nanos(recorder.threshold_nanos / 4),
            lost_events: 0,
            audit: Audit::new(),
        }
    }

    fn run(&mut self, stop: &AtomicBool) {
        let tid = os::current_thread().map_or(0, |thread| thread.tid);
        self.meter.tid.store(tid, Relaxed);
        let mut lateness = Lateness::new(tid, self.tick);
        let mut quiet_since = Instant::now();
        while !stop.load(Relaxed) {
            thread::park_timeout(self.tick);
            self.look(lateness.measure());
            if !self.all_idle() {
                quiet_since = Instant::now();
            } else if quiet_since.elapsed() > QUIET {
                let unhooked = self.watches.iter().any(Watch::is_unhooked);
                self.recorder.doze.sleep_while(unhooked, || {
                    !stop.load(Relaxed)
                        && self.generation == Some(self.recorder.generation())
                        && self.all_idle()
                });
                quiet_since = Instant::now();
                lateness = Lateness::new(tid, self.tick);
            }
        }
        // What has just ended is told before the end.
        self.look(0);
        self.outbox.close();
    }

    fn all_idle(&self) -> bool {
        self.watches.iter().all(Watch::is_idle)
    }

    fn look(&mut self, lost_nanos: u64) {
        let generation = self.recorder.generation();
        if self.generation != Some(generation) {
            self.generation = Some(generation);
            let workers = self.recorder.all_workers();
            for (index, worker) in workers.into_iter().enumerate().skip(self.watches.len()) {
                self.watches.push(Watch::new(index, worker));
            }
        }
        let mut context = Context {
            recorder: self.recorder,
            meter: self.meter,
            unwinder: &mut self.unwinder,
            captures: &mut self.captures,
            outbox: self.outbox,
            signals: self.signals,
            lost_nanos,
        };
        for watch in &mut self.watches {
            watch.look(&mut context);
        }
        let lost_events = self.recorder.lost_events();
        self.meter.dropped(Dropped::RingFull, lost_events - self.lost_events);
        self.lost_events = lost_events;
        for hook in self.audit.look(self.recorder) {
            self.outbox.send(Message::Replaced(hook), self.meter);
        }
    }
}

/// How often the watchdog's own accounts are read while it is on time: the
/// small waits of many ticks must not add up to one long one.
const READ_EVERY_TICKS: u32 = 64;

/// Finds out when the watchdog itself, and so perhaps everybody, stood still:
/// a stopped process or a suspended machine must not be blamed on a poll.
struct Lateness {
    at: Instant,
    tick: Duration,
    tid: i32,
    ticks: u32,
    run_queue_nanos: u64,
}

impl Lateness {
    fn new(tid: i32, tick: Duration) -> Self {
        Self { at: Instant::now(), tick, tid, ticks: 0, run_queue_nanos: os::run_queue_nanos(tid) }
    }

    /// How long nothing ran since the last call, in nanoseconds: what the
    /// watchdog overslept without having waited for a CPU. Where it did wait
    /// for one, the workers' own accounts tell who else did.
    fn measure(&mut self) -> u64 {
        let passed = self.at.elapsed();
        self.at = Instant::now();
        self.ticks += 1;
        let Some(overslept) = passed.checked_sub(self.tick * 2) else {
            if self.ticks.is_multiple_of(READ_EVERY_TICKS) {
                self.run_queue_nanos = os::run_queue_nanos(self.tid);
            }
            return 0;
        };
        let queued = os::run_queue_nanos(self.tid);
        let waited = queued.saturating_sub(std::mem::replace(&mut self.run_queue_nanos, queued));
        let lost = (overslept.as_nanos() as u64).saturating_sub(waited);
        if lost > self.tick.as_nanos() as u64 { lost } else { 0 }
    }
}
