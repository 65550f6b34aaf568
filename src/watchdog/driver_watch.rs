//! Watches whether the drivers of the runtimes are driven.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::evidence::HeldDriver;
use crate::watchdog::park_places::ParkPlaces;
use crate::watchdog::process_clock::ProcessClock;
use crate::watchdog::worker_monitor::WorkerMonitor;
use crate::watchdog::worker_monitor::driver::DriverRole;
use crate::watchdog::worker_monitor::driver_check::DriverHold;

/// The time between two searches for a runtime's worker in its driver. A new
/// runtime is searched in each pass: its first poll may already hold the
/// driver.
const SEARCH_INTERVAL: Duration = Duration::from_millis(100);
/// How many workers a search samples at most. A sample takes about 10 µs.
const MAX_SAMPLES_PER_SEARCH: usize = 4;
/// A runtime is new until its workers were sampled this often, in at least 200
/// searches. A runtime without a driver would be searched for ever.
const MAX_SAMPLES_OF_NEW_RUNTIME: u32 = 800;
/// How long the workers of a runtime report short waits after a stall that held
/// the driver.
const RELEASE_REPORTING: Duration = Duration::from_millis(20);

/// What is known about the drivers of all runtimes.
#[derive(Debug)]
pub(crate) struct DriverWatch {
    /// The runtimes that have a driver: a worker was observed in it. A runtime
    /// without I/O has none.
    runtimes_with_driver: HashSet<Arc<str>>,
    /// How often the workers of each other runtime were sampled.
    samples: HashMap<Arc<str>, u32>,
    searched_at: Instant,
    /// Whether a runtime is new, and the number of the worker that was added
    /// last when that was found out.
    has_new_runtime: bool,
    last_worker: Option<usize>,
    /// The index of the worker with which the next search begins.
    next_searched: usize,
    /// The runtimes whose workers report short waits, and when that was last
    /// needed.
    reporting: HashMap<Arc<str>, Instant>,
}

impl DriverWatch {
    pub(crate) fn new() -> Self {
        Self {
            runtimes_with_driver: HashSet::new(),
            samples: HashMap::new(),
            searched_at: Instant::now(),
            has_new_runtime: false,
            last_worker: None,
            next_searched: 0,
            reporting: HashMap::new(),
        }
    }

    /// Checks the tracked polls that are due. Searches for the drivers of
    /// runtimes whose driver is not known yet.
    pub(crate) fn check(
        &mut self,
        monitors: &mut [WorkerMonitor],
        clock: &ProcessClock,
        threshold_nanos: u64,
        now: Instant,
    ) {
        let mut places = ParkPlaces::default();
        let is_due = now.duration_since(self.searched_at) >= SEARCH_INTERVAL;
        let last_worker = monitors.last().map(WorkerMonitor::number);
        self.has_new_runtime |= last_worker != self.last_worker;
        self.last_worker = last_worker;
        if is_due {
            self.searched_at = now;
            self.forget_ended_runtimes(monitors);
        }
        if is_due || self.has_new_runtime {
            self.search(monitors, clock, threshold_nanos, is_due, &mut places);
        }
        if monitors.iter().any(WorkerMonitor::is_in_tracked_poll) {
            self.check_tracked_polls(monitors, clock, threshold_nanos, now, &mut places);
        }
        self.set_reporting(monitors, threshold_nanos, now);
    }

    /// Checks the tracked polls that are due.
    fn check_tracked_polls(
        &mut self,
        monitors: &mut [WorkerMonitor],
        clock: &ProcessClock,
        threshold_nanos: u64,
        now: Instant,
        places: &mut ParkPlaces,
    ) {
        for index in 0..monitors.len() {
            let is_outdated = is_outdated(index, monitors, clock, threshold_nanos);
            if monitors[index].take_driver_check(clock) || is_outdated {
                let is_held = self.is_held_by(index, monitors, clock, threshold_nanos, places);
                let hold = is_held.then(|| hold(index, monitors));
                monitors[index].set_driver_hold(hold);
            }
            if monitors[index].holds_driver() {
                self.reporting.insert(Arc::clone(monitors[index].runtime()), now);
            }
        }
    }

    /// Returns whether some workers report short waits. Only a pass ends that.
    pub(crate) fn is_reporting(&self) -> bool {
        !self.reporting.is_empty()
    }

    /// Searches for workers in the drivers of runtimes whose driver is not
    /// known yet: of all if the search `is_due`, else of the new ones.
    fn search(
        &mut self,
        monitors: &[WorkerMonitor],
        clock: &ProcessClock,
        threshold_nanos: u64,
        is_due: bool,
        places: &mut ParkPlaces,
    ) {
        let mut has_new_runtime = false;
        let mut samples_left = MAX_SAMPLES_PER_SEARCH;
        for offset in 0..monitors.len() {
            let index = (self.next_searched + offset) % monitors.len();
            let monitor = &monitors[index];
            if !monitor.is_runtime_worker() || self.runtimes_with_driver.contains(monitor.runtime()) {
                continue;
            }
            let samples = self.samples.entry(Arc::clone(monitor.runtime())).or_default();
            let is_new = *samples < MAX_SAMPLES_OF_NEW_RUNTIME;
            has_new_runtime |= is_new;
            if !(is_due || is_new) || !monitor.is_parked() {
                continue;
            }
            if samples_left == 0 {
                self.next_searched = index;
                return;
            }
            samples_left -= 1;
            *samples = samples.saturating_add(1);
            if monitor.driver_role(clock, threshold_nanos, places) == DriverRole::InDriver {
                self.samples.remove(monitor.runtime());
                self.runtimes_with_driver.insert(Arc::clone(monitor.runtime()));
            }
        }
        self.has_new_runtime = has_new_runtime;
    }

    /// Forgets the runtimes that have no worker any more. Another runtime may
    /// get the label of one.
    fn forget_ended_runtimes(&mut self, monitors: &[WorkerMonitor]) {
        let present: HashSet<_> = monitors.iter().map(WorkerMonitor::runtime).collect();
        self.runtimes_with_driver.retain(|runtime| present.contains(runtime));
        self.samples.retain(|runtime, _| present.contains(runtime));
    }

    /// Returns whether no worker of the runtime can run the driver while the
    /// poll of this worker lasts.
    fn is_held_by(
        &self,
        index: usize,
        monitors: &[WorkerMonitor],
        clock: &ProcessClock,
        threshold_nanos: u64,
        places: &mut ParkPlaces,
    ) -> bool {
        self.runtimes_with_driver.contains(monitors[index].runtime())
            && others(index, monitors)
                .all(|other| other.driver_role(clock, threshold_nanos, places) == DriverRole::Away)
    }

    /// Lets the workers of the runtimes in `reporting` report all waits, for as
    /// long as that is needed.
    fn set_reporting(&mut self, monitors: &[WorkerMonitor], threshold_nanos: u64, now: Instant) {
        if self.reporting.is_empty() {
            return;
        }
        for monitor in monitors {
            if let Some(needed_at) = self.reporting.get(monitor.runtime()) {
                let is_needed = now.duration_since(*needed_at) < RELEASE_REPORTING;
                monitor.set_min_reported_wait_nanos(if is_needed { 0 } else { threshold_nanos });
            }
        }
        self.reporting.retain(|_, needed_at| now.duration_since(*needed_at) < RELEASE_REPORTING);
    }
}

/// Returns the other workers of a worker's runtime.
fn others(index: usize, monitors: &[WorkerMonitor]) -> impl Iterator<Item = &WorkerMonitor> {
    let runtime = monitors[index].runtime();
    let is_other = move |(other, monitor): &(usize, &WorkerMonitor)| {
        *other != index && monitor.is_runtime_worker() && monitor.runtime() == runtime
    };
    monitors.iter().enumerate().filter(is_other).map(|(_, monitor)| monitor)
}

/// Returns how a worker holds the driver.
fn hold(index: usize, monitors: &[WorkerMonitor]) -> DriverHold {
    let worker = monitors[index].worker_index();
    let has_other_workers = others(index, monitors).any(|other| other.worker_index() != worker);
    let other_unparks = other_unparks(index, monitors);
    DriverHold { driver: HeldDriver { has_other_workers }, other_unparks }
}

fn other_unparks(index: usize, monitors: &[WorkerMonitor]) -> u64 {
    others(index, monitors).map(WorkerMonitor::unparks).sum()
}

/// Returns whether another worker may have run the driver since the last check
/// found that this one holds it.
fn is_outdated(index: usize, monitors: &[WorkerMonitor], clock: &ProcessClock, threshold_nanos: u64) -> bool {
    monitors[index].other_unparks_at_check().is_some_and(|unparks| {
        let is_away =
            |other: &WorkerMonitor| other.is_parked() || other.is_in_long_poll(clock, threshold_nanos);
        unparks != other_unparks(index, monitors) || !others(index, monitors).all(is_away)
    })
}
