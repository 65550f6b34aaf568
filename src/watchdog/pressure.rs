//! Measures the lack of workers in a runtime, like the kernel's pressure stall
//! information: the time in which a task was ready while some of the workers,
//! or all of them, were blocked.
//!
//! A stall that holds the driver of its runtime blocks all of its workers:
//! nothing wakes the other tasks, so none of them is ready, although a task
//! that is late may be among them.

use std::collections::HashMap;

use crate::record::clock::{Clock, Ticks};
use crate::record::recorder::Recorder;
use crate::self_metrics::SelfMetrics;

/// Adds up the pressure from pass to pass.
#[derive(Debug)]
pub(crate) struct Pressure {
    last_update: Ticks,
}

impl Pressure {
    pub(crate) fn new(clock: &Clock) -> Self {
        Self { last_update: clock.ticks() }
    }

    /// Adds the time since the last update, but at most `max_nanos`: the
    /// watchdog may have slept because no worker ran. `blocked` has the runtime
    /// of each blocked worker, and whether the worker holds the driver.
    pub(crate) fn update<'r>(
        &mut self,
        blocked: impl Iterator<Item = (&'r str, bool)>,
        max_nanos: u64,
        recorder: &Recorder,
        self_metrics: &SelfMetrics,
    ) {
        let now = recorder.clock.ticks();
        let elapsed = recorder.clock.nanos(std::mem::replace(&mut self.last_update, now), now).min(max_nanos);
        let mut blocked = blocked.peekable();
        if blocked.peek().is_none() {
            return;
        }
        let mut workers = HashMap::<&str, (usize, bool)>::new();
        for (runtime, holds_driver) in blocked {
            let (blocked, is_driver_held) = workers.entry(runtime).or_default();
            *blocked += 1;
            *is_driver_held |= holds_driver;
        }
        let (mut some, mut full) = (false, false);
        for (runtime, (blocked, is_driver_held)) in workers {
            if is_driver_held && recorder.has_several_tasks(runtime) {
                (some, full) = (true, true);
            } else if let Some(all) = recorder.workers_if_tasks_are_ready(runtime) {
                some = true;
                full |= blocked >= all;
            }
        }
        self_metrics.add_pressure(if some { elapsed } else { 0 }, if full { elapsed } else { 0 });
    }
}
