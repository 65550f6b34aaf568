//! Converts a snapshot and the findings into metric families, which are plain
//! data. `prometheus`, `text` and `facade` export them.
//!
//! Names come from the application: label values and the number of series are
//! bounded here, and no series occurs twice.

pub(crate) mod label;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use crate::export::metrics::buckets::counts_at_most;
use crate::export::metrics::catalogue::{
    self as c, BUCKETS, MAX_LOOPS, MAX_RUNTIMES, MAX_SITES, MAX_TASK_NAMES, MAX_WORKERS, Metric, MetricKind,
};
use crate::export::metrics::families::label::bounded;
use crate::finding::{Cause, Finding};
use crate::snapshot::{
    BlockingCallSnapshot, HistogramSnapshot, KindSnapshot, LoopLagSnapshot, RuntimeSnapshot, Snapshot,
    WorkerSnapshot,
};

/// The label of everything beyond a limit.
const OTHER: Cow<'static, str> = Cow::Borrowed("other");

/// Returns all families that have a value, in the order of the catalogue.
/// `ended` has the findings without their stalls in progress.
pub(crate) fn families(snapshot: &Snapshot, ended: &[Finding]) -> Vec<Family> {
    let mut out = Families::default();
    tasks(&mut out, snapshot);
    workers(&mut out, snapshot);
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

/// Sums up the values of each label, because a series may occur only once. If
/// there are more than `limit` labels, those that sort last share `other`.
fn by_label<K: Ord, T, V: Default>(
    items: impl IntoIterator<Item = (K, T)>,
    limit: usize,
    other: K,
    add: impl Fn(&mut V, T),
    merge: impl Fn(&mut V, V),
) -> BTreeMap<K, V> {
    let mut sums = BTreeMap::new();
    for (label, item) in items {
        add(sums.entry(label).or_default(), item);
    }
    if sums.len() <= limit {
        return sums;
    }
    let mut sums = sums.into_iter();
    let mut limited: BTreeMap<_, _> = sums.by_ref().take(limit).collect();
    let rest = limited.entry(other).or_default();
    sums.for_each(|(_, sum)| merge(rest, sum));
    limited
}

fn tasks(out: &mut Families, snapshot: &Snapshot) {
    let add = |sum: &mut KindSnapshot, kind: &KindSnapshot| {
        sum.poll_time.merge(&kind.poll_time);
        sum.schedule_delay.merge(&kind.schedule_delay);
        sum.spawned += kind.spawned;
        sum.completed += kind.completed;
        sum.self_wakes += kind.self_wakes;
        sum.lost_wakers += kind.lost_wakers;
        sum.never_yielded += kind.never_yielded;
        sum.large_futures += kind.large_futures;
        sum.largest_future_bytes = sum.largest_future_bytes.max(kind.largest_future_bytes);
    };
    let named = snapshot.kinds.iter().map(|kind| (bounded(&kind.name), kind));
    let kinds = by_label(named, MAX_TASK_NAMES, OTHER, add, |sum, kind| add(sum, &kind));
    for (name, kind) in &kinds {
        let name = &**name;
        if snapshot.has_recorded_in_full {
            out.add(&c::TASK_POLL_DURATION, &[name], &kind.poll_time);
            out.add(&c::TASK_SCHEDULE_DELAY, &[name], &kind.schedule_delay);
        }
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

fn workers(out: &mut Families, snapshot: &Snapshot) {
    let add = |sum: &mut WorkerSnapshot, worker: &WorkerSnapshot| {
        sum.busy += worker.busy;
        sum.polls += worker.polls;
        sum.parks += worker.parks;
        sum.local_queue_depth = sum_of_known(sum.local_queue_depth, worker.local_queue_depth);
    };
    let labelled =
        snapshot.workers.iter().map(|worker| ([bounded(&worker.runtime), bounded(&worker.label)], worker));
    let other = [Cow::Borrowed(""), OTHER];
    let workers = by_label(labelled, MAX_WORKERS, other, add, |sum, worker| add(sum, &worker));
    for ([runtime, worker], values) in &workers {
        let label = [&**runtime, &**worker];
        if snapshot.has_recorded_in_full {
            out.add(&c::WORKER_BUSY, &label, seconds(values.busy));
        }
        out.add(&c::WORKER_POLLS, &label, values.polls as f64);
        out.add(&c::WORKER_PARKS, &label, values.parks as f64);
        if let Some(depth) = values.local_queue_depth {
            out.add(&c::LOCAL_QUEUE_DEPTH, &label, depth as f64);
        }
    }
}

fn current_values(out: &mut Families, snapshot: &Snapshot) {
    out.add(&c::WORKERS_BLOCKED, &[], snapshot.workers_blocked() as f64);
    out.add(&c::LONGEST_ACTIVE_POLL, &[], seconds(snapshot.longest_active_poll()));
    out.add(&c::THRESHOLD, &[], seconds(snapshot.threshold));
    let level = if snapshot.is_paused { "paused" } else { snapshot.recording.as_str() };
    out.add(&c::RECORDING, &[level], 1.0);
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
    worst.extend(others.into_iter().map(|(cause, sum)| ((OTHER.into_owned(), cause), sum)));

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
        Some(site) if finding.cause.is_computation() => bounded(&site.function).into_owned(),
        Some(site) => bounded(&site.to_string()).into_owned(),
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
    let add = |sum: &mut RuntimeSnapshot, runtime: &RuntimeSnapshot| {
        sum.workers += runtime.workers;
        sum.alive_tasks += runtime.alive_tasks;
        sum.global_queue_depth += runtime.global_queue_depth;
        sum.blocking_threads = sum_of_known(sum.blocking_threads, runtime.blocking_threads);
        sum.idle_blocking_threads = sum_of_known(sum.idle_blocking_threads, runtime.idle_blocking_threads);
        sum.blocking_queue_depth = sum_of_known(sum.blocking_queue_depth, runtime.blocking_queue_depth);
    };
    let named = snapshot.runtimes.iter().map(|runtime| (bounded(&runtime.name), runtime));
    let runtimes = by_label(named, MAX_RUNTIMES, OTHER, add, |sum, runtime| add(sum, &runtime));
    for (name, runtime) in &runtimes {
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
    let add = |sum: &mut BlockingCallSnapshot, call: &BlockingCallSnapshot| {
        sum.queue_wait.merge(&call.queue_wait);
        sum.run_time.merge(&call.run_time);
    };
    let named = snapshot.blocking_calls.iter().map(|call| (bounded(call.name), call));
    let calls = by_label(named, MAX_TASK_NAMES, OTHER, add, |sum, call| add(sum, &call));
    for (name, call) in &calls {
        out.add(&c::POOL_QUEUE_WAIT, &[name], &call.queue_wait);
        out.add(&c::POOL_RUN_TIME, &[name], &call.run_time);
    }
}

fn loop_lag(out: &mut Families, snapshot: &Snapshot) {
    let add = |sum: &mut LoopLagSnapshot, canary: &LoopLagSnapshot| {
        sum.lag.merge(&canary.lag);
        sum.unanswered = sum.unanswered.max(canary.unanswered);
    };
    let named = snapshot.loop_lag.iter().map(|canary| (bounded(canary.name), canary));
    let canaries = by_label(named, MAX_LOOPS, OTHER, add, |sum, canary| add(sum, &canary));
    for (name, canary) in &canaries {
        out.add(&c::LOOP_LAG, &[name], &canary.lag);
        out.add(&c::LOOP_LAG_UNANSWERED, &[name], seconds(canary.unanswered.unwrap_or_default()));
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
