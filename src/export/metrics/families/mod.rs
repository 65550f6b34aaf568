//! Converts a snapshot and the findings into metric families, which are plain
//! data. `prometheus`, `text` and `facade` export them.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::export::metrics::buckets::counts_at_most;
use crate::export::metrics::catalogue::{self as c, BUCKETS, MAX_SITES, Metric, MetricKind};
use crate::finding::{Cause, Finding};
use crate::snapshot::{HistogramSnapshot, KindSnapshot, RuntimeSnapshot, Snapshot, WorkerSnapshot};

/// Returns all families that have a value, in the order of the catalogue.
/// `ended` has the findings without their stalls in progress.
pub(crate) fn families(snapshot: &Snapshot, ended: &[Finding]) -> Vec<Family> {
    let mut out = Families::default();
    tasks(&mut out, &snapshot.kinds);
    workers(&mut out, &snapshot.workers);
    current_values(&mut out, snapshot);
    blocking(&mut out, snapshot);
    sites(&mut out, ended);
    out.add(&c::STARVED, &[], seconds(snapshot.starved));
    out.add(&c::PRESSURE, &["some"], seconds(snapshot.pressure.some));
    out.add(&c::PRESSURE, &["full"], seconds(snapshot.pressure.full));
    runtimes(&mut out, snapshot);
    blocking_calls(&mut out, snapshot);
    loop_lag(&mut out, snapshot);
    observer(&mut out, snapshot);
    out.in_order()
}

/// Sums up kinds of the same name, because each series may occur only once.
fn tasks(out: &mut Families, kinds: &[KindSnapshot]) {
    let mut by_name = BTreeMap::<&str, KindSnapshot>::new();
    for kind in kinds {
        let sum = by_name.entry(&kind.name).or_default();
        sum.poll_time.merge(&kind.poll_time);
        sum.schedule_delay.merge(&kind.schedule_delay);
        sum.spawned += kind.spawned;
        sum.completed += kind.completed;
        sum.self_wakes += kind.self_wakes;
        sum.lost_wakers += kind.lost_wakers;
        sum.never_yielded += kind.never_yielded;
        sum.large_futures += kind.large_futures;
        sum.largest_future_bytes = sum.largest_future_bytes.max(kind.largest_future_bytes);
    }
    for (name, kind) in by_name {
        out.add(&c::TASK_POLL_DURATION, &[name], &kind.poll_time);
        out.add(&c::TASK_SCHEDULE_DELAY, &[name], &kind.schedule_delay);
        out.add(&c::TASKS_SPAWNED, &[name], kind.spawned as f64);
        out.add(&c::TASKS_COMPLETED, &[name], kind.completed as f64);
        out.add(&c::TASKS_ALIVE, &[name], kind.alive() as f64);
        // Lints and sizes are known only for named futures.
        if kind.largest_future_bytes > 0 {
            for (lint, count) in [
                ("self-wake", kind.self_wakes),
                ("lost-waker", kind.lost_wakers),
                ("never-yielded", kind.never_yielded),
                ("large-future", kind.large_futures),
            ] {
                out.add(&c::TASK_LINTS, &[name, lint], count as f64);
            }
            out.add(&c::TASK_FUTURE_SIZE, &[name], kind.largest_future_bytes as f64);
        }
    }
}

fn workers(out: &mut Families, workers: &[WorkerSnapshot]) {
    let mut by_label = BTreeMap::<[&str; 2], WorkerSnapshot>::new();
    for worker in workers {
        let sum = by_label.entry([&worker.runtime, &worker.label]).or_default();
        sum.busy += worker.busy;
        sum.polls += worker.polls;
        sum.parks += worker.parks;
        sum.local_queue_depth = sum_of_known(sum.local_queue_depth, worker.local_queue_depth);
    }
    for (label, worker) in by_label {
        out.add(&c::WORKER_BUSY, &label, seconds(worker.busy));
        out.add(&c::WORKER_POLLS, &label, worker.polls as f64);
        out.add(&c::WORKER_PARKS, &label, worker.parks as f64);
        if let Some(depth) = worker.local_queue_depth {
            out.add(&c::LOCAL_QUEUE_DEPTH, &label, depth as f64);
        }
    }
}

fn current_values(out: &mut Families, snapshot: &Snapshot) {
    out.add(&c::WORKERS_BLOCKED, &[], snapshot.workers_blocked() as f64);
    out.add(&c::LONGEST_ACTIVE_POLL, &[], seconds(snapshot.longest_active_poll()));
    out.add(&c::THRESHOLD, &[], seconds(snapshot.threshold));
    out.add(&c::BUILD_INFO, &[env!("CARGO_PKG_VERSION")], 1.0);
}

/// Adds the stalls that the code caused. Starvation is caused by the machine,
/// so it has its own metric and is not part of these families.
fn blocking(out: &mut Families, snapshot: &Snapshot) {
    for cause in snapshot.causes.iter() {
        let label = [cause.cause.as_str()];
        out.add(&c::BLOCKING_EVENTS, &label, cause.durations.count as f64);
        out.add(&c::BLOCKING_SECONDS, &label, seconds(cause.durations.sum));
        out.add(&c::BLOCKING_DURATION, &label, &cause.durations);
    }
}

fn sites(out: &mut Families, findings: &[Finding]) {
    let mut by_site = BTreeMap::<(String, Cause), (u64, f64)>::new();
    for finding in findings {
        let sum = by_site.entry((site_label(finding), finding.cause)).or_default();
        sum.0 += finding.count;
        sum.1 += finding.total.as_secs_f64();
    }
    let mut worst: Vec<_> = by_site.into_iter().collect();
    worst.sort_by(|a, b| b.1.1.total_cmp(&a.1.1));

    let beyond_limit = worst.split_off(worst.len().min(MAX_SITES));
    let mut others = BTreeMap::<Cause, (u64, f64)>::new();
    for ((_, cause), (count, total)) in beyond_limit {
        let sum = others.entry(cause).or_default();
        sum.0 += count;
        sum.1 += total;
    }
    worst.extend(others.into_iter().map(|(cause, sum)| (("other".to_owned(), cause), sum)));

    for ((site, cause), (count, total)) in worst {
        let labels = [site.as_str(), cause.as_str()];
        out.add(&c::BLOCKING_SITE_EVENTS, &labels, count as f64);
        out.add(&c::BLOCKING_SITE_SECONDS, &labels, total);
    }
}

/// Returns a site label that does not change. For a computation this is the
/// function, not the line: a finding shows the line that was sampled most
/// often, and when that line changes, a new series would start.
fn site_label(finding: &Finding) -> String {
    match &finding.site {
        Some(site) if finding.cause.is_computation() => site.function.clone(),
        Some(site) => site.to_string(),
        None => "unknown".to_owned(),
    }
}

fn sum_of_known(a: Option<usize>, b: Option<usize>) -> Option<usize> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a + b),
        (a, b) => a.or(b),
    }
}

/// Adds Tokio's values. Values that this build of Tokio does not provide are
/// absent, not zero.
fn runtimes(out: &mut Families, snapshot: &Snapshot) {
    let mut by_name = BTreeMap::<&str, RuntimeSnapshot>::new();
    for runtime in &snapshot.runtimes {
        let sum = by_name.entry(&runtime.name).or_default();
        sum.workers += runtime.workers;
        sum.alive_tasks += runtime.alive_tasks;
        sum.global_queue_depth += runtime.global_queue_depth;
        sum.blocking_threads = sum_of_known(sum.blocking_threads, runtime.blocking_threads);
        sum.idle_blocking_threads = sum_of_known(sum.idle_blocking_threads, runtime.idle_blocking_threads);
        sum.blocking_queue_depth = sum_of_known(sum.blocking_queue_depth, runtime.blocking_queue_depth);
    }
    for (name, runtime) in by_name {
        let gauges = [
            (&c::WORKERS, Some(runtime.workers)),
            (&c::RUNTIME_TASKS, Some(runtime.alive_tasks)),
            (&c::GLOBAL_QUEUE_DEPTH, Some(runtime.global_queue_depth)),
            (&c::POOL_THREADS, runtime.blocking_threads),
            (&c::POOL_IDLE_THREADS, runtime.idle_blocking_threads),
            (&c::POOL_QUEUE_DEPTH, runtime.blocking_queue_depth),
        ];
        for (metric, value) in gauges {
            if let Some(value) = value {
                out.add(metric, &[name], value as f64);
            }
        }
    }
}

fn blocking_calls(out: &mut Families, snapshot: &Snapshot) {
    for call in &snapshot.blocking_calls {
        out.add(&c::POOL_QUEUE_WAIT, &[call.name], &call.queue_wait);
        out.add(&c::POOL_RUN_TIME, &[call.name], &call.run_time);
    }
}

fn loop_lag(out: &mut Families, snapshot: &Snapshot) {
    for canary in &snapshot.loop_lag {
        out.add(&c::LOOP_LAG, &[canary.name], &canary.lag);
        let unanswered = canary.unanswered.unwrap_or_default();
        out.add(&c::LOOP_LAG_UNANSWERED, &[canary.name], seconds(unanswered));
    }
}

fn observer(out: &mut Families, snapshot: &Snapshot) {
    let observer = &snapshot.observer;
    out.add(&c::WATCHDOG_CPU, &[], seconds(observer.watchdog_cpu));
    out.add(&c::SIGNALS_GIVEN_UP, &[], f64::from(observer.signals_given_up));
    for hook in &observer.replaced_hooks {
        out.add(&c::HOOKS_REPLACED, &[hook], 1.0);
    }
    for (metric, counts) in [(&c::CAPTURES, &observer.captures), (&c::DROPPED, &observer.dropped)] {
        let mut by_label = BTreeMap::<&str, u64>::new();
        for (label, count) in counts {
            *by_label.entry(label).or_default() += count;
        }
        for (label, count) in by_label {
            out.add(metric, &[label], count as f64);
        }
    }
}

fn seconds(duration: Duration) -> f64 {
    duration.as_secs_f64()
}

/// All series of one metric.
#[derive(Debug, PartialEq)]
pub(crate) struct Family {
    pub(crate) metric: &'static Metric,
    pub(crate) series: Vec<Series>,
}

/// One series.
#[derive(Debug, PartialEq)]
pub(crate) struct Series {
    /// The values of the labels, in the order of [`Metric::labels`].
    pub(crate) labels: Vec<String>,
    pub(crate) value: SeriesValue,
}

/// The value of a series.
#[derive(Debug, PartialEq)]
pub(crate) enum SeriesValue {
    Number(f64),
    Distribution(Box<Distribution>),
}

/// A histogram in the exported buckets.
#[derive(Debug, PartialEq)]
pub(crate) struct Distribution {
    /// For each bound, how many values are at most that bound.
    pub(crate) at_most: [u64; BUCKETS.len()],
    pub(crate) count: u64,
    pub(crate) sum_seconds: f64,
}

impl From<f64> for SeriesValue {
    fn from(number: f64) -> Self {
        Self::Number(number)
    }
}

impl From<&HistogramSnapshot> for SeriesValue {
    fn from(snapshot: &HistogramSnapshot) -> Self {
        Self::Distribution(Box::new(Distribution {
            at_most: counts_at_most(snapshot),
            count: snapshot.count,
            sum_seconds: seconds(snapshot.sum),
        }))
    }
}

/// The series collected so far, by the name of their metric.
#[derive(Default)]
struct Families(BTreeMap<&'static str, Vec<Series>>);

impl Families {
    fn add(&mut self, metric: &Metric, labels: &[&str], value: impl Into<SeriesValue>) {
        let value = value.into();
        debug_assert_eq!(metric.labels.len(), labels.len(), "{}", metric.name);
        debug_assert_eq!(
            metric.kind == MetricKind::Histogram,
            matches!(value, SeriesValue::Distribution(_)),
            "{}",
            metric.name
        );
        let labels = labels.iter().map(ToString::to_string).collect();
        self.0.entry(metric.name).or_default().push(Series { labels, value });
    }

    fn in_order(mut self) -> Vec<Family> {
        let families =
            c::ALL.iter().filter_map(|metric| Some(Family { metric, series: self.0.remove(metric.name)? }));
        families.collect()
    }
}

#[cfg(all(test, feature = "prometheus"))]
mod tests;
