//! Families as text: Prometheus' format 0.0.4, or OpenMetrics 1.0 with
//! exemplars.
//!
//! The `prometheus` crate's encoder knows no OpenMetrics, and allocates several
//! times a line: with 256 kinds there are eleven thousand lines.

use std::fmt::Write;

use prometheus::TextEncoder;
use prometheus::proto::{MetricFamily, MetricType};

use crate::export::metrics::catalogue::{BLOCKING_DURATION, BUCKETS, Metric};
use crate::export::metrics::exemplars::{Exemplar, Exemplars};
use crate::export::metrics::families::{Distribution, Family, Series, Value};

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// What every version of Prometheus reads.
    Text,
    /// What those read that ask for it.
    OpenMetrics,
}

impl Format {
    /// The one that a request with this `Accept` header wants.
    pub(crate) fn accepted(accept: &str) -> Self {
        let is_wanted = |range: &str| {
            let mut parts = range.split(';').map(str::trim);
            parts.next() == Some("application/openmetrics-text")
                && parts.all(|part| !matches!(part, "q=0" | "q=0.0" | "q=0.00" | "q=0.000"))
        };
        if accept.split(',').any(is_wanted) { Self::OpenMetrics } else { Self::Text }
    }

    pub(crate) const fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// Appends `families` to `text`.
pub(crate) fn write(text: &mut String, families: &[Family], format: Format, exemplars: &Exemplars) {
    let bounds = BUCKETS.map(|bound| bound.as_secs_f64().to_string());
    let mut labels = String::new();
    for Family { metric, series } in families {
        head(text, metric, format);
        for Series { labels: values, value } in series {
            labels.clear();
            for (name, value) in metric.labels.iter().zip(values) {
                let comma = if labels.is_empty() { "" } else { "," };
                push_all(&mut labels, &[comma, name, "=\""]);
                escape(&mut labels, value, true);
                labels.push('"');
            }
            match value {
                Value::Number(value) => {
                    text.push_str(metric.name);
                    if !labels.is_empty() {
                        push_all(text, &["{", &labels, "}"]);
                    }
                    number(text, *value);
                    text.push('\n');
                }
                Value::Distribution(distribution) => {
                    let exemplar = |bucket| match format {
                        Format::OpenMetrics if **metric == BLOCKING_DURATION => {
                            exemplars.get(values.first()?, bucket)
                        }
                        _ => None,
                    };
                    histogram(text, metric.name, &labels, &bounds, distribution, exemplar);
                }
            }
        }
    }
}

fn head(text: &mut String, metric: &Metric, format: Format) {
    let name = match format {
        Format::OpenMetrics => metric.name.strip_suffix("_total").unwrap_or(metric.name),
        Format::Text => metric.name,
    };
    push_all(text, &["# HELP ", name, " "]);
    escape(text, metric.help, format == Format::OpenMetrics);
    push_all(text, &["\n# TYPE ", name, " ", metric.kind.as_str(), "\n"]);
}

fn histogram<'e>(
    text: &mut String,
    name: &str,
    labels: &str,
    bounds: &[String],
    distribution: &Distribution,
    exemplar: impl Fn(usize) -> Option<&'e Exemplar>,
) {
    let comma = if labels.is_empty() { "" } else { "," };
    let counts = distribution.at_most.iter().chain([&distribution.count]);
    let bounds = bounds.iter().map(String::as_str).chain(["+Inf"]);
    for (index, (bound, count)) in bounds.zip(counts).enumerate() {
        push_all(text, &[name, "_bucket{", labels, comma, "le=\"", bound, "\"}"]);
        integer(text, *count);
        if let Some(Exemplar { finding, value, unix_seconds }) = exemplar(index) {
            text.push_str(" # {finding=\"");
            escape(text, finding, true);
            let _ = write!(text, "\"}} {value} {unix_seconds:.3}");
        }
        text.push('\n');
    }
    let braced = if labels.is_empty() { String::new() } else { format!("{{{labels}}}") };
    push_all(text, &[name, "_sum", &braced]);
    number(text, distribution.sum_seconds);
    push_all(text, &["\n", name, "_count", &braced]);
    integer(text, distribution.count);
    text.push('\n');
}

fn number(text: &mut String, value: f64) {
    // Most values are counts, which are written faster as such.
    if (0.0..1e15).contains(&value) && value.fract() == 0.0 {
        integer(text, value as u64);
    } else {
        let _ = write!(text, " {value}");
    }
}

fn integer(text: &mut String, value: u64) {
    let _ = write!(text, " {value}");
}

fn push_all(text: &mut String, parts: &[&str]) {
    parts.iter().for_each(|part| text.push_str(part));
}

fn escape(text: &mut String, raw: &str, quotes: bool) {
    if !raw.contains(['\\', '\n', '"']) {
        return text.push_str(raw);
    }
    for c in raw.chars() {
        match c {
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '"' if quotes => text.push_str("\\\""),
            c => text.push(c),
        }
    }
}

/// Appends one family of the application's own, encoded by the `prometheus`
/// crate; its counters get the suffix that OpenMetrics demands.
pub(crate) fn write_foreign(text: &mut String, family: &MetricFamily, format: Format) {
    // The crate's encoder panics at these.
    if family.get_field_type() == MetricType::UNTYPED {
        return;
    }
    let mut encoded = String::new();
    // Fails for a family without series or name only: nothing to show.
    if TextEncoder::new().encode_utf8(std::slice::from_ref(family), &mut encoded).is_err() {
        return;
    }
    if format == Format::Text || family.get_field_type() != MetricType::COUNTER {
        return text.push_str(&encoded);
    }
    let name = family.name();
    let base = name.strip_suffix("_total").unwrap_or(name);
    for line in encoded.lines() {
        let head = ["# HELP ", "# TYPE "].into_iter().find(|head| line.starts_with(head));
        let rest = &line[head.map_or(0, str::len) + name.len()..];
        match head {
            Some(head) => push_all(text, &[head, base, rest, "\n"]),
            None => push_all(text, &[base, "_total", rest, "\n"]),
        }
    }
}

#[cfg(test)]
mod tests;
