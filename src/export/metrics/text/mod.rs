//! Writes families as text: in Prometheus' text format 0.0.4, or in OpenMetrics
//! 1.0 with exemplars.
//!
//! The encoder of the `prometheus` crate does not support OpenMetrics, and it
//! allocates several times per line. With 256 task kinds there are more than
//! 12,000 lines.

use std::collections::BTreeSet;
use std::fmt::Write;

use crate::export::metrics::catalogue::{BLOCKING_DURATION, BUCKETS, Metric};
use crate::export::metrics::exemplars::{Exemplar, Exemplars};
use crate::export::metrics::families::{Distribution, Family, Series, SeriesValue};

/// The format of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TextFormat {
    /// Prometheus' text format 0.0.4, which every version of Prometheus reads.
    Prometheus,
    /// OpenMetrics 1.0, for clients that request it.
    OpenMetrics,
}

impl TextFormat {
    pub(crate) const fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// Appends `families` to `text`. In OpenMetrics, those `without_type` have
/// none, so that the format reserves no other names for them.
pub(crate) fn write(
    text: &mut String,
    families: &[Family],
    format: TextFormat,
    exemplars: &Exemplars,
    without_type: &BTreeSet<&'static str>,
) {
    let bounds = BUCKETS.map(|bound| bound.as_secs_f64().to_string());
    let mut labels = String::new();
    for Family { metric, series } in families {
        write_head(text, metric, format, without_type.contains(metric.name));
        for Series { labels: values, value } in series {
            labels.clear();
            for (name, value) in metric.labels.iter().zip(values) {
                let comma = if labels.is_empty() { "" } else { "," };
                push_all(&mut labels, &[comma, name, "=\""]);
                write_escaped(&mut labels, value, true);
                labels.push('"');
            }
            match value {
                SeriesValue::Number(value) => {
                    text.push_str(metric.name);
                    if !labels.is_empty() {
                        push_all(text, &["{", &labels, "}"]);
                    }
                    write_number(text, *value);
                    text.push('\n');
                }
                SeriesValue::Distribution(distribution) => {
                    let exemplar = |bucket| match format {
                        TextFormat::OpenMetrics if **metric == BLOCKING_DURATION => {
                            exemplars.get(values.first()?, bucket)
                        }
                        _ => None,
                    };
                    write_histogram(text, metric.name, &labels, &bounds, distribution, exemplar);
                }
            }
        }
    }
}

fn write_head(text: &mut String, metric: &Metric, format: TextFormat, is_without_type: bool) {
    let (name, kind) = match format {
        TextFormat::OpenMetrics if is_without_type => (metric.name, "unknown"),
        TextFormat::OpenMetrics => {
            (metric.name.strip_suffix("_total").unwrap_or(metric.name), metric.kind.as_str())
        }
        TextFormat::Prometheus => (metric.name, metric.kind.as_str()),
    };
    push_all(text, &["# HELP ", name, " "]);
    write_escaped(text, metric.help, format == TextFormat::OpenMetrics);
    push_all(text, &["\n# TYPE ", name, " ", kind, "\n"]);
}

fn write_histogram<'e>(
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
        write_integer(text, *count);
        if let Some(Exemplar { finding, seconds, end_unix_seconds }) = exemplar(index) {
            text.push_str(" # {finding=\"");
            write_escaped(text, finding, true);
            let _ = write!(text, "\"}} {seconds} {end_unix_seconds:.3}");
        }
        text.push('\n');
    }
    let braced = if labels.is_empty() { String::new() } else { format!("{{{labels}}}") };
    push_all(text, &[name, "_sum", &braced]);
    write_number(text, distribution.sum_seconds);
    push_all(text, &["\n", name, "_count", &braced]);
    write_integer(text, distribution.count);
    text.push('\n');
}

fn write_number(text: &mut String, value: f64) {
    // Most values are counts, and integers are faster to write.
    if (0.0..1e15).contains(&value) && value.fract() == 0.0 {
        write_integer(text, value as u64);
    } else {
        let _ = write!(text, " {value}");
    }
}

fn write_integer(text: &mut String, value: u64) {
    let _ = write!(text, " {value}");
}

pub(crate) fn push_all(text: &mut String, parts: &[&str]) {
    parts.iter().for_each(|part| text.push_str(part));
}

pub(crate) fn write_escaped(text: &mut String, raw: &str, escape_quotes: bool) {
    if !raw.contains(['\\', '\n', '"']) {
        return text.push_str(raw);
    }
    for c in raw.chars() {
        match c {
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '"' if escape_quotes => text.push_str("\\\""),
            c => text.push(c),
        }
    }
}

#[cfg(test)]
mod tests;
