//! Registers what applications register, and worse, and checks both formats
//! with the rules of their strict parsers.

use std::collections::HashMap;

use prometheus::core::{Collector as PrometheusCollector, Desc};
use prometheus::proto::{
    Bucket, Counter, Gauge, Histogram, LabelPair, Metric as ProtoMetric, MetricType, Quantile, Summary,
    Untyped,
};
use prometheus::{HistogramOpts, IntCounter, IntGauge, Opts, Registry, TextEncoder};

use super::*;
use crate::export::fake::FakeSource;
use crate::export::metrics::catalogue;
use crate::export::metrics::prometheus::Collector;

/// A collector that returns the families that it has, as those of other crates
/// do: nothing checks them.
struct Foreign(Desc, Vec<MetricFamily>);

impl PrometheusCollector for Foreign {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.0]
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.1.clone()
    }
}

fn foreign(name: &str, families: Vec<MetricFamily>) -> Box<Foreign> {
    let desc = Desc::new(format!("desc_{name}"), "A description.".to_owned(), Vec::new(), HashMap::new());
    Box::new(Foreign(desc.unwrap(), families))
}

fn family(name: &str, kind: MetricType, metrics: Vec<ProtoMetric>) -> MetricFamily {
    let mut family = MetricFamily::default();
    family.set_name(name.to_owned());
    family.set_help("What it is.".to_owned());
    family.set_field_type(kind);
    family.set_metric(metrics);
    family
}

fn metric(labels: &[(&str, &str)]) -> ProtoMetric {
    let pairs = labels.iter().map(|(name, value)| {
        let mut pair = LabelPair::default();
        pair.set_name((*name).to_owned());
        pair.set_value((*value).to_owned());
        pair
    });
    ProtoMetric::from_label(pairs.collect())
}

fn counter(labels: &[(&str, &str)], value: f64) -> ProtoMetric {
    let mut counter = Counter::default();
    counter.set_value(value);
    let mut metric = metric(labels);
    metric.set_counter(counter);
    metric
}

fn gauge(labels: &[(&str, &str)], value: f64) -> ProtoMetric {
    let mut gauge = Gauge::default();
    gauge.set_value(value);
    let mut metric = metric(labels);
    metric.set_gauge(gauge);
    metric
}

#[allow(deprecated)]
fn untyped(value: f64) -> ProtoMetric {
    let mut untyped = Untyped::default();
    untyped.set_value(value);
    let mut metric = metric(&[]);
    metric.set_untyped(untyped);
    metric
}

fn histogram(labels: &[(&str, &str)], buckets: &[(f64, u64)], count: u64, sum: f64) -> ProtoMetric {
    let buckets = buckets.iter().map(|(bound, count)| {
        let mut bucket = Bucket::default();
        bucket.set_upper_bound(*bound);
        bucket.set_cumulative_count(*count);
        bucket
    });
    let mut histogram = Histogram::default();
    histogram.set_bucket(buckets.collect());
    histogram.set_sample_count(count);
    histogram.set_sample_sum(sum);
    let mut metric = metric(labels);
    metric.set_histogram(histogram);
    metric
}

fn summary(quantiles: &[(f64, f64)], sum: f64) -> ProtoMetric {
    let quantiles = quantiles.iter().map(|(rank, value)| {
        let mut quantile = Quantile::default();
        quantile.set_quantile(*rank);
        quantile.set_value(*value);
        quantile
    });
    let mut summary = Summary::default();
    summary.set_quantile(quantiles.collect());
    summary.set_sample_count(3);
    summary.set_sample_sum(sum);
    let mut metric = metric(&[]);
    metric.set_summary(summary);
    metric
}

fn registry(families: Vec<MetricFamily>) -> Registry {
    let registry = Registry::new();
    for (n, family) in families.into_iter().enumerate() {
        registry.register(foreign(&n.to_string(), vec![family])).unwrap();
    }
    registry
}

fn written(registry: &Registry, format: TextFormat) -> ApplicationText {
    write(registry.gather(), catalogue::ALL, format)
}

/// Returns both texts, after checking them.
fn texts(registry: &Registry) -> [String; 2] {
    let [prometheus, openmetrics] = [TextFormat::Prometheus, TextFormat::OpenMetrics].map(|format| {
        let text = written(registry, format).text;
        check(&text, format);
        text
    });
    assert_eq!(series_of(&prometheus), series_of(&openmetrics), "both formats have the same series");
    [prometheus, openmetrics]
}

fn sample_lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter(|line| !line.starts_with('#'))
}

/// Returns name and labels of all samples.
fn series_of(text: &str) -> BTreeSet<&str> {
    sample_lines(text).map(series_of_line).collect()
}

fn series_of_line(line: &str) -> &str {
    let end = line.rfind('}').map_or_else(|| line.find(' ').unwrap(), |brace| brace + 1);
    &line[..end]
}

/// Checks the rules that make a parser reject the whole text: a sample stands
/// below the head of its family, no name belongs to two families, no series
/// occurs twice.
#[track_caller]
fn check(text: &str, format: TextFormat) {
    let (mut owners, mut series) = (BTreeSet::new(), BTreeSet::new());
    let mut permitted = BTreeSet::new();
    for line in text.lines() {
        if let Some(head) = line.strip_prefix("# TYPE ") {
            let (name, kind) = head.split_once(' ').unwrap();
            let (samples, reserved): (&[&str], &[&str]) = match (kind, format) {
                ("counter", TextFormat::OpenMetrics) => (&["_total"], &["", "_created"]),
                ("histogram", TextFormat::OpenMetrics) => (&["_bucket", "_sum", "_count"], &["", "_created"]),
                ("summary", TextFormat::OpenMetrics) => (&["", "_sum", "_count"], &["_created"]),
                ("unknown", TextFormat::OpenMetrics) => (&[""], &[]),
                ("histogram", _) => (&["_bucket", "_sum", "_count"], &[""]),
                ("summary", _) => (&["", "_sum", "_count"], &[]),
                ("counter" | "untyped", TextFormat::Prometheus) | ("gauge", _) => (&[""], &[]),
                _ => panic!("{line}"),
            };
            permitted = samples.iter().map(|suffix| format!("{name}{suffix}")).collect();
            for suffix in samples.iter().chain(reserved) {
                assert!(owners.insert(format!("{name}{suffix}")), "{name}{suffix} has two owners:\n{text}");
            }
        } else if !line.starts_with("# HELP ") {
            let name = line.split(['{', ' ']).next().unwrap();
            assert!(permitted.contains(name), "{line} stands below another family:\n{text}");
            assert!(series.insert(series_of_line(line)), "{line} occurs twice:\n{text}");
        }
    }
}

#[test]
fn usual_metrics_equal_those_of_the_crates_own_encoder() {
    let registry = Registry::new();
    let opts = Opts::new("requests_total", "All \"requests\"\\\nof users.").const_label("zone", "a\"\n\\");
    let counter = IntCounter::with_opts(opts).unwrap();
    counter.inc_by(7);
    let latency = HistogramOpts::new("latency_seconds", "Latency.").buckets(vec![0.1, 1.0]);
    let latency = prometheus::HistogramVec::new(latency, &["path"]).unwrap();
    latency.with_label_values(&["/a"]).observe(0.3);
    latency.with_label_values(&["/b"]).observe(7.5);
    registry.register(Box::new(counter)).unwrap();
    registry.register(Box::new(latency)).unwrap();
    registry.register(Box::new(IntGauge::new("connections", "Connections.").unwrap())).unwrap();

    let [text, openmetrics] = texts(&registry);
    assert_eq!(text, TextEncoder::new().encode_to_string(&registry.gather()).unwrap());
    assert!(
        openmetrics.ends_with(
            "# HELP requests All \\\"requests\\\"\\\\\\nof users.\n# TYPE requests counter\n\
             requests_total{zone=\"a\\\"\\n\\\\\"} 7\n"
        ),
        "{openmetrics}"
    );
}

/// OpenMetrics requires the suffix for the type, but a query uses the name.
#[test]
fn a_counter_without_the_suffix_keeps_its_name() {
    let [text, openmetrics] = texts(&registry(vec![
        family("plain", MetricType::COUNTER, vec![counter(&[], 7.0)]),
        family("_total", MetricType::COUNTER, vec![counter(&[], 8.0)]),
    ]));
    assert!(text.contains("# TYPE plain counter\nplain 7\n"), "{text}");
    assert!(openmetrics.contains("# TYPE plain unknown\nplain 7\n"), "{openmetrics}");
    assert!(openmetrics.contains("# TYPE _total unknown\n_total 8\n"), "{openmetrics}");
}

#[test]
fn names_that_openmetrics_reserves_for_other_families_stay() {
    let [text, openmetrics] = texts(&registry(vec![
        family("jobs", MetricType::GAUGE, vec![gauge(&[], 1.0)]),
        family("jobs_total", MetricType::COUNTER, vec![counter(&[], 2.0)]),
        family("files_created", MetricType::GAUGE, vec![gauge(&[], 3.0)]),
        family("files_total", MetricType::COUNTER, vec![counter(&[], 4.0)]),
        family("size", MetricType::HISTOGRAM, vec![histogram(&[], &[(1.0, 1)], 2, 5.0)]),
        family("size_bucket", MetricType::GAUGE, vec![gauge(&[], 6.0)]),
        family("age_created", MetricType::GAUGE, vec![gauge(&[], 7.0)]),
        family("age", MetricType::SUMMARY, vec![summary(&[(0.5, 1.0)], 8.0)]),
        family("build_info", MetricType::GAUGE, vec![gauge(&[("version", "1")], 1.0)]),
    ]));
    for text in [&text, &openmetrics] {
        for line in [
            "jobs 1",
            "jobs_total 2",
            "files_created 3",
            "files_total 4",
            "size_bucket{le=\"1\"} 1",
            "size_bucket 6",
            "size_count 2",
            "age_created 7",
            "age{quantile=\"0.5\"} 1",
            "build_info{version=\"1\"} 1",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is missing:\n{text}");
        }
    }
    assert!(text.contains("# TYPE jobs_total counter\n"), "{text}");
    assert!(openmetrics.contains("# TYPE jobs_total unknown\n"), "{openmetrics}");
}

/// In the text format too, a histogram and a counter may have samples of one
/// name. The first sample of a series remains.
#[test]
fn series_that_occur_twice_are_written_once() {
    let [text, _] = texts(&registry(vec![
        family("size", MetricType::HISTOGRAM, vec![histogram(&[], &[(1.0, 1)], 2, 5.0)]),
        family("size_count", MetricType::COUNTER, vec![counter(&[], 9.0), counter(&[("of", "x")], 3.0)]),
        family("twice", MetricType::GAUGE, vec![gauge(&[("a", "1"), ("b", "2")], 1.0)]),
        family("twice", MetricType::GAUGE, vec![gauge(&[("b", "2"), ("a", "1")], 1.0)]),
    ]));
    for line in ["size_count 2", "size_count{of=\"x\"} 3", "twice{a=\"1\",b=\"2\"} 1"] {
        assert_eq!(text.lines().filter(|l| *l == line).count(), 1, "{line}:\n{text}");
    }
    assert!(!text.contains("size_count 9"), "{text}");
}

#[test]
fn values_that_openmetrics_forbids_for_a_type_are_written_without_the_type() {
    let [text, openmetrics] = texts(&registry(vec![
        family("nan_total", MetricType::COUNTER, vec![counter(&[], f64::NAN)]),
        family("negative_total", MetricType::COUNTER, vec![counter(&[], -1.0)]),
        family("below", MetricType::HISTOGRAM, vec![histogram(&[], &[(-1.0, 1), (1.0, 2)], 2, -3.0)]),
        family("unsorted", MetricType::HISTOGRAM, vec![histogram(&[], &[(2.0, 2), (1.0, 1)], 2, 3.0)]),
        family("twice", MetricType::HISTOGRAM, vec![histogram(&[], &[(1.0, 1), (1.0, 1)], 2, 3.0)]),
        family("uneven", MetricType::HISTOGRAM, vec![histogram(&[], &[(f64::INFINITY, 1)], 2, 3.0)]),
        family("rank", MetricType::SUMMARY, vec![summary(&[(99.0, 1.0)], 3.0)]),
        family("minus", MetricType::SUMMARY, vec![summary(&[(0.5, -1.0)], -3.0)]),
    ]));
    assert!(!openmetrics.contains(" counter\n"), "{openmetrics}");
    assert!(!openmetrics.contains(" histogram\n"), "{openmetrics}");
    assert!(!openmetrics.contains(" summary\n"), "{openmetrics}");
    assert!(openmetrics.contains("\nnan_total NaN\n") && openmetrics.contains("\nnegative_total -1\n"));
    assert_eq!(text.matches(" histogram\n").count(), 4, "{text}");
}

#[test]
fn numbers_beyond_all_limits_and_numbers_that_are_none_are_valid() {
    let [text, openmetrics] = texts(&registry(vec![
        family("above", MetricType::GAUGE, vec![gauge(&[], f64::INFINITY)]),
        family("below", MetricType::GAUGE, vec![gauge(&[], f64::NEG_INFINITY)]),
        family("idle", MetricType::SUMMARY, vec![summary(&[(0.5, f64::NAN)], 0.0)]),
        family("none", MetricType::GAUGE, vec![gauge(&[], f64::NAN)]),
        family("size", MetricType::HISTOGRAM, vec![histogram(&[], &[(1.0, 1), (f64::INFINITY, 2)], 2, 3.0)]),
    ]));
    for text in [text, openmetrics] {
        assert!(text.contains("\nabove +Inf\n") && text.contains("\nbelow -Inf\n"), "{text}");
        assert!(text.contains("\nnone NaN\n") && text.contains("\nidle{quantile=\"0.5\"} NaN\n"), "{text}");
        assert!(text.contains("# TYPE size histogram\n"), "{text}");
        assert_eq!(text.matches("size_bucket{le=\"+Inf\"} 2\n").count(), 1, "{text}");
    }
}

#[test]
fn untyped_metrics_and_metrics_without_help_are_written() {
    let mut without_help = family("quiet", MetricType::GAUGE, vec![gauge(&[], 1.0)]);
    without_help.set_help(String::new());
    let [text, openmetrics] =
        texts(&registry(vec![family("raw", MetricType::UNTYPED, vec![untyped(2.5)]), without_help]));
    assert!(text.contains("# TYPE raw untyped\nraw 2.5\n"), "{text}");
    assert!(openmetrics.contains("# TYPE raw unknown\nraw 2.5\n"), "{openmetrics}");
    assert!(openmetrics.starts_with("# TYPE quiet gauge\nquiet 1\n"), "{openmetrics}");
}

/// Prometheus counts in milliseconds, OpenMetrics in seconds.
#[test]
fn times_have_the_unit_of_the_format() {
    let mut timed = gauge(&[], 1.0);
    timed.set_timestamp_ms(1_700_000_000_250);
    let registry = registry(vec![family("timed", MetricType::GAUGE, vec![timed])]);
    let [text, openmetrics] = texts(&registry);
    assert!(text.contains("\ntimed 1 1700000000250\n"), "{text}");
    assert!(openmetrics.contains("\ntimed 1 1700000000.25\n"), "{openmetrics}");
}

/// The crate checks neither the prefix nor the labels of a registry.
#[test]
fn names_that_prometheus_rejects_become_valid() {
    let labels = [("zone-name", "z"), ("__name__", "n"), ("path", "registry"), ("le", "9"), ("5xx", "")];
    let labels = labels.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let registry = Registry::new_custom(Some("my-app".to_owned()), Some(labels.into())).unwrap();
    let requests = IntCounter::with_opts(Opts::new("requests_total", "Requests.").const_label("path", "own"));
    registry.register(Box::new(requests.unwrap())).unwrap();
    let size = family("size", MetricType::HISTOGRAM, vec![histogram(&[], &[(1.0, 1)], 2, 5.0)]);
    let odd = family("9 \"lives\"\n{}", MetricType::GAUGE, vec![gauge(&[("}\" ", "a} b=\"")], 1.0)]);
    registry.register(foreign("odd", vec![odd, size, family("", MetricType::GAUGE, vec![])])).unwrap();
    for text in texts(&registry) {
        for line in [
            "my_app_requests_total{_5xx=\"\",_name__=\"n\",le=\"9\",path=\"own\",zone_name=\"z\"} 0",
            "my_app_size_bucket{_5xx=\"\",_name__=\"n\",path=\"registry\",zone_name=\"z\",le=\"1\"} 1",
            "my_app_9__lives____{_=\"a} b=\\\"\",_5xx=\"\",_name__=\"n\",le=\"9\",path=\"registry\",zone_name=\"z\"} 1",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is missing:\n{text}");
        }
    }
}

#[test]
fn families_of_one_name_become_one() {
    let [text, openmetrics] = texts(&registry(vec![
        family("a-b", MetricType::COUNTER, vec![counter(&[("of", "1")], 1.0)]),
        family("a_b", MetricType::GAUGE, vec![gauge(&[("of", "2")], 2.0)]),
        family("c-d", MetricType::HISTOGRAM, vec![histogram(&[("of", "1")], &[(1.0, 1)], 2, 5.0)]),
        family("c_d", MetricType::HISTOGRAM, vec![histogram(&[("of", "2")], &[(1.0, 1)], 2, 5.0)]),
    ]));
    for (text, none) in [(text, "untyped"), (openmetrics, "unknown")] {
        assert!(
            text.contains(&format!("# TYPE a_b {none}\na_b{{of=\"1\"}} 1\na_b{{of=\"2\"}} 2\n")),
            "{text}"
        );
        assert_eq!(text.matches("# TYPE c_d histogram\n").count(), 1, "{text}");
        assert!(
            text.contains("\nc_d_count{of=\"1\"} 2\n") && text.contains("\nc_d_count{of=\"2\"} 2\n"),
            "{text}"
        );
    }
}

/// The registry compares help and labels, but not the types.
#[test]
fn metrics_of_several_types_under_one_name_keep_their_values() {
    let registry = Registry::new();
    let opts = |of: &str| Opts::new("mixed", "What it is.").const_label("of", of);
    let (counter, gauge) =
        (IntCounter::with_opts(opts("1")).unwrap(), IntGauge::with_opts(opts("2")).unwrap());
    counter.inc_by(5);
    gauge.set(6);
    registry.register(Box::new(counter)).unwrap();
    registry.register(Box::new(gauge)).unwrap();
    for text in texts(&registry) {
        assert!(text.ends_with("\nmixed{of=\"1\"} 5\nmixed{of=\"2\"} 6\n"), "{text}");
    }
}

#[test]
fn names_of_the_application_that_look_like_ours_stay() {
    let registry = registry(vec![
        family("loopscope_like_total", MetricType::COUNTER, vec![counter(&[], 1.0)]),
        family("loopscope_workers_total", MetricType::COUNTER, vec![counter(&[], 2.0)]),
        family("loopscope_tasks_spawned", MetricType::GAUGE, vec![gauge(&[], 3.0)]),
        family("tokio_tasks", MetricType::GAUGE, vec![gauge(&[], 4.0)]),
    ]);
    let [text, _] = texts(&registry);
    assert_eq!(sample_lines(&text).count(), 4, "{text}");
    let openmetrics = written(&registry, TextFormat::OpenMetrics);
    assert!(openmetrics.text.contains("# TYPE loopscope_workers_total unknown\n"), "{}", openmetrics.text);
    assert_eq!(openmetrics.own_without_type, BTreeSet::from(["loopscope_tasks_spawned_total"]));
    assert!(openmetrics.omissions.is_empty(), "{:?}", openmetrics.omissions);
}

#[test]
fn of_two_metrics_of_one_name_ours_remains() {
    let registry = registry(vec![
        family("loopscope_workers", MetricType::GAUGE, vec![gauge(&[], 1.0)]),
        family("loopscope_loop_lag_seconds_count", MetricType::GAUGE, vec![gauge(&[], 1.0)]),
    ]);
    for format in [TextFormat::Prometheus, TextFormat::OpenMetrics] {
        let ApplicationText { text, omissions, .. } = written(&registry, format);
        assert_eq!(text, "");
        assert_eq!(
            omissions,
            [
                "loopscope_workers is left out: loopscope has a metric of this name",
                "loopscope_loop_lag_seconds_count is left out: a metric of loopscope has samples of this name",
            ]
        );
    }
}

#[test]
fn our_collector_in_the_same_registry_adds_nothing() {
    let registry = Registry::new();
    registry.register(Box::new(Collector::new(FakeSource::new()))).unwrap();
    let ApplicationText { text, omissions, .. } = written(&registry, TextFormat::OpenMetrics);
    assert_eq!((text.as_str(), omissions.len()), ("", 0));
}

/// A registry with a prefix gives our metrics another name.
#[test]
fn our_collector_in_a_registry_with_a_prefix_is_valid() {
    let registry = Registry::new_custom(Some("app".to_owned()), None).unwrap();
    registry.register(Box::new(Collector::new(FakeSource::new()))).unwrap();
    let [text, openmetrics] = texts(&registry);
    assert!(text.contains("# TYPE app_loopscope_worker_busy_seconds_total counter\n"), "{text}");
    assert!(openmetrics.contains("# TYPE app_loopscope_worker_busy_seconds counter\n"), "{openmetrics}");
    assert!(openmetrics.contains("# TYPE app_loopscope_loop_lag_seconds histogram\n"), "{openmetrics}");
}
