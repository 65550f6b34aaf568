//! Prometheus metrics of the run in progress, `loadgen_*`.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use hdrhistogram::Histogram;
use prometheus::core::{Collector, Desc};
use prometheus::{Registry, proto};

use crate::record::{FailureKind, RunState};

/// The bucket bounds of the histograms. loopscope's histograms have the same
/// bounds.
const BUCKET_BOUNDS_SECONDS: [f64; 19] = [
    0.00001, 0.000025, 0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25,
    0.5, 1.0, 2.5, 5.0, 10.0,
];

/// The run in progress. A process has at most one at a time.
static CURRENT_RUN: Mutex<Weak<RunState>> = Mutex::new(Weak::new());

/// Makes `run` the source of the metrics.
pub(crate) fn set_current_run(run: &Arc<RunState>) {
    *CURRENT_RUN.lock().unwrap_or_else(PoisonError::into_inner) = Arc::downgrade(run);
}

/// Returns a registry with the metrics.
pub(crate) fn registry() -> prometheus::Result<Registry> {
    let registry = Registry::new();
    registry.register(Box::new(Exposition))?;
    Ok(registry)
}

/// Reads the run's counters at each scrape, and costs nothing in between.
#[derive(Debug)]
struct Exposition;

impl Collector for Exposition {
    fn desc(&self) -> Vec<&Desc> {
        Vec::new()
    }

    fn collect(&self) -> Vec<proto::MetricFamily> {
        let run = CURRENT_RUN.lock().unwrap_or_else(PoisonError::into_inner).upgrade();
        run.map(|run| families(&run)).unwrap_or_default()
    }
}

fn families(run: &RunState) -> Vec<proto::MetricFamily> {
    let live = run.live.view();
    let received = run.received();
    let counts = received.counts();
    let counter_family =
        |name, help, value| family(name, help, proto::MetricType::COUNTER, vec![counter(value, None)]);
    let failures = FailureKind::ALL
        .into_iter()
        .map(|kind| counter(run.failures.count_of(kind), Some(("kind", kind.as_str()))))
        .collect();
    let stages = &run.plan.stages;
    vec![
        gauge_family("loadgen_connections", "Connections that are open.", live.open as f64),
        gauge_family(
            "loadgen_target_rate",
            "Planned rate of commands at this time, in commands per second.",
            stages.rate_at(run.now_ns()),
        ),
        counter_family("loadgen_commands_planned_total", "Commands that have become due.", live.planned),
        counter_family("loadgen_commands_sent_total", "Commands that were sent.", live.sent),
        counter_family(
            "loadgen_deliveries_total",
            "Deliveries or answers received, without duplicates.",
            live.delivered,
        ),
        counter_family(
            "loadgen_deliveries_late_total",
            "Deliveries or answers above the tightest latency objective.",
            counts.late,
        ),
        counter_family("loadgen_duplicates_total", "Deliveries received more than once.", counts.duplicated),
        counter_family(
            "loadgen_out_of_order_total",
            "Deliveries that arrived after a later message of the same sender.",
            counts.out_of_order,
        ),
        gauge_family(
            "loadgen_deliveries_outstanding",
            "Deliveries or answers not received yet.",
            live.awaited.saturating_sub(live.delivered) as f64,
        ),
        family(
            "loadgen_failures_total",
            "Failed connections and protocol errors, by kind.",
            proto::MetricType::COUNTER,
            failures,
        ),
        histogram_family(
            "loadgen_latency_seconds",
            "Time from the due time of a command to the receipt of its delivery or answer.",
            &received.latency,
        ),
        histogram_family(
            "loadgen_service_seconds",
            "Time from the sending of a command to the receipt of its delivery or answer.",
            &received.service,
        ),
    ]
}

fn family(
    name: &str,
    help: &str,
    kind: proto::MetricType,
    series: Vec<proto::Metric>,
) -> proto::MetricFamily {
    let mut family = proto::MetricFamily::default();
    family.set_name(name.to_owned());
    family.set_help(help.to_owned());
    family.set_field_type(kind);
    family.set_metric(series);
    family
}

fn counter(value: u64, label: Option<(&str, &str)>) -> proto::Metric {
    let pair = label.map(|(name, value)| {
        let mut pair = proto::LabelPair::default();
        pair.set_name(name.to_owned());
        pair.set_value(value.to_owned());
        pair
    });
    let mut metric = proto::Metric::from_label(pair.into_iter().collect());
    let mut counter = proto::Counter::default();
    counter.set_value(value as f64);
    metric.set_counter(counter);
    metric
}

fn gauge_family(name: &str, help: &str, value: f64) -> proto::MetricFamily {
    let mut metric = proto::Metric::default();
    let mut gauge = proto::Gauge::default();
    gauge.set_value(value);
    metric.set_gauge(gauge);
    family(name, help, proto::MetricType::GAUGE, vec![metric])
}

fn histogram_family(name: &str, help: &str, histogram_ns: &Histogram<u64>) -> proto::MetricFamily {
    let mut cumulative_counts = [0; BUCKET_BOUNDS_SECONDS.len()];
    for value in histogram_ns.iter_recorded() {
        let seconds = value.value_iterated_to() as f64 / 1e9;
        let first = BUCKET_BOUNDS_SECONDS.partition_point(|&bound| bound < seconds);
        for bucket in &mut cumulative_counts[first..] {
            *bucket += value.count_at_value();
        }
    }
    let buckets = BUCKET_BOUNDS_SECONDS.into_iter().zip(cumulative_counts).map(|(bound, count)| {
        let mut bucket = proto::Bucket::default();
        bucket.set_upper_bound(bound);
        bucket.set_cumulative_count(count);
        bucket
    });
    let mut histogram = proto::Histogram::default();
    histogram.set_bucket(buckets.collect());
    histogram.set_sample_count(histogram_ns.len());
    histogram.set_sample_sum(histogram_ns.mean() * histogram_ns.len() as f64 / 1e9);
    let mut metric = proto::Metric::default();
    metric.set_histogram(histogram);
    family(name, help, proto::MetricType::HISTOGRAM, vec![metric])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_counted_in_the_bucket_of_the_next_bound() {
        let mut histogram = crate::record::histogram();
        for nanoseconds in [900, 400_000, 400_000, 30_000_000_000] {
            histogram.record(nanoseconds).expect("within an hour");
        }
        let family = histogram_family("loadgen_latency_seconds", "help", &histogram);
        let text = prometheus::TextEncoder::new().encode_to_string(&[family]).expect("text");
        for line in [
            "loadgen_latency_seconds_bucket{le=\"0.00001\"} 1",
            "loadgen_latency_seconds_bucket{le=\"0.00025\"} 1",
            "loadgen_latency_seconds_bucket{le=\"0.0005\"} 3",
            "loadgen_latency_seconds_bucket{le=\"10\"} 3",
            "loadgen_latency_seconds_bucket{le=\"+Inf\"} 4",
            "loadgen_latency_seconds_count 4",
        ] {
            assert!(text.lines().any(|other| other == line), "{line}\n{text}");
        }
    }
}
