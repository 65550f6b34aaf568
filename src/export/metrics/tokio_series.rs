//! What tokio-metrics' `RuntimeMonitor` tells, under its own names: `tokio_` and
//! the field.
//!
//! It tells what was new since it was asked last. Here that is summed up, so
//! that a scrape takes nothing away from the next one.

use std::collections::HashMap;
use std::fmt;

use tokio::runtime::{Handle, Id};
use tokio_metrics::{RuntimeMetrics, RuntimeMonitor};

use crate::export::metrics::catalogue::{Metric, MetricKind};
use crate::export::metrics::families::{Family, Series, Value};
use crate::lock::Lock;

/// How a field becomes a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Is {
    /// Is added to what was before.
    New,
    /// Is a value of the moment.
    Now,
}

struct Field {
    metric: Metric,
    is: Is,
    value: fn(&RuntimeMetrics) -> f64,
}

/// Declares the fields in the order in which they are shown. What only goes up
/// is a gauge too: a counter's name would have to end in `_total`.
macro_rules! fields {
    ($($(#[$cfg:meta])? $is:ident $name:literal $field:ident $help:literal $convert:expr;)*) => {
        const FIELDS: &[Field] = &[$($(#[$cfg])? Field {
            metric: Metric { name: $name, help: $help, kind: MetricKind::Gauge, labels: &["runtime"] },
            is: Is::$is,
            value: |metrics| $convert(metrics.$field),
        }),*];
    };
}

#[cfg_attr(not(tokio_unstable), allow(dead_code))]
fn number(value: u64) -> f64 {
    value as f64
}

fn size(value: usize) -> f64 {
    value as f64
}

/// In microseconds, as tokio-metrics exports durations.
fn micros(value: std::time::Duration) -> f64 {
    value.as_micros() as f64
}

fields! {
    Now "tokio_workers_count" workers_count "Worker threads." size;
    Now "tokio_live_tasks_count" live_tasks_count "Tasks that live now." size;
    Now "tokio_global_queue_depth" global_queue_depth "Tasks in the queue that all workers share." size;
    New "tokio_total_park_count" total_park_count "Times that workers parked." number;
    New "tokio_total_busy_duration" total_busy_duration "Microseconds that workers were busy, by Tokio's own count." micros;
    #[cfg(tokio_unstable)] New "tokio_total_noop_count" total_noop_count "Times that workers woke and found nothing to do." number;
    #[cfg(tokio_unstable)] New "tokio_total_steal_count" total_steal_count "Tasks that workers stole from others." number;
    #[cfg(tokio_unstable)] New "tokio_total_steal_operations" total_steal_operations "Times that workers stole from others." number;
    #[cfg(tokio_unstable)] New "tokio_num_remote_schedules" num_remote_schedules "Tasks that were woken from outside the runtime." number;
    #[cfg(tokio_unstable)] New "tokio_total_local_schedule_count" total_local_schedule_count "Tasks that workers woke." number;
    #[cfg(tokio_unstable)] New "tokio_total_overflow_count" total_overflow_count "Times that a worker's own queue was full." number;
    #[cfg(tokio_unstable)] New "tokio_total_polls_count" total_polls_count "Polls, by Tokio's own count." number;
    #[cfg(tokio_unstable)] Now "tokio_total_local_queue_depth" total_local_queue_depth "Tasks in the workers' own queues." size;
    #[cfg(tokio_unstable)] Now "tokio_blocking_queue_depth" blocking_queue_depth "Calls that wait for a thread of the blocking pool." size;
    #[cfg(tokio_unstable)] Now "tokio_blocking_threads_count" blocking_threads_count "Threads of the blocking pool." size;
    #[cfg(tokio_unstable)] Now "tokio_idle_blocking_threads_count" idle_blocking_threads_count "Threads of the blocking pool that have nothing to do." size;
    #[cfg(tokio_unstable)] New "tokio_budget_forced_yield_count" budget_forced_yield_count "Times that a task had used up its budget and had to yield." number;
    #[cfg(tokio_unstable)] New "tokio_io_driver_ready_count" io_driver_ready_count "Events that the I/O driver passed on." number;
}

/// All of them.
pub(crate) fn metrics() -> impl Iterator<Item = &'static Metric> {
    FIELDS.iter().map(|field| &field.metric)
}

/// The monitors of the runtimes there are.
#[derive(Default)]
pub(crate) struct TokioSeries(Lock<HashMap<String, Monitored>>);

struct Monitored {
    runtime: Id,
    news: Box<dyn Iterator<Item = RuntimeMetrics> + Send>,
    values: [f64; FIELDS.len()],
}

impl Monitored {
    fn new(runtime: &Handle) -> Self {
        let news = Box::new(RuntimeMonitor::new(runtime).intervals());
        Self { runtime: runtime.id(), news, values: [0.0; FIELDS.len()] }
    }

    fn look(&mut self) {
        let Some(news) = self.news.next() else { return };
        for (value, field) in self.values.iter_mut().zip(FIELDS) {
            let new = (field.value)(&news);
            *value = if field.is == Is::New { *value + new } else { new };
        }
    }
}

impl TokioSeries {
    /// The families of `runtimes`, by their labels. A runtime that is no more is
    /// forgotten, and its memory let go.
    pub(crate) fn families(&self, runtimes: &[(String, Handle)]) -> Vec<Family> {
        let mut monitored = self.0.lock();
        monitored.retain(|label, of| {
            runtimes.iter().any(|(name, handle)| name == label && handle.id() == of.runtime)
        });
        let mut families: Vec<_> = metrics().map(|metric| Family { metric, series: Vec::new() }).collect();
        for (label, handle) in runtimes {
            let of = monitored.entry(label.clone()).or_insert_with(|| Monitored::new(handle));
            of.look();
            for (family, value) in families.iter_mut().zip(of.values) {
                family.series.push(Series { labels: vec![label.clone()], value: Value::Number(value) });
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
        let Value::Number(value) = family.series[0].value else { panic!("{name} is a histogram") };
        value
    }

    #[test]
    fn totals_grow_from_scrape_to_scrape_and_a_runtime_that_ended_is_forgotten() {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
        let runtimes = [("tokio".to_owned(), runtime.handle().clone())];
        let series = TokioSeries::default();
        assert_eq!(value(&series.families(&runtimes), "tokio_workers_count"), 2.0);
        let mut before = 0.0;
        for _ in 0..3 {
            // Tokio publishes its counts as a worker parks.
            let parked = loop {
                runtime.block_on(runtime.spawn(async { tokio::task::yield_now().await })).unwrap();
                let parked = value(&series.families(&runtimes), "tokio_total_park_count");
                if parked > before {
                    break parked;
                }
            };
            before = parked;
        }
        assert!(before >= 3.0, "nothing is taken away by a scrape: {before}");
        assert!(series.families(&[]).is_empty());
        assert!(series.0.lock().is_empty());
    }

    #[test]
    #[cfg(tokio_unstable)]
    fn the_documentation_shows_these() {
        let page = include_str!("../../../docs/metrics.md");
        for metric in metrics() {
            let line = format!("| `{}` | {} |\n", metric.name, metric.help);
            assert!(page.contains(&line), "docs/metrics.md must have the line {line}");
        }
    }
}
