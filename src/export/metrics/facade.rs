//! Publishes the metrics through the facade of the `metrics` crate.

use metrics::{Label, Unit, counter, describe_counter, describe_gauge, gauge};

use crate::export::metrics::catalogue::{ALL, BUCKETS, Metric, MetricKind};
use crate::export::metrics::families::{Distribution, Family, Series, SeriesValue, families};
use crate::finding::Finding;
use crate::snapshot::Snapshot;

/// Sets all metrics to their current values. Counters of the `metrics` crate
/// are integers, and its histograms cannot be set from existing buckets. See
/// `Scope::publish_metrics` for what is published instead of a total in seconds
/// and of a histogram.
pub(crate) fn publish(snapshot: &Snapshot, ended: &[Finding]) {
    for Family { metric, series } in families(snapshot, ended) {
        for Series { labels, value } in series {
            let labels = metric.labels.iter().copied().zip(labels);
            let labels: Vec<_> = labels.map(|(name, value)| Label::new(name, value)).collect();
            match value {
                SeriesValue::Number(value) if is_integer_counter(metric) => {
                    counter!(metric.name, labels).absolute(value as u64)
                }
                SeriesValue::Number(value) => gauge!(metric.name, labels).set(value),
                SeriesValue::Distribution(distribution) => histogram(metric.name, &labels, &distribution),
            }
        }
    }
}

/// Gives the recorder the description and unit of each metric. Of the metrics
/// that replace a histogram, only `…_bucket` is described.
pub(crate) fn describe() {
    for metric in ALL {
        let unit = if metric.name.contains("_seconds") { Unit::Seconds } else { Unit::Count };
        match metric.kind {
            MetricKind::Histogram => {
                describe_counter!(format!("{}_bucket", metric.name), Unit::Count, metric.help)
            }
            _ if is_integer_counter(metric) => describe_counter!(metric.name, unit, metric.help),
            _ => describe_gauge!(metric.name, unit, metric.help),
        }
    }
}

/// Returns whether the metric is a counter of integers.
fn is_integer_counter(metric: &Metric) -> bool {
    metric.kind == MetricKind::Counter && !metric.name.ends_with("_seconds_total")
}

fn histogram(name: &'static str, labels: &[Label], distribution: &Distribution) {
    let bounds = BUCKETS.iter().map(|bound| bound.as_secs_f64().to_string()).chain(["+Inf".to_owned()]);
    let counts = distribution.at_most.iter().chain([&distribution.count]);
    for (bound, count) in bounds.zip(counts) {
        let labels = [labels, &[Label::new("le", bound)]].concat();
        counter!(format!("{name}_bucket"), labels).absolute(*count);
    }
    counter!(format!("{name}_count"), labels.to_vec()).absolute(distribution.count);
    gauge!(format!("{name}_sum"), labels.to_vec()).set(distribution.sum_seconds);
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use metrics_util::debugging::{DebugValue, DebuggingRecorder};

    use super::*;
    use crate::export::fake::snapshot;
    use crate::report::sample;

    #[test]
    fn the_recorder_receives_every_metric_with_labels_and_values() {
        let recorder = DebuggingRecorder::new();
        let snapshotter = recorder.snapshotter();
        let findings = [sample::sleep()];
        metrics::with_local_recorder(&recorder, || {
            describe();
            publish(&snapshot(), &findings);
            // The values are absolute: publishing twice must not add anything.
            publish(&snapshot(), &findings);
        });
        let received: HashMap<_, _> = snapshotter
            .snapshot()
            .into_vec()
            .into_iter()
            .map(|(key, _, _, value)| {
                let mut labels: Vec<_> =
                    key.key().labels().map(|l| format!("{}={}", l.key(), l.value())).collect();
                labels.sort();
                (format!("{}{{{}}}", key.key().name(), labels.join(",")), value)
            })
            .collect();
        assert_eq!(received["loopscope_tasks_spawned_total{task=session}"], DebugValue::Counter(1_009));
        assert_eq!(received["loopscope_starved_seconds_total{}"], DebugValue::Gauge(6.007.into()));
        assert_eq!(
            received["loopscope_task_poll_duration_seconds_bucket{le=0.005,task=session}"],
            DebugValue::Counter(3)
        );
        assert_eq!(
            received["loopscope_task_poll_duration_seconds_count{task=session}"],
            DebugValue::Counter(4)
        );
        for family in families(&snapshot(), &findings) {
            let name = family.metric.name;
            assert!(received.keys().any(|key| key.starts_with(name)), "{name} is missing");
        }
    }
}
