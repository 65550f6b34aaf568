//! The names of metrics and labels: which are valid, and which of them belong
//! to one of loopscope's metrics.

use std::collections::{BTreeSet, HashMap};

use crate::export::metrics::catalogue::{Metric, MetricKind};
use crate::export::metrics::text::TextFormat;

/// Returns the name with `_` for each character that is not valid in the name
/// of a metric. One invalid name makes Prometheus reject the whole scrape.
pub(super) fn valid_metric_name(name: &str) -> String {
    valid(name, ":")
}

/// Returns the name with `_` for each character that is not valid in the name
/// of a label. Names that begin with two of them are reserved: `__name__` is
/// the name of the metric.
pub(super) fn valid_label_name(name: &str) -> String {
    let mut valid = valid(name, "");
    while valid.starts_with("__") {
        valid.remove(0);
    }
    valid
}

fn valid(name: &str, also_valid: &str) -> String {
    let is_valid = |c: char| c.is_ascii_alphanumeric() || c == '_' || also_valid.contains(c);
    let mut valid: String = name.chars().map(|c| if is_valid(c) { c } else { '_' }).collect();
    if !valid.starts_with(|c: char| !c.is_ascii_digit()) {
        valid.insert(0, '_');
    }
    valid
}

/// Returns the names of the samples of loopscope's metrics.
pub(super) fn own_sample_names(own: &[&'static Metric]) -> BTreeSet<String> {
    let names = |metric: &&'static Metric| match metric.kind {
        MetricKind::Histogram => ["", "_bucket", "_sum", "_count", "_created"]
            .map(|suffix| format!("{}{suffix}", metric.name))
            .into(),
        _ => vec![metric.name.to_owned()],
    };
    own.iter().flat_map(names).collect()
}

/// Returns the names that OpenMetrics reserves for counters besides those of
/// their samples, each with the name of its counter.
pub(super) fn own_reserved_names(
    own: &[&'static Metric],
    format: TextFormat,
) -> HashMap<String, &'static str> {
    let counters = own.iter().filter(|_| format == TextFormat::OpenMetrics);
    let base = |metric: &&'static Metric| Some((metric.name.strip_suffix("_total")?, metric.name));
    let names = |(base, name): (&str, _)| [(base.to_owned(), name), (format!("{base}_created"), name)];
    counters.filter_map(base).flat_map(names).collect()
}
