//! Looks whether hooks of ours are still called: Tokio keeps one callback a
//! hook, and one set after ours has replaced it without a word.

use std::time::{Duration, Instant};

use tokio::runtime::RuntimeMetrics;

use crate::record::hook_status::{Hook, HookStatus};
use crate::record::recorder::Recorder;

const EVERY: Duration = Duration::from_millis(500);
/// As often must something have happened without a call of its hook.
const OFTEN: u64 = 10;

/// Compares what Tokio counts with what was called.
#[derive(Debug)]
pub(crate) struct HookAudit {
    last: Instant,
}

impl HookAudit {
    pub(crate) fn new() -> Self {
        Self { last: Instant::now() }
    }

    /// Hooks that are known as replaced from now on.
    pub(crate) fn look(&mut self, recorder: &Recorder) -> Vec<Hook> {
        let now = Instant::now();
        if now.duration_since(self.last) < EVERY {
            return Vec::new();
        }
        self.last = now;
        for hook_statuses in recorder.hook_statuses() {
            let metrics = hook_statuses.runtime().and_then(|id| recorder.runtimes.metrics_by_id(id));
            if let Some((is_multi_thread, metrics)) = metrics {
                for hook in missing(&hook_statuses, is_multi_thread, &metrics) {
                    recorder.replaced_hooks.add(hook);
                }
            }
        }
        recorder.replaced_hooks.take_unreported()
    }
}

/// The hooks that should have been called by now.
fn missing(hook_statuses: &HookStatus, is_multi_thread: bool, metrics: &RuntimeMetrics) -> Vec<Hook> {
    let sum = |of: &dyn Fn(usize) -> u64| (0..metrics.num_workers()).map(of).sum::<u64>();
    let parks = sum(&|worker| metrics.worker_park_count(worker));
    let mut happened = vec![
        // A current-thread runtime starts no thread by itself.
        (Hook::ThreadStart, is_multi_thread),
        (Hook::ThreadPark, parks >= OFTEN),
        (Hook::ThreadUnpark, parks >= OFTEN),
    ];
    #[cfg(tokio_unstable)]
    {
        let ended = metrics.spawned_tasks_count().saturating_sub(metrics.num_alive_tasks() as u64);
        happened.extend([
            (Hook::TaskSpawn, metrics.spawned_tasks_count() >= OFTEN),
            (Hook::BeforeTaskPoll, ended >= OFTEN),
            (Hook::TaskTerminate, ended >= OFTEN),
        ]);
    }
    happened.retain(|(hook, happened)| *happened && !hook_statuses.was_called(*hook));
    happened.into_iter().map(|(hook, _)| hook).collect()
}
