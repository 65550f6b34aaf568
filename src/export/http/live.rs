//! The JSON documents of `/live`, which the live page requests once per second,
//! and of `/tasks`.
//!
//! All values are totals since the scope started, or current values. Readers
//! compute differences themselves, so any number of readers is possible.

use serde::Serialize;

use crate::export::metrics::buckets::counts_at_most;
use crate::export::metrics::catalogue::BUCKETS;
use crate::finding::{Cause, Finding, FindingsDocument, ProcessInfo, Split, Stall, StallsDocument, Starved};
use crate::recording::Recording;
use crate::snapshot::{HistogramSnapshot, KindSnapshot, RuntimeSnapshot, Snapshot, WorkerSnapshot};
use crate::unix_time;

/// The schema name of [`LiveDocument`].
const LIVE_SCHEMA: &str = "loopscope.live/1";

/// The schema name of [`TasksDocument`].
const TASKS_SCHEMA: &str = "loopscope.tasks/1";

/// All data of the live page.
#[derive(Debug, Serialize)]
pub(crate) struct LiveDocument {
    schema: &'static str,
    now_unix_ns: u64,
    /// As [`StallsDocument::scope_start`].
    scope_start_unix_ns: Option<u64>,
    process: ProcessInfo,
    threshold_seconds: f64,
    recording: Recording,
    is_paused: bool,
    has_recorded_in_full: bool,
    workers: Vec<WorkerRow>,
    runtimes: Vec<RuntimeRow>,
    starved: Starved,
    pressure: PressureRow,
    dropped: u64,
    suppressed_reports: u64,
    watchdog_cpu_seconds: f64,
    stalls: Vec<Stall>,
    findings: Vec<FindingRow>,
    tasks: TasksDocument,
}

/// All task kinds.
#[derive(Debug, Serialize)]
pub(crate) struct TasksDocument {
    schema: &'static str,
    now_unix_ns: u64,
    /// The upper bounds of the histogram buckets. The last bucket, which has no
    /// bound, is not listed.
    bounds_seconds: [f64; BUCKETS.len()],
    kinds: Vec<KindRow>,
    /// The polls that exceed the threshold now, oldest first.
    blocked: Vec<Stall>,
}

#[derive(Debug, Serialize)]
struct KindRow {
    name: String,
    spawned: u64,
    completed: u64,
    alive: u64,
    self_wakes: u64,
    lost_wakers: u64,
    never_yielded: u64,
    large_futures: u64,
    future_size_bytes: u64,
    poll: DistributionRow,
    delay: DistributionRow,
}

#[derive(Debug, Serialize)]
struct DistributionRow {
    count: u64,
    sum_seconds: f64,
    max_seconds: f64,
    p50_seconds: f64,
    p99_seconds: f64,
    /// Values per bucket, not cumulative. The last bucket counts the values
    /// above all bounds.
    buckets: Vec<u64>,
}

#[derive(Debug, Serialize)]
struct WorkerRow {
    /// As in [`Stall::worker`].
    label: String,
    runtime: String,
    /// Includes the poll in progress.
    busy_seconds: f64,
    polls: u64,
    parks: u64,
    local_queue_depth: Option<usize>,
    active_poll_seconds: Option<f64>,
}

#[derive(Debug, Serialize)]
struct RuntimeRow {
    name: String,
    workers: usize,
    alive_tasks: usize,
    global_queue_depth: usize,
    blocking_threads: Option<usize>,
    idle_blocking_threads: Option<usize>,
    blocking_queue_depth: Option<usize>,
}

#[derive(Debug, Serialize)]
struct PressureRow {
    some_seconds: f64,
    full_seconds: f64,
}

/// A finding without its stack, which `/findings/ID` contains.
#[derive(Debug, Serialize)]
struct FindingRow {
    id: String,
    cause: Cause,
    primitive: Option<String>,
    function: Option<String>,
    site: Option<String>,
    /// The kind with the most time.
    task: String,
    count: u64,
    total_seconds: f64,
    max_seconds: f64,
    ongoing_seconds: Option<f64>,
    split: Split,
    victim_tasks: u64,
    victim_tasks_are_estimated: bool,
    victim_waits: u64,
    victims_released: u64,
    victim_delay_seconds: f64,
    driver_held: bool,
    advice: String,
    evidence: &'static str,
    last_seen_unix_seconds: f64,
}

impl LiveDocument {
    pub(crate) fn new(snapshot: Snapshot, stalls: StallsDocument, findings: FindingsDocument) -> Self {
        Self {
            schema: LIVE_SCHEMA,
            now_unix_ns: unix_time::to_nanos(stalls.now),
            scope_start_unix_ns: stalls.scope_start.map(unix_time::to_nanos),
            process: findings.process,
            threshold_seconds: snapshot.threshold.as_secs_f64(),
            recording: snapshot.recording,
            is_paused: snapshot.is_paused,
            has_recorded_in_full: snapshot.has_recorded_in_full,
            workers: snapshot.workers.into_iter().map(WorkerRow::from).collect(),
            runtimes: snapshot.runtimes.into_iter().map(RuntimeRow::from).collect(),
            starved: findings.starved,
            pressure: PressureRow {
                some_seconds: snapshot.pressure.some.as_secs_f64(),
                full_seconds: snapshot.pressure.full.as_secs_f64(),
            },
            dropped: findings.dropped,
            suppressed_reports: findings.suppressed_reports,
            watchdog_cpu_seconds: snapshot.observer.watchdog_cpu.as_secs_f64(),
            tasks: TasksDocument::new(snapshot.kinds, &stalls),
            stalls: stalls.stalls,
            findings: findings.findings.into_iter().map(FindingRow::from).collect(),
        }
    }
}

impl TasksDocument {
    pub(crate) fn new(kinds: Vec<KindSnapshot>, stalls: &StallsDocument) -> Self {
        let mut blocked: Vec<_> = stalls.stalls.iter().filter(|stall| stall.end.is_none()).cloned().collect();
        blocked.sort_by_key(|stall| stall.start);
        Self {
            schema: TASKS_SCHEMA,
            now_unix_ns: unix_time::to_nanos(stalls.now),
            bounds_seconds: BUCKETS.map(|bound| bound.as_secs_f64()),
            kinds: kinds.into_iter().map(KindRow::from).collect(),
            blocked,
        }
    }
}

impl From<KindSnapshot> for KindRow {
    fn from(kind: KindSnapshot) -> Self {
        Self {
            alive: kind.alive(),
            spawned: kind.spawned,
            completed: kind.completed,
            self_wakes: kind.self_wakes,
            lost_wakers: kind.lost_wakers,
            never_yielded: kind.never_yielded,
            large_futures: kind.large_futures,
            future_size_bytes: kind.largest_future_bytes,
            poll: DistributionRow::from(&kind.poll_time),
            delay: DistributionRow::from(&kind.schedule_delay),
            name: kind.name,
        }
    }
}

impl From<&HistogramSnapshot> for DistributionRow {
    fn from(histogram: &HistogramSnapshot) -> Self {
        let mut counted = 0;
        let in_bucket = |at_most| at_most - std::mem::replace(&mut counted, at_most);
        let mut buckets: Vec<_> = counts_at_most(histogram).into_iter().map(in_bucket).collect();
        // The last bucket has the values above all bounds.
        buckets.push(histogram.count.saturating_sub(counted));
        Self {
            count: histogram.count,
            sum_seconds: histogram.sum.as_secs_f64(),
            max_seconds: histogram.max.as_secs_f64(),
            p50_seconds: histogram.quantile(0.5).as_secs_f64(),
            p99_seconds: histogram.quantile(0.99).as_secs_f64(),
            buckets,
        }
    }
}

impl From<WorkerSnapshot> for WorkerRow {
    fn from(worker: WorkerSnapshot) -> Self {
        Self {
            label: worker.qualified_label(),
            runtime: worker.runtime,
            busy_seconds: worker.busy.as_secs_f64(),
            polls: worker.polls,
            parks: worker.parks,
            local_queue_depth: worker.local_queue_depth,
            active_poll_seconds: worker.active_poll.map(|age| age.as_secs_f64()),
        }
    }
}

impl From<RuntimeSnapshot> for RuntimeRow {
    fn from(runtime: RuntimeSnapshot) -> Self {
        Self {
            name: runtime.name,
            workers: runtime.workers,
            alive_tasks: runtime.alive_tasks,
            global_queue_depth: runtime.global_queue_depth,
            blocking_threads: runtime.blocking_threads,
            idle_blocking_threads: runtime.idle_blocking_threads,
            blocking_queue_depth: runtime.blocking_queue_depth,
        }
    }
}

impl From<Finding> for FindingRow {
    fn from(finding: Finding) -> Self {
        let most_blocking = finding.tasks.into_iter().next().map(|share| share.kind);
        let task = most_blocking.unwrap_or(finding.task.kind);
        Self {
            site: finding.site.as_ref().map(ToString::to_string),
            function: finding.site.map(|site| site.function),
            id: finding.id,
            cause: finding.cause,
            primitive: finding.primitive,
            task,
            count: finding.count,
            total_seconds: finding.total.as_secs_f64(),
            max_seconds: finding.max.as_secs_f64(),
            ongoing_seconds: finding.ongoing.map(|age| age.as_secs_f64()),
            split: finding.split,
            victim_tasks: finding.victims.tasks,
            victim_tasks_are_estimated: finding.victims.is_estimate(),
            victim_waits: finding.victims.waits,
            victims_released: finding.victims.released,
            victim_delay_seconds: finding.victims.delay.as_secs_f64(),
            driver_held: finding.victims.driver_held,
            advice: finding.advice,
            evidence: finding.evidence.as_str(),
            last_seen_unix_seconds: unix_time::since_epoch(finding.last_seen).as_secs_f64(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::fake::distribution;
    use crate::report::sample;

    #[test]
    fn the_task_of_a_finding_is_the_kind_with_the_most_time() {
        let mut finding = sample::sleep();
        finding.task.kind = "latest".to_owned();
        assert_eq!(FindingRow::from(finding.clone()).task, "session");
        finding.tasks.clear();
        assert_eq!(FindingRow::from(finding).task, "latest");
    }

    #[test]
    fn every_value_is_in_exactly_one_bucket() {
        let distribution = DistributionRow::from(&distribution(3, 60_000));
        assert_eq!(distribution.buckets.len(), BUCKETS.len() + 1);
        assert_eq!(distribution.buckets.iter().sum::<u64>(), distribution.count);
        assert_eq!(distribution.buckets.last(), Some(&1), "one minute is above all bounds");
        assert_eq!(distribution.buckets[8], 3, "3 ms is between 2.5 ms and 5 ms");
    }
}
