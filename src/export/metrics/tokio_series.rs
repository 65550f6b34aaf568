//! The metrics of tokio-metrics' `RuntimeMonitor`. Their names are `tokio_` and
//! the name of the field.
//!
//! The monitor reports changes since its last reading. This module sums them
//! up, so that a scrape does not change what the next one returns.

use std::collections::HashMap;
use std::fmt;

use tokio::runtime::{Handle, Id};
use tokio_metrics::{RuntimeMetrics, RuntimeMonitor};

use crate::export::metrics::catalogue::{MAX_RUNTIMES, Metric, MetricKind};
use crate::export::metrics::families::label::bounded;
use crate::export::metrics::families::{Family, Series, SeriesValue};
use crate::lock::Lock;

/// How the readings of a field become the exported value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Accumulation {
    /// The exported value is the sum of all readings.
    Sum,
    /// The exported value is the last reading.
    Current,
}

struct MonitorField {
    metric: Metric,
    accumulation: Accumulation,
    read: fn(&RuntimeMetrics) -> f64,
}

/// Declares the fields in the order of the export. Sums are gauges too, because
/// the name of a counter must end in `_total`.
macro_rules! fields {
    ($($(#[$cfg:meta])? $accumulation:ident $name:literal $field:ident $help:literal $convert:expr;)*) => {
        const FIELDS: &[MonitorField] = &[$($(#[$cfg])? MonitorField {
            metric: Metric { name: $name, help: $help, kind: MetricKind::Gauge, labels: &["runtime"] },
            accumulation: Accumulation::$accumulation,
            read: |metrics| $convert(metrics.$field),
        }),*];
    };
}

#[cfg_attr(not(tokio_unstable), allow(dead_code))]
fn count(value: u64) -> f64 {
    value as f64
}

fn size(value: usize) -> f64 {
    value as f64
}

/// Converts a duration to microseconds, as tokio-metrics exports it.
fn micros(value: std::time::Duration) -> f64 {
    value.as_micros() as f64
}

fields! {
    Current "tokio_workers_count" workers_count "Worker threads." size;
    Current "tokio_live_tasks_count" live_tasks_count "Live tasks." size;
    Current "tokio_global_queue_depth" global_queue_depth "Tasks in the queue that all workers share." size;
    Sum "tokio_total_park_count" total_park_count "Times that workers parked." count;
    Sum "tokio_total_busy_duration" total_busy_duration "Time that workers were busy, in microseconds, measured by Tokio." micros;
    #[cfg(tokio_unstable)] Sum "tokio_total_noop_count" total_noop_count "Times that workers unparked and parked again without work." count;
    #[cfg(tokio_unstable)] Sum "tokio_total_steal_count" total_steal_count "Tasks that workers stole from other workers." count;
    #[cfg(tokio_unstable)] Sum "tokio_total_steal_operations" total_steal_operations "Times that workers stole tasks from other workers." count;
    #[cfg(tokio_unstable)] Sum "tokio_num_remote_schedules" num_remote_schedules "Tasks that were scheduled from outside the runtime." count;
    #[cfg(tokio_unstable)] Sum "tokio_total_local_schedule_count" total_local_schedule_count "Tasks that workers scheduled." count;
    #[cfg(tokio_unstable)] Sum "tokio_total_overflow_count" total_overflow_count "Times that a worker's local queue was full." count;
    #[cfg(tokio_unstable)] Sum "tokio_total_polls_count" total_polls_count "Polls, counted by Tokio." count;
    #[cfg(tokio_unstable)] Current "tokio_total_local_queue_depth" total_local_queue_depth "Tasks in the local queues of all workers." size;
    #[cfg(tokio_unstable)] Current "tokio_blocking_queue_depth" blocking_queue_depth "Calls that wait for a thread of the blocking pool." size;
    #[cfg(tokio_unstable)] Current "tokio_blocking_threads_count" blocking_threads_count "Threads of the blocking pool." size;
    #[cfg(tokio_unstable)] Current "tokio_idle_blocking_threads_count" idle_blocking_threads_count "Idle threads of the blocking pool." size;
    #[cfg(tokio_unstable)] Sum "tokio_budget_forced_yield_count" budget_forced_yield_count "Times that a task was forced to yield because it had used up its budget." count;
    #[cfg(tokio_unstable)] Sum "tokio_io_driver_ready_count" io_driver_ready_count "Ready events that the I/O driver processed." count;
}

/// Returns the metrics of all fields.
pub(crate) fn metrics() -> impl Iterator<Item = &'static Metric> {
    FIELDS.iter().map(|field| &field.metric)
}

/// The monitors of the live runtimes, by runtime name.
#[derive(Default)]
pub(crate) struct TokioSeries(Lock<HashMap<String, MonitoredRuntime>>);

struct MonitoredRuntime {
    id: Id,
    /// Each item has the changes since the item before.
    intervals: Box<dyn Iterator<Item = RuntimeMetrics> + Send>,
    values: [f64; FIELDS.len()],
}

impl MonitoredRuntime {
    fn new(runtime: &Handle) -> Self {
        let intervals = Box::new(RuntimeMonitor::new(runtime).intervals());
        Self { id: runtime.id(), intervals, values: [0.0; FIELDS.len()] }
    }

    /// Updates the values with the changes since the last reading.
    fn read(&mut self) {
        let Some(interval) = self.intervals.next() else { return };
        for (value, field) in self.values.iter_mut().zip(FIELDS) {
            let reading = (field.read)(&interval);
            match field.accumulation {
                Accumulation::Sum => *value += reading,
                Accumulation::Current => *value = reading,
            }
        }
    }
}

impl TokioSeries {
    /// Returns the families of the first [`MAX_RUNTIMES`] of `runtimes`, which
    /// are given with their names, each of which occurs once. Removes monitors
    /// of other runtimes, because a monitor keeps the memory of its runtime.
    pub(crate) fn families(&self, runtimes: &[(String, Handle)]) -> Vec<Family> {
        let mut monitored = self.0.lock();
        monitored.retain(|label, runtime| {
            runtimes.iter().any(|(name, handle)| name == label && handle.id() == runtime.id)
        });
        let mut families: Vec<_> = metrics().map(|metric| Family { metric, series: Vec::new() }).collect();
        for (label, handle) in runtimes.iter().take(MAX_RUNTIMES) {
            let runtime = monitored.entry(label.clone()).or_insert_with(|| MonitoredRuntime::new(handle));
            runtime.read();
            for (family, value) in families.iter_mut().zip(runtime.values) {
                family.series.push(Series {
                    labels: vec![bounded(label).into_owned()],
                    value: SeriesValue::Number(value),
                });
            }
        }
        families.retain(|family| !family.series.is_empty());
        families
    }
}

impl fmt::Debug for TokioSeries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokioSeries").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(families: &[Family], name: &str) -> f64 {
        let family = families.iter().find(|family| family.metric.name == name).unwrap();
        let SeriesValue::Number(value) = family.series[0].value else { panic!("{name} is a histogram") };
        value
    }

    #[test]
    fn scrapes_do_not_reset_totals_and_ended_runtimes_are_removed() {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
        let runtimes = [("tokio".to_owned(), runtime.handle().clone())];
        let series = TokioSeries::default();
        assert_eq!(value(&series.families(&runtimes), "tokio_workers_count"), 2.0);
        let mut before = 0.0;
        for _ in 0..3 {
            // Tokio publishes its counts when a worker parks.
            let parked = loop {
                runtime.block_on(runtime.spawn(async { tokio::task::yield_now().await })).unwrap();
                let parked = value(&series.families(&runtimes), "tokio_total_park_count");
                if parked > before {
                    break parked;
                }
            };
            before = parked;
        }
        assert!(before >= 3.0, "a scrape must not reset the total: {before}");
        assert!(series.families(&[]).is_empty());
        assert!(series.0.lock().is_empty());
    }

    #[test]
    #[cfg(tokio_unstable)]
    fn the_documentation_contains_these_metrics() {
        let page = include_str!("../../../docs/metrics.md");
        for metric in metrics() {
            let line = format!("| `{}` | {} |\n", metric.name, metric.help);
            assert!(page.contains(&line), "docs/metrics.md must contain the line {line}");
        }
    }
}
