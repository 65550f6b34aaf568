//! A collector for a registry of the `prometheus` crate.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use ::prometheus::core::{Collector as PrometheusCollector, Desc};
use ::prometheus::proto;

use crate::export::metrics::catalogue::{self, BUCKETS, Metric, MetricKind};
use crate::export::metrics::families::{Distribution, Family, Series, SeriesValue, families};
#[cfg(feature = "tokio-metrics")]
use crate::export::metrics::tokio_series::{self, TokioSeries};
use crate::export::source::Source;

/// Adds loopscope's metrics to the application's
/// [`prometheus::Registry`](::prometheus::Registry).
///
/// Each collection reads a new snapshot. A collection resets nothing, so
/// several scrapers see the same values. See
/// [`Scope::collector`](crate::Scope::collector).
pub struct Collector {
    source: Arc<dyn Source>,
    descriptions: Vec<Desc>,
    #[cfg(feature = "tokio-metrics")]
    tokio_series: TokioSeries,
}

impl Collector {
    pub(crate) fn new(source: Arc<dyn Source>) -> Self {
        let metrics = catalogue::ALL.iter().copied();
        #[cfg(feature = "tokio-metrics")]
        let metrics = metrics.chain(tokio_series::metrics());
        let descriptions = metrics.filter_map(|metric| {
            let labels = metric.labels.iter().map(ToString::to_string).collect();
            // Fails only for an invalid name. A test checks that none is
            // invalid.
            Desc::new(metric.name.to_owned(), metric.help.to_owned(), labels, HashMap::new()).ok()
        });
        Self {
            descriptions: descriptions.collect(),
            source,
            #[cfg(feature = "tokio-metrics")]
            tokio_series: TokioSeries::default(),
        }
    }
}

impl PrometheusCollector for Collector {
    fn desc(&self) -> Vec<&Desc> {
        self.descriptions.iter().collect()
    }

    fn collect(&self) -> Vec<proto::MetricFamily> {
        let families = families(&self.source.snapshot(), &self.source.ended_findings());
        #[cfg(feature = "tokio-metrics")]
        let families =
            families.into_iter().chain(self.tokio_series.families(&self.source.runtimes())).collect();
        to_proto(families)
    }
}

impl fmt::Debug for Collector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Collector").finish_non_exhaustive()
    }
}

/// Converts families into the types of the `prometheus` crate.
pub(crate) fn to_proto(families: Vec<Family>) -> Vec<proto::MetricFamily> {
    let convert = |Family { metric, series }| {
        let mut family = proto::MetricFamily::default();
        family.set_name(metric.name.to_owned());
        family.set_help(metric.help.to_owned());
        family.set_field_type(match metric.kind {
            MetricKind::Counter => proto::MetricType::COUNTER,
            MetricKind::Gauge => proto::MetricType::GAUGE,
            MetricKind::Histogram => proto::MetricType::HISTOGRAM,
        });
        family.set_metric(series.into_iter().map(|series| series_to_proto(metric, series)).collect());
        family
    };
    families.into_iter().map(convert).collect()
}

fn series_to_proto(metric: &Metric, Series { labels, value }: Series) -> proto::Metric {
    let pairs = metric.labels.iter().zip(labels).map(|(name, value)| {
        let mut pair = proto::LabelPair::default();
        pair.set_name((*name).to_owned());
        pair.set_value(value);
        pair
    });
    let mut series = proto::Metric::from_label(pairs.collect());
    match value {
        SeriesValue::Distribution(distribution) => series.set_histogram(histogram_to_proto(&distribution)),
        SeriesValue::Number(number) if metric.kind == MetricKind::Counter => {
            let mut counter = proto::Counter::default();
            counter.set_value(number);
            series.set_counter(counter);
        }
        SeriesValue::Number(number) => {
            let mut gauge = proto::Gauge::default();
            gauge.set_value(number);
            series.set_gauge(gauge);
        }
    }
    series
}

fn histogram_to_proto(distribution: &Distribution) -> proto::Histogram {
    let buckets = BUCKETS.iter().zip(distribution.at_most).map(|(bound, at_most)| {
        let mut bucket = proto::Bucket::default();
        bucket.set_upper_bound(bound.as_secs_f64());
        bucket.set_cumulative_count(at_most);
        bucket
    });
    let mut histogram = proto::Histogram::default();
    histogram.set_bucket(buckets.collect());
    histogram.set_sample_count(distribution.count);
    histogram.set_sample_sum(distribution.sum_seconds);
    histogram
}
