//! Reads the families of a registry as samples.
//!
//! The crate's own text encoder reads the values: the methods of its types
//! differ with its feature `protobuf`, which any crate of the program may
//! enable.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use prometheus::TextEncoder;
use prometheus::proto::{Gauge, LabelPair, Metric, MetricFamily, MetricType};

use crate::export::metrics::application::names::{valid_label_name, valid_metric_name};
use crate::export::metrics::text::{TextFormat, push_all};

/// The type of a family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum FamilyType {
    Counter,
    Gauge,
    Summary,
    Histogram,
    Untyped,
}

impl From<MetricType> for FamilyType {
    fn from(kind: MetricType) -> Self {
        match kind {
            MetricType::COUNTER => Self::Counter,
            MetricType::GAUGE => Self::Gauge,
            MetricType::SUMMARY => Self::Summary,
            MetricType::HISTOGRAM => Self::Histogram,
            MetricType::UNTYPED => Self::Untyped,
        }
    }
}

impl FamilyType {
    pub(super) fn as_str(self, format: TextFormat) -> &'static str {
        match (self, format) {
            (Self::Counter, _) => "counter",
            (Self::Gauge, _) => "gauge",
            (Self::Summary, _) => "summary",
            (Self::Histogram, _) => "histogram",
            (Self::Untyped, TextFormat::Prometheus) => "untyped",
            (Self::Untyped, TextFormat::OpenMetrics) => "unknown",
        }
    }

    /// Returns the name of a family in the lines that describe it.
    pub(super) fn head_name(self, name: &str, format: TextFormat) -> &str {
        match (self, format) {
            (Self::Counter, TextFormat::OpenMetrics) => name.strip_suffix("_total").unwrap_or(name),
            _ => name,
        }
    }

    /// Returns the suffixes of the names that belong to a family of this type:
    /// those of its samples, and those that OpenMetrics reserves for it.
    fn suffixes(self, format: TextFormat) -> &'static [&'static str] {
        match (self, format) {
            (Self::Counter, TextFormat::OpenMetrics) => &["", "_total", "_created"],
            (Self::Summary, TextFormat::Prometheus) => &["", "_sum", "_count"],
            (Self::Summary, TextFormat::OpenMetrics) => &["", "_sum", "_count", "_created"],
            (Self::Histogram, TextFormat::Prometheus) => &["", "_bucket", "_sum", "_count"],
            (Self::Histogram, TextFormat::OpenMetrics) => &["", "_bucket", "_sum", "_count", "_created"],
            (Self::Counter | Self::Gauge | Self::Untyped, _) => &[""],
        }
    }

    /// Returns whether more names belong to a family of this type than its own.
    pub(super) fn has_several_names(self, format: TextFormat) -> bool {
        self.suffixes(format).len() > 1
    }
}

/// A family of the application.
#[derive(Debug)]
pub(super) struct Family {
    pub(super) name: String,
    pub(super) help: String,
    pub(super) kind: FamilyType,
    /// In the order of the encoder.
    pub(super) samples: Vec<Sample>,
}

impl Family {
    /// Returns the names that belong to the family.
    pub(super) fn names(&self, format: TextFormat) -> BTreeSet<String> {
        if self.kind == FamilyType::Untyped {
            return self.samples.iter().map(|sample| sample.name.clone()).collect();
        }
        let head = self.kind.head_name(&self.name, format);
        self.kind.suffixes(format).iter().map(|suffix| format!("{head}{suffix}")).collect()
    }

    /// Returns whether OpenMetrics permits the type with these names and
    /// values. In the text format, a parser accepts all of them.
    pub(super) fn is_valid_in_openmetrics(&self) -> bool {
        let is_count = |sample: &Sample| sample.number() >= 0.0;
        match self.kind {
            FamilyType::Gauge | FamilyType::Untyped => true,
            FamilyType::Counter => self.name.ends_with("_total") && self.samples.iter().all(is_count),
            FamilyType::Summary => self.samples.iter().all(|sample| match sample.bound("quantile") {
                // Without observations, a quantile is not a number.
                Some(quantile) => {
                    (0.0..=1.0).contains(&quantile) && (sample.number().is_nan() || is_count(sample))
                }
                None => is_count(sample),
            }),
            FamilyType::Histogram => self.has_valid_buckets(),
        }
    }

    /// Returns whether bounds and counts of each histogram ascend, the last
    /// bucket has all values, and the sum cannot decrease.
    fn has_valid_buckets(&self) -> bool {
        let mut last = None::<(f64, f64)>;
        let mut has_negative_bound = false;
        self.samples.iter().all(|sample| {
            let number = sample.number();
            if let Some(bound) = sample.bound("le") {
                has_negative_bound |= bound < 0.0;
                let is_first = last.is_none();
                let (last_bound, last_count) = last.replace((bound, number)).unwrap_or_default();
                number >= last_count && !bound.is_nan() && (is_first || bound > last_bound)
            } else if sample.name.ends_with("_sum") {
                number >= 0.0 && !has_negative_bound
            } else {
                has_negative_bound = false;
                last.take() == Some((f64::INFINITY, number))
            }
        })
    }
}

/// One line of the exposition.
#[derive(Debug)]
pub(super) struct Sample {
    pub(super) name: String,
    /// As in the exposition, without the braces.
    pub(super) labels: String,
    value: String,
    /// Milliseconds since the epoch.
    timestamp: Option<i64>,
}

impl Sample {
    /// Reads a line of the encoder. The names in it are valid, so the last
    /// brace ends the labels.
    fn parse(line: &str) -> Option<Self> {
        let end = line.rfind('}').map_or_else(|| line.find(' '), |brace| Some(brace + 1))?;
        let (series, rest) = line.split_at(end);
        let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
        let labels = labels.strip_suffix('}')?;
        let labels = match labels.strip_suffix("le=\"inf\"") {
            Some(labels) => format!("{labels}le=\"+Inf\""),
            None => labels.to_owned(),
        };
        let mut rest = rest.split_ascii_whitespace();
        let value = match rest.next()? {
            "inf" => "+Inf",
            "-inf" => "-Inf",
            value => value,
        };
        let timestamp = rest.next().and_then(|timestamp| timestamp.parse().ok());
        Some(Self { name: name.to_owned(), labels, value: value.to_owned(), timestamp })
    }

    fn number(&self) -> f64 {
        self.value.parse().unwrap_or(f64::NAN)
    }

    /// Returns the number in the last label, if this is its name. The encoder
    /// adds it after the other labels.
    fn bound(&self, label: &str) -> Option<f64> {
        let (rest, bound) = self.labels.strip_suffix('"')?.rsplit_once("=\"")?;
        let rest = rest.strip_suffix(label)?;
        (rest.is_empty() || rest.ends_with(',')).then(|| bound.parse().unwrap_or(f64::NAN))
    }

    pub(super) fn write(&self, text: &mut String, format: TextFormat) {
        text.push_str(&self.name);
        if !self.labels.is_empty() {
            push_all(text, &["{", &self.labels, "}"]);
        }
        push_all(text, &[" ", &self.value]);
        match (self.timestamp, format) {
            (None, _) => {}
            (Some(millis), TextFormat::Prometheus) => push_all(text, &[" ", &millis.to_string()]),
            (Some(millis), TextFormat::OpenMetrics) => {
                push_all(text, &[" ", &(millis as f64 / 1_000.0).to_string()]);
            }
        }
        text.push('\n');
    }
}

/// Reads the families. Those of one name and type become one.
pub(super) fn read_families(families: Vec<MetricFamily>) -> Vec<Family> {
    let mut merged = BTreeMap::<(String, FamilyType), MetricFamily>::new();
    for mut family in families.into_iter().filter(|family| !family.name().is_empty()) {
        let kind = FamilyType::from(family.get_field_type());
        let name = valid_metric_name(family.name());
        family.set_name(name.clone());
        let metrics = family.take_metric();
        merged.entry((name, kind)).or_insert(family).mut_metric().extend(metrics);
    }
    merged.into_iter().filter_map(|((name, kind), family)| read_family(name, kind, family)).collect()
}

/// Returns `None` for a family without a metric.
fn read_family(name: String, mut kind: FamilyType, mut family: MetricFamily) -> Option<Family> {
    let own_label = match kind {
        FamilyType::Histogram => Some("le"),
        FamilyType::Summary => Some("quantile"),
        _ => None,
    };
    let mut seen = HashSet::new();
    family.mut_metric().retain_mut(|metric| seen.insert(make_labels_valid(metric, own_label)));
    if kind == FamilyType::Untyped {
        // The encoder panics for this type.
        family.set_field_type(MetricType::GAUGE);
        for metric in family.mut_metric() {
            let mut gauge = Gauge::default();
            gauge.set_value(untyped::value(metric));
            metric.set_gauge(gauge);
        }
    }
    let mut samples = encode(&family)?;
    // A registry merges families of one name, and the type of one of them
    // remains. The encoder reads zero from a metric of another type.
    let other_type = match kind {
        FamilyType::Counter => Some(MetricType::GAUGE),
        FamilyType::Gauge => Some(MetricType::COUNTER),
        _ => None,
    };
    if let Some(other_type) = other_type {
        family.set_field_type(other_type);
        for (sample, other) in samples.iter_mut().zip(encode(&family)?) {
            if sample.value == "0" && other.value != "0" {
                *sample = other;
                kind = FamilyType::Untyped;
            }
        }
    }
    Some(Family { name, help: family.help().to_owned(), kind, samples })
}

/// Returns `None` for a family without a metric.
fn encode(family: &MetricFamily) -> Option<Vec<Sample>> {
    let mut text = String::new();
    TextEncoder::new().encode_utf8(std::slice::from_ref(family), &mut text).ok()?;
    Some(text.lines().filter(|line| !line.starts_with('#')).filter_map(Sample::parse).collect())
}

/// Makes the names of the labels valid and distinct, also from the label that
/// the encoder adds, and sorts them. The first of two equal names remains: a
/// metric's own labels come before those of the registry. Returns the labels.
fn make_labels_valid(metric: &mut Metric, own_label: Option<&str>) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::new();
    for label in metric.take_label() {
        let name = valid_label_name(label.name());
        if own_label != Some(&name) {
            labels.entry(name).or_insert_with(|| label.value().to_owned());
        }
    }
    let pairs = labels.iter().map(|(name, value)| {
        let mut pair = LabelPair::default();
        pair.set_name(name.clone());
        pair.set_value(value.clone());
        pair
    });
    metric.set_label(pairs.collect());
    labels
}

/// Reads the value of an untyped metric.
mod untyped {
    use prometheus::proto::Metric;

    #[allow(deprecated)]
    pub(super) fn value(metric: &Metric) -> f64 {
        metric.get_untyped().get_value()
    }

    /// With its feature `protobuf`, the crate has no method for these values.
    /// Then this one is called: the value is not known. Without the feature,
    /// the crate's method has priority.
    #[allow(dead_code)]
    trait WithoutUntyped {
        fn get_untyped(&self) -> UnknownValue;
    }

    impl WithoutUntyped for Metric {
        fn get_untyped(&self) -> UnknownValue {
            UnknownValue
        }
    }

    #[allow(dead_code)]
    struct UnknownValue;

    #[allow(dead_code)]
    impl UnknownValue {
        fn get_value(&self) -> f64 {
            f64::NAN
        }
    }
}
