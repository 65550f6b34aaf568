//! Every metric there is: its name, what it means, what labels it has.
//!
//! docs/metrics.md shows the same table; a test holds the two together.

use std::time::Duration;

/// What a metric's values do over time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MetricKind {
    /// Only goes up, until the process ends.
    Counter,
    /// A value of the moment.
    Gauge,
    /// Counts of durations by upper bound, with their sum.
    Histogram,
}

impl MetricKind {
    /// The name as the exposition format has it.
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
    /// Its name, with unit.
    pub(crate) name: &'static str,
    /// What it means, in one sentence.
    pub(crate) help: &'static str,
    /// What its values do over time.
    pub(crate) kind: MetricKind,
    /// The labels that every series of it has.
    pub(crate) labels: &'static [&'static str],
}

/// Upper bounds of the histograms' buckets.
///
/// They hold 50 µs, 5 ms, 10 ms and 50 ms, the limits in common use for polls
/// and delays, so that the share above such a limit is exact.
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

/// How many sites have series of their own; the others share one.
pub(crate) const MAX_SITES: usize = 50;

/// Declares one constant for each metric, and [`ALL`] of them in that order.
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
        "How long polls took, by kind of task.";
    TASK_SCHEDULE_DELAY: Histogram "loopscope_task_schedule_delay_seconds" ["task"]
        "How long tasks that were woken waited to be polled, by kind of task.";
    TASKS_SPAWNED: Counter "loopscope_tasks_spawned_total" ["task"]
        "Tasks spawned, by kind of task.";
    TASKS_COMPLETED: Counter "loopscope_tasks_completed_total" ["task"]
        "Tasks that ended by completion, panic or abort, by kind of task.";
    TASKS_ALIVE: Gauge "loopscope_tasks_alive" ["task"]
        "Tasks that live now, by kind of task.";
    TASK_LINTS: Counter "loopscope_task_lints_total" ["task", "lint"]
        "What named futures do that seldom is meant: polls with a self-wake, tasks with a lost-waker, never-yielded, or a large-future.";
    TASK_FUTURE_SIZE: Gauge "loopscope_task_future_size_bytes" ["task"]
        "Size of the largest named future, by kind of task.";
    RUNTIME_TASKS: Gauge "loopscope_runtime_tasks_alive" ["runtime"]
        "Tasks that live now in a runtime, by its own count.";
    LOOP_LAG: Histogram "loopscope_loop_lag_seconds" ["loop"]
        "How long canaries that were woken waited to be polled, by event loop.";
    LOOP_LAG_UNANSWERED: Gauge "loopscope_loop_lag_unanswered_seconds" ["loop"]
        "Age of a canary's wake that has led to no poll yet; zero without one.";
    WORKER_BUSY: Counter "loopscope_worker_busy_seconds_total" ["runtime", "worker"]
        "Time spent in polls, by worker.";
    WORKER_POLLS: Counter "loopscope_worker_polls_total" ["runtime", "worker"]
        "Polls, by worker.";
    WORKER_PARKS: Counter "loopscope_worker_parks_total" ["runtime", "worker"]
        "Times a worker parked because it had nothing to do.";
    WORKERS: Gauge "loopscope_workers" ["runtime"]
        "Worker threads of a watched runtime.";
    WORKERS_BLOCKED: Gauge "loopscope_workers_blocked" []
        "Workers that have been in one poll for longer than the threshold, now.";
    LONGEST_ACTIVE_POLL: Gauge "loopscope_longest_active_poll_seconds" []
        "Age of the oldest poll in progress; what shows a stall that has not ended.";
    BLOCKING_EVENTS: Counter "loopscope_blocking_events_total" ["cause"]
        "Polls over the threshold that have ended, by cause; without those whose thread only lacked a CPU.";
    BLOCKING_SECONDS: Counter "loopscope_blocking_seconds_total" ["cause"]
        "Time spent in polls over the threshold that have ended, by cause.";
    BLOCKING_DURATION: Histogram "loopscope_blocking_duration_seconds" ["cause"]
        "How long the polls over the threshold took, by cause.";
    BLOCKING_SITE_EVENTS: Counter "loopscope_blocking_site_events_total" ["site", "cause"]
        "Polls over the threshold, by the line that blocked: the worst 50, then other.";
    BLOCKING_SITE_SECONDS: Counter "loopscope_blocking_site_seconds_total" ["site", "cause"]
        "Time spent in polls over the threshold, by the line that blocked: the worst 50, then other.";
    STARVED: Counter "loopscope_starved_seconds_total" []
        "Time that threads in long polls were ready to run but had no CPU: the machine's fault, not the code's.";
    PRESSURE: Counter "loopscope_pressure_seconds_total" ["level"]
        "Time in which tasks were ready while workers were blocked: some of them, or in full all.";
    POOL_THREADS: Gauge "loopscope_blocking_pool_threads" ["runtime"]
        "Threads of the blocking pool (with tokio_unstable).";
    POOL_IDLE_THREADS: Gauge "loopscope_blocking_pool_idle_threads" ["runtime"]
        "Threads of the blocking pool that have nothing to do (with tokio_unstable).";
    POOL_QUEUE_DEPTH: Gauge "loopscope_blocking_pool_queue_depth" ["runtime"]
        "Calls that wait for a thread of the blocking pool (with tokio_unstable).";
    POOL_QUEUE_WAIT: Histogram "loopscope_blocking_pool_queue_wait_seconds" ["task"]
        "How long calls of loopscope::spawn_blocking waited for a thread of the blocking pool, by name.";
    POOL_RUN_TIME: Histogram "loopscope_blocking_pool_run_seconds" ["task"]
        "How long calls of loopscope::spawn_blocking held a thread of the blocking pool, by name.";
    GLOBAL_QUEUE_DEPTH: Gauge "loopscope_global_queue_depth" ["runtime"]
        "Tasks in the queue that all workers share.";
    LOCAL_QUEUE_DEPTH: Gauge "loopscope_local_queue_depth" ["runtime", "worker"]
        "Tasks in a worker's own queue (with tokio_unstable).";
    WATCHDOG_CPU: Counter "loopscope_watchdog_cpu_seconds_total" []
        "CPU time of the watchdog thread.";
    CAPTURES: Counter "loopscope_captures_total" ["result"]
        "Stack captures, by how they ended.";
    DROPPED: Counter "loopscope_dropped_total" ["reason"]
        "Observations lost, by reason; while this rises, other figures are lower bounds.";
    HOOKS_REPLACED: Gauge "loopscope_hooks_replaced" ["hook"]
        "1 for each hook of loopscope's that was set anew on a watched runtime's builder; absent without one.";
    THRESHOLD: Gauge "loopscope_blocking_threshold_seconds" []
        "Polls longer than this are stalls.";
    BUILD_INFO: Gauge "loopscope_build_info" ["version"]
        "Always 1; carries the version of loopscope.";
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
    fn the_documentation_shows_this_catalogue() {
        let page = include_str!("../../../docs/metrics.md");
        assert!(page.contains(&table()), "docs/metrics.md must hold this table:\n\n{}", table());
    }

    #[test]
    fn the_documentation_names_the_buckets() {
        let page = include_str!("../../../docs/metrics.md");
        let bounds: Vec<_> = BUCKETS.iter().map(|bound| bound.as_secs_f64().to_string()).collect();
        assert!(page.contains(&bounds.join(" ")), "docs/metrics.md must name {}", bounds.join(" "));
    }

    #[test]
    fn names_follow_the_conventions() {
        let names: BTreeSet<_> = ALL.iter().map(|metric| metric.name).collect();
        assert_eq!(names.len(), ALL.len(), "a name is used twice");
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
    fn buckets_ascend() {
        assert!(BUCKETS.is_sorted_by(|a, b| a < b));
    }
}
