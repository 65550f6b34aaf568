//! How much a runtime is short of workers, in the manner of the kernel's
//! pressure stall information: time in which a task was ready while some of its
//! workers, or all of them, were blocked.

use std::collections::HashMap;

use crate::record::clock::{Clock, Ticks};
use crate::record::recorder::Recorder;
use crate::self_metrics::SelfMetrics;

#[derive(Debug)]
pub(crate) struct Pressure {
    at: Ticks,
}

impl Pressure {
    pub(crate) fn new(clock: &Clock) -> Self {
        Self { at: clock.ticks() }
    }

    /// Counts the time since the last look; `blocked` has each blocked worker's
    /// runtime. Time in which the watchdog slept, as nobody ran, is not for it.
    pub(crate) fn look<'r>(
        &mut self,
        blocked: impl Iterator<Item = &'r str>,
        longest_nanos: u64,
        recorder: &Recorder,
        self_metrics: &SelfMetrics,
    ) {
        let now = recorder.clock.ticks();
        let passed = recorder.clock.nanos(std::mem::replace(&mut self.at, now), now).min(longest_nanos);
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
        self_metrics.pressed(if some { passed } else { 0 }, if full { passed } else { 0 });
    }
}
