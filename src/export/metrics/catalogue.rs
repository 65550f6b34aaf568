//! The catalogue of all metrics: name, type, labels and meaning.
//!
//! docs/metrics.md contains the same table. A test compares the two.

use std::time::Duration;

/// The type of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MetricKind {
    /// A total that never decreases while the process runs.
    Counter,
    /// A current value.
    Gauge,
    /// Counts of durations by upper bound, and their sum.
    Histogram,
}

impl MetricKind {
    /// Returns the name of the type in the exposition formats.
    #[cfg(any(test, feature = "telemetry"))]
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// One metric.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Metric {
    /// The name, which includes the unit.
    pub(crate) name: &'static str,
    /// The meaning, as users read it in Prometheus and Grafana.
    pub(crate) help: &'static str,
    pub(crate) kind: MetricKind,
    /// The names of the labels that every series has.
    pub(crate) labels: &'static [&'static str],
}

/// The upper bounds of the histogram buckets.
///
/// They include 50 µs, 5 ms, 10 ms and 50 ms, the usual limits for polls and
/// delays, so that the share of values above such a limit is exact.
pub(crate) const BUCKETS: [Duration; 19] = [
    Duration::from_micros(10),
    Duration::from_micros(25),
    Duration::from_micros(50),
    Duration::from_micros(100),
    Duration::from_micros(250),
    Duration::from_micros(500),
    Duration::from_millis(1),
    Duration::from_micros(2_500),
    Duration::from_millis(5),
    Duration::from_millis(10),
    Duration::from_millis(25),
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_millis(2_500),
    Duration::from_secs(5),
    Duration::from_secs(10),
];

/// The number of sites that have separate series. The other sites share one
/// series per cause.
pub(crate) const MAX_SITES: usize = 50;

/// The number of names of tasks, or of calls on the blocking pool, that have
/// separate series: those that are recorded, and `other`.
pub(crate) const MAX_TASK_NAMES: usize = 257;

/// The number of workers that have separate series.
pub(crate) const MAX_WORKERS: usize = 1_024;

/// The number of runtimes that have separate series.
pub(crate) const MAX_RUNTIMES: usize = 256;

/// The number of canary names that have separate series.
pub(crate) const MAX_LOOPS: usize = 64;

/// Declares one constant for each metric, and [`ALL`] with all of them in that
/// order.
macro_rules! catalogue {
    ($($constant:ident: $kind:ident $name:literal [$($label:literal),*] $help:literal;)*) => {
        $(#[doc = $help] pub(crate) const $constant: Metric = Metric {
            name: $name,
            help: $help,
            kind: MetricKind::$kind,
            labels: &[$($label),*],
        };)*
        /// Every metric.
        pub(crate) const ALL: &[&Metric] = &[$(&$constant),*];
    };
}

catalogue! {
    TASK_POLL_DURATION: Histogram "loopscope_task_poll_duration_seconds" ["task"]
        "Poll duration, by task kind.";
    TASK_SCHEDULE_DELAY: Histogram "loopscope_task_schedule_delay_seconds" ["task"]
        "Time from the first wake of a task to its next poll, by task kind.";
    TASKS_SPAWNED: Counter "loopscope_tasks_spawned_total" ["task"]
        "Tasks spawned, by task kind.";
    TASKS_COMPLETED: Counter "loopscope_tasks_completed_total" ["task"]
        "Tasks that ended by completion, panic or abort, by task kind.";
    TASKS_ALIVE: Gauge "loopscope_tasks_alive" ["task"]
        "Live tasks, by task kind.";
    TASK_LINTS: Counter "loopscope_task_lints_total" ["task", "lint"]
        "Suspicious behaviour of named futures, by lint. The lint self-wake counts polls; lost-waker, never-yielded and large-future count tasks.";
    TASK_FUTURE_SIZE: Gauge "loopscope_task_future_size_bytes" ["task"]
        "Size of the largest named future, by task kind.";
    RUNTIME_TASKS: Gauge "loopscope_runtime_tasks_alive" ["runtime"]
        "Live tasks of a runtime, counted by Tokio.";
    LOOP_LAG: Histogram "loopscope_loop_lag_seconds" ["loop"]
        "Time from a wake of a canary to its next poll, by event loop.";
    LOOP_LAG_UNANSWERED: Gauge "loopscope_loop_lag_unanswered_seconds" ["loop"]
        "Age of a canary's wake that no poll has followed yet; zero if the canary was polled after its last wake.";
    WORKER_BUSY: Counter "loopscope_worker_busy_seconds_total" ["runtime", "worker"]
        "Time that a worker spent in polls, including the poll in progress.";
    WORKER_POLLS: Counter "loopscope_worker_polls_total" ["runtime", "worker"]
        "Polls of a worker.";
    WORKER_PARKS: Counter "loopscope_worker_parks_total" ["runtime", "worker"]
        "Times that a worker parked because it had no work.";
    WORKERS: Gauge "loopscope_workers" ["runtime"]
        "Worker threads of a watched runtime.";
    WORKERS_BLOCKED: Gauge "loopscope_workers_blocked" []
        "Workers whose current poll is blocked by its code for the threshold or longer. Time in which the thread has no CPU does not count.";
    LONGEST_ACTIVE_POLL: Gauge "loopscope_longest_active_poll_seconds" []
        "Age of the oldest poll in progress. It shows a stall before the stall ends.";
    BLOCKING_EVENTS: Counter "loopscope_blocking_events_total" ["cause"]
        "Stalls (polls in which the code took the threshold or longer) that have ended, by cause. Polls that were long only because their thread had no CPU do not count.";
    BLOCKING_SECONDS: Counter "loopscope_blocking_seconds_total" ["cause"]
        "Time that the code took in stalls that have ended, by cause. Time in which the thread had no CPU is not included.";
    BLOCKING_DURATION: Histogram "loopscope_blocking_duration_seconds" ["cause"]
        "Time that the code took in each stall that has ended, by cause. Time in which the thread had no CPU is not included.";
    BLOCKING_SITE_EVENTS: Counter "loopscope_blocking_site_events_total" ["site", "cause"]
        "Stalls, by the source line that blocked. Lines beyond the 50 that took the most time are counted as other.";
    BLOCKING_SITE_SECONDS: Counter "loopscope_blocking_site_seconds_total" ["site", "cause"]
        "Time that the code took in stalls, by the source line that blocked. Lines beyond the 50 that took the most time are counted as other.";
    STARVED: Counter "loopscope_starved_seconds_total" []
        "Time of all long polls that is not the code's: threads waited for a CPU (a busy machine or a CPU quota), the process was stopped, or nothing is known.";
    PRESSURE: Counter "loopscope_pressure_seconds_total" ["level"]
        "Time in which tasks were ready while workers were blocked by code: at least one worker (level some) or all workers (level full). A blocked worker that drives I/O and timers counts as all workers if its runtime has other tasks, because none of them can become ready.";
    POOL_THREADS: Gauge "loopscope_blocking_pool_threads" ["runtime"]
        "Threads of the blocking pool (requires tokio_unstable).";
    POOL_IDLE_THREADS: Gauge "loopscope_blocking_pool_idle_threads" ["runtime"]
        "Idle threads of the blocking pool (requires tokio_unstable).";
    POOL_QUEUE_DEPTH: Gauge "loopscope_blocking_pool_queue_depth" ["runtime"]
        "Calls that wait for a thread of the blocking pool (requires tokio_unstable).";
    POOL_QUEUE_WAIT: Histogram "loopscope_blocking_pool_queue_wait_seconds" ["task"]
        "Time that calls of loopscope::spawn_blocking waited for a thread of the blocking pool, by name.";
    POOL_RUN_TIME: Histogram "loopscope_blocking_pool_run_seconds" ["task"]
        "Time that calls of loopscope::spawn_blocking ran on a thread of the blocking pool, by name.";
    GLOBAL_QUEUE_DEPTH: Gauge "loopscope_global_queue_depth" ["runtime"]
        "Tasks in the queue that all workers of a runtime share.";
    LOCAL_QUEUE_DEPTH: Gauge "loopscope_local_queue_depth" ["runtime", "worker"]
        "Tasks in a worker's local queue (requires tokio_unstable).";
    WATCHDOG_CPU: Counter "loopscope_watchdog_cpu_seconds_total" []
        "CPU time of loopscope's watchdog thread.";
    CAPTURES: Counter "loopscope_captures_total" ["result"]
        "Stack captures, by result.";
    DROPPED: Counter "loopscope_dropped_total" ["reason"]
        "Dropped observations, by reason. While this rises, other metrics are lower bounds.";
    SIGNALS_GIVEN_UP: Counter "loopscope_signals_given_up_total" []
        "Signals that loopscope no longer uses to copy stacks, because other code of the process has installed a handler.";
    HOOKS_REPLACED: Gauge "loopscope_hooks_replaced" ["hook"]
        "1 for each hook of loopscope that the application replaced on a watched runtime's builder; absent if no hook was replaced.";
    THRESHOLD: Gauge "loopscope_blocking_threshold_seconds" []
        "Polls longer than this are stalls.";
    RECORDING: Gauge "loopscope_recording_info" ["level"]
        "Always 1. The label says what is recorded now: full; detect (only stalls, whose times are then lower bounds; poll times, schedule delays and busy time are not measured, and are absent if they never were); or paused.";
    BUILD_INFO: Gauge "loopscope_build_info" ["version"]
        "Always 1. The label contains the version of loopscope.";
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fmt::Write;

    use super::*;

    fn table() -> String {
        let mut table = String::from("| name | type | labels | meaning |\n|---|---|---|---|\n");
        for metric in ALL {
            let labels: Vec<_> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
            let labels = if labels.is_empty() { "–".to_owned() } else { labels.join(", ") };
            let kind = metric.kind.as_str();
            writeln!(table, "| `{}` | {kind} | {labels} | {} |", metric.name, metric.help).unwrap();
        }
        table
    }

    #[test]
    fn the_documentation_contains_this_catalogue() {
        let page = include_str!("../../../docs/metrics.md");
        assert!(page.contains(&table()), "docs/metrics.md must contain this table:\n\n{}", table());
    }

    #[test]
    fn the_documentation_contains_the_bucket_bounds() {
        let page = include_str!("../../../docs/metrics.md");
        let bounds: Vec<_> = BUCKETS.iter().map(|bound| bound.as_secs_f64().to_string()).collect();
        assert!(page.contains(&bounds.join(" ")), "docs/metrics.md must contain {}", bounds.join(" "));
    }

    #[test]
    fn names_follow_the_conventions_of_prometheus() {
        let names: BTreeSet<_> = ALL.iter().map(|metric| metric.name).collect();
        assert_eq!(names.len(), ALL.len(), "a name occurs twice");
        for metric in ALL {
            assert_eq!(
                metric.name.ends_with("_total"),
                metric.kind == MetricKind::Counter,
                "{}",
                metric.name
            );
            assert!(
                metric.kind != MetricKind::Histogram || metric.name.ends_with("_seconds"),
                "{}",
                metric.name
            );
            assert!(metric.help.ends_with('.'), "{}", metric.name);
        }
    }

    #[test]
    fn bucket_bounds_ascend() {
        assert!(BUCKETS.is_sorted_by(|a, b| a < b));
    }
}
