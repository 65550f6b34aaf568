//! Service level objectives, such as `p99<50ms` or `lost==0`.

use std::str::FromStr;
use std::time::Duration;

/// What an objective looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Metric {
    /// Half of the deliveries are at least this fast.
    P50,
    /// Nine of ten are.
    P90,
    /// 99 of 100 are.
    P99,
    /// 999 of 1000 are.
    P999,
    /// All are.
    Max,
    /// Deliveries that never came.
    Lost,
}

impl Metric {
    const ALL: [Self; 6] = [Self::P50, Self::P90, Self::P99, Self::P999, Self::Max, Self::Lost];

    /// Its name in flags and reports.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::P50 => "p50",
            Self::P90 => "p90",
            Self::P99 => "p99",
            Self::P999 => "p99.9",
            Self::Max => "max",
            Self::Lost => "lost",
        }
    }
}

/// How the actual value must stand to the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Below,
    AtMost,
    Equal,
}

/// What the limit is measured in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    /// Latency, in seconds.
    Seconds,
    /// A number of deliveries.
    Count,
    /// A share of the expected deliveries, from 0 to 1.
    Share,
}

impl Unit {
    /// Its name in reports.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Seconds => "seconds",
            Self::Count => "count",
            Self::Share => "share",
        }
    }
}

/// One objective.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Objective {
    text: String,
    metric: Metric,
    comparison: Comparison,
    limit: f64,
    unit: Unit,
}

impl Objective {
    /// As it was written.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// What it looks at.
    pub(crate) const fn metric(&self) -> Metric {
        self.metric
    }

    /// The limit, in the objective's unit.
    pub(crate) const fn limit(&self) -> f64 {
        self.limit
    }

    /// What limit and actual value are measured in.
    pub(crate) const fn unit(&self) -> Unit {
        self.unit
    }

    /// Whether `actual`, in the objective's unit, holds it.
    pub(crate) fn holds(&self, actual: f64) -> bool {
        match self.comparison {
            Comparison::Below => actual < self.limit,
            Comparison::AtMost => actual <= self.limit,
            Comparison::Equal => (actual - self.limit).abs() < f64::EPSILON,
        }
    }

    /// The limit, if this is an objective on latency.
    pub(crate) fn latency_limit(&self) -> Option<Duration> {
        (self.unit == Unit::Seconds).then(|| Duration::from_secs_f64(self.limit))
    }
}

impl FromStr for Objective {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let usage = || format!("`{text}` is no objective; write one such as `p99<50ms` or `lost==0`");
        let at = text.find(['<', '=']).ok_or_else(usage)?;
        let (name, rest) = text.split_at(at);
        let (comparison, value) = if let Some(value) = rest.strip_prefix("<=") {
            (Comparison::AtMost, value)
        } else if let Some(value) = rest.strip_prefix('<') {
            (Comparison::Below, value)
        } else {
            (Comparison::Equal, rest.strip_prefix("==").ok_or_else(usage)?)
        };
        let name = name.trim();
        let metric = Metric::ALL.into_iter().find(|metric| metric.as_str() == name).ok_or_else(|| {
            let names: Vec<_> = Metric::ALL.iter().map(|metric| metric.as_str()).collect();
            format!("`{name}` cannot be an objective; there are {}", names.join(", "))
        })?;
        let (limit, unit) = limit(metric, value.trim())?;
        Ok(Self { text: text.trim().to_owned(), metric, comparison, limit, unit })
    }
}

/// Parses the right side as what `metric` is measured in.
fn limit(metric: Metric, value: &str) -> Result<(f64, Unit), String> {
    if metric != Metric::Lost {
        let limit = humantime::parse_duration(value)
            .map_err(|error| format!("`{value}` is no duration such as 50ms: {error}"))?;
        return Ok((limit.as_secs_f64(), Unit::Seconds));
    }
    let (number, unit, scale) = match value.strip_suffix('%') {
        Some(percent) => (percent, Unit::Share, 0.01),
        None => (value, Unit::Count, 1.0),
    };
    let limit: f64 =
        number.trim().parse().map_err(|_| format!("`{value}` is neither a count nor a percentage"))?;
    if !limit.is_finite() || limit < 0.0 {
        return Err(format!("`{value}` must be zero or more"));
    }
    Ok((limit * scale, unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn objective(text: &str) -> Objective {
        text.parse().expect(text)
    }

    #[test]
    fn latency_objectives_compare_seconds() {
        let p99 = objective("p99<50ms");
        assert_eq!((p99.metric(), p99.unit()), (Metric::P99, Unit::Seconds));
        assert_eq!(p99.latency_limit(), Some(Duration::from_millis(50)));
        assert!(p99.holds(0.0499) && !p99.holds(0.05));
        assert!(objective("p99.9 <= 1s").holds(1.0));
        assert_eq!(objective("max<2s").metric(), Metric::Max);
    }

    #[test]
    fn losses_are_counted_or_taken_as_a_share() {
        assert!(objective("lost==0").holds(0.0) && !objective("lost==0").holds(1.0));
        let share = objective("lost<0.1%");
        assert_eq!((share.unit(), share.latency_limit()), (Unit::Share, None));
        assert!(share.holds(0.0009) && !share.holds(0.001));
    }

    #[test]
    fn a_bad_objective_is_refused_with_a_reason() {
        for (text, reason) in [
            ("p99", "no objective"),
            ("p99=5ms", "no objective"),
            ("p98<5ms", "there are p50"),
            ("p99<fast", "no duration"),
            ("lost<x", "neither"),
            ("lost<-1", "zero or more"),
            ("<5ms", "cannot be"),
        ] {
            let error = text.parse::<Objective>().expect_err(text);
            assert!(error.contains(reason), "{text}: {error}");
        }
    }
}
