//! Checks whether Tokio still calls the recorder's hooks. Tokio keeps one
//! callback per hook, so a callback that the program sets later replaces the
//! recorder's, without any notice.

use std::time::{Duration, Instant};

use tokio::runtime::RuntimeMetrics;

use crate::record::hook_status::{Hook, HookStatus};
use crate::record::recorder::Recorder;

const AUDIT_INTERVAL: Duration = Duration::from_millis(500);
/// How many events Tokio must count before a hook that was never called is
/// reported as replaced.
const MIN_EVENTS_WITHOUT_CALL: u64 = 10;

/// Compares the events that Tokio counts with the hooks that were called.
#[derive(Debug)]
pub(crate) struct HookAudit {
    last_audit: Instant,
}

impl HookAudit {
    pub(crate) fn new() -> Self {
        Self { last_audit: Instant::now() }
    }

    /// Returns the hooks that are newly found to be replaced.
    pub(crate) fn audit(&mut self, recorder: &Recorder, now: Instant) -> Vec<Hook> {
        if now.duration_since(self.last_audit) < AUDIT_INTERVAL {
            return Vec::new();
        }
        self.last_audit = now;
        for hook_status in recorder.hook_statuses() {
            let metrics = hook_status.runtime().and_then(|id| recorder.runtimes.metrics_by_id(id));
            if let Some((is_multi_thread, metrics)) = metrics {
                for hook in uncalled_hooks(&hook_status, is_multi_thread, &metrics) {
                    recorder.replaced_hooks.add(hook);
                }
            }
        }
        recorder.replaced_hooks.take_unreported()
    }
}

/// Returns the hooks that were never called although their events happened.
fn uncalled_hooks(hook_status: &HookStatus, is_multi_thread: bool, metrics: &RuntimeMetrics) -> Vec<Hook> {
    let sum = |count: &dyn Fn(usize) -> u64| (0..metrics.num_workers()).map(count).sum::<u64>();
    let parks = sum(&|worker| metrics.worker_park_count(worker));
    let mut hooks = vec![
        // A current-thread runtime starts no thread by itself.
        (Hook::ThreadStart, is_multi_thread),
        (Hook::ThreadPark, parks >= MIN_EVENTS_WITHOUT_CALL),
        (Hook::ThreadUnpark, parks >= MIN_EVENTS_WITHOUT_CALL),
    ];
    #[cfg(tokio_unstable)]
    {
        let ended = metrics.spawned_tasks_count().saturating_sub(metrics.num_alive_tasks() as u64);
        hooks.extend([
            (Hook::TaskSpawn, metrics.spawned_tasks_count() >= MIN_EVENTS_WITHOUT_CALL),
            (Hook::BeforeTaskPoll, ended >= MIN_EVENTS_WITHOUT_CALL),
            (Hook::TaskTerminate, ended >= MIN_EVENTS_WITHOUT_CALL),
        ]);
    }
    hooks.retain(|(hook, has_happened)| *has_happened && !hook_status.was_called(*hook));
    hooks.into_iter().map(|(hook, _)| hook).collect()
}
