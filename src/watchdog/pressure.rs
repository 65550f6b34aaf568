//! Measures the lack of workers in a runtime, like the kernel's pressure stall
//! information: the time in which a task was ready while some of the workers,
//! or all of them, were blocked.

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
    /// of each blocked worker.
    pub(crate) fn update<'r>(
        &mut self,
        blocked: impl Iterator<Item = &'r str>,
        max_nanos: u64,
        recorder: &Recorder,
        self_metrics: &SelfMetrics,
    ) {
        let now = recorder.clock.ticks();
        let elapsed = recorder.clock.nanos(std::mem::replace(&mut self.last_update, now), now).min(max_nanos);
        let mut workers = HashMap::<&str, usize>::new();
        for runtime in blocked {
            *workers.entry(runtime).or_default() += 1;
        }
        let (mut some, mut full) = (false, false);
        for (runtime, blocked) in workers {
            if let Some(all) = recorder.workers_if_tasks_are_ready(runtime) {
                some = true;
                full |= blocked >= all;
            }
        }
        self_metrics.add_pressure(if some { elapsed } else { 0 }, if full { elapsed } else { 0 });
    }
}
