//! Service level objectives, such as `p99<50ms` or `blocking.events==0`.

use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use super::duration::{MAX_DURATION, too_long};

/// A point of a distribution of times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Quantile {
    /// 50 % of the samples are at most this.
    P50,
    /// 90 % of the samples are at most this.
    P90,
    /// 99 % of the samples are at most this.
    P99,
    /// 99.9 % of the samples are at most this.
    P999,
    /// All samples are at most this.
    Max,
}

/// The figure that an objective limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Metric {
    /// The time from due time to receipt.
    Latency(Quantile),
    /// The time from send to receipt.
    Service(Quantile),
    /// The time until a connection is ready, in storms if there are some.
    Login(Quantile),
    /// The time from due time to send. It limits the generator, not the server.
    SendLag(Quantile),
    /// How late the generator's receiving loop was. It limits the generator,
    /// not the server.
    ReceiveLag(Quantile),
    /// Deliveries that never arrived.
    Lost,
    /// Deliveries that arrived more than once.
    Duplicated,
    /// Deliveries that arrived after a later message of the same sender.
    OutOfOrder,
    /// Replies that refuse a command.
    ErrorReplies,
    /// Stalls of the server's event loop.
    BlockingEvents,
    /// The time that the stalls took, all workers together.
    BlockingSeconds,
    /// The time that the stalls took, as a share of the observed time.
    BlockingShare,
}

const QUANTILES: [(&str, Quantile); 5] = [
    ("p50", Quantile::P50),
    ("p90", Quantile::P90),
    ("p99", Quantile::P99),
    ("p99.9", Quantile::P999),
    ("max", Quantile::Max),
];

const OTHER_METRICS: [(&str, Metric); 7] = [
    ("lost", Metric::Lost),
    ("duplicated", Metric::Duplicated),
    ("out_of_order", Metric::OutOfOrder),
    ("error_replies", Metric::ErrorReplies),
    ("blocking.events", Metric::BlockingEvents),
    ("blocking.seconds", Metric::BlockingSeconds),
    ("blocking.share", Metric::BlockingShare),
];

type TimeMetric = (&'static str, fn(Quantile) -> Metric);

/// The metrics that are times, each with the prefix of its name.
const TIME_METRICS: [TimeMetric; 5] = [
    ("", Metric::Latency),
    ("service.", Metric::Service),
    ("login.", Metric::Login),
    ("send_lag.", Metric::SendLag),
    ("receive_lag.", Metric::ReceiveLag),
];

impl Metric {
    /// Returns every metric with its name.
    fn all() -> impl Iterator<Item = (String, Self)> {
        let timed = TIME_METRICS.into_iter().flat_map(|(prefix, metric)| {
            QUANTILES.map(|(name, quantile)| (format!("{prefix}{name}"), metric(quantile)))
        });
        timed.chain(OTHER_METRICS.map(|(name, metric)| (name.to_owned(), metric)))
    }

    /// Returns its name in flags and reports.
    pub(crate) fn name(self) -> String {
        Self::all().find(|&(_, metric)| metric == self).map(|(name, _)| name).unwrap_or_default()
    }

    /// Returns whether it limits the generator and not the server.
    pub(crate) const fn is_of_generator(self) -> bool {
        matches!(self, Self::SendLag(_) | Self::ReceiveLag(_))
    }

    /// Returns whether only the server's telemetry reports it.
    pub(crate) const fn needs_telemetry(self) -> bool {
        matches!(self, Self::BlockingEvents | Self::BlockingSeconds | Self::BlockingShare)
    }

    const fn is_time(self) -> bool {
        !self.is_share() && !matches!(self, Self::BlockingEvents | Self::BlockingShare)
    }

    /// Returns whether a limit may be a percentage.
    const fn is_share(self) -> bool {
        matches!(
            self,
            Self::Lost | Self::Duplicated | Self::OutOfOrder | Self::ErrorReplies | Self::BlockingShare
        )
    }
}

/// The required relation of the actual value to the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Relation {
    Below,
    AtMost,
    Equal,
}

/// The unit of a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Unit {
    /// A time, in seconds.
    Seconds,
    /// A number of deliveries, replies or stalls.
    Count,
    /// A share of the expected number, from 0 to 1.
    Share,
}

/// One objective.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Objective {
    text: String,
    metric: Metric,
    comparison: Relation,
    limit: f64,
    unit: Unit,
}

impl Objective {
    /// Returns the objective as it was written.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Returns the figure that it limits.
    pub(crate) const fn metric(&self) -> Metric {
        self.metric
    }

    /// Returns the limit, in the objective's unit.
    pub(crate) const fn limit(&self) -> f64 {
        self.limit
    }

    /// Returns the unit of the limit and of the actual value.
    pub(crate) const fn unit(&self) -> Unit {
        self.unit
    }

    /// Returns whether `actual`, in the objective's unit, meets the objective.
    pub(crate) fn holds(&self, actual: f64) -> bool {
        match self.comparison {
            Relation::Below => actual < self.limit,
            Relation::AtMost => actual <= self.limit,
            Relation::Equal => (actual - self.limit).abs() < f64::EPSILON,
        }
    }

    /// Returns the limit, if this is a latency objective.
    pub(crate) fn latency_limit(&self) -> Option<Duration> {
        matches!(self.metric, Metric::Latency(_)).then(|| Duration::from_secs_f64(self.limit))
    }

    /// Returns the limit, if this is an objective on logins.
    pub(crate) fn login_limit(&self) -> Option<Duration> {
        matches!(self.metric, Metric::Login(_)).then(|| Duration::from_secs_f64(self.limit))
    }

    /// Reads the objectives of a file: one per line, `#` begins a comment.
    pub(crate) fn read_file(path: &Path) -> anyhow::Result<Vec<Self>> {
        let name = path.display();
        let text =
            std::fs::read_to_string(path).with_context(|| format!("--slo-file {name} cannot be read"))?;
        let mut objectives = Vec::new();
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.split('#').next().unwrap_or_default().trim();
            if !line.is_empty() {
                let objective =
                    line.parse().map_err(|error| anyhow::anyhow!("--slo-file {name}:{number}: {error}"))?;
                objectives.push(objective);
            }
        }
        if objectives.is_empty() {
            anyhow::bail!("--slo-file {name} has no objective; write one per line, such as `p99<50ms`");
        }
        Ok(objectives)
    }
}

impl FromStr for Objective {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let usage = || format!("`{text}` is not an objective; write one such as `p99<50ms` or `lost==0`");
        let at = text.find(['<', '=']).ok_or_else(usage)?;
        let (name, rest) = text.split_at(at);
        let (comparison, value) = if let Some(value) = rest.strip_prefix("<=") {
            (Relation::AtMost, value)
        } else if let Some(value) = rest.strip_prefix('<') {
            (Relation::Below, value)
        } else {
            (Relation::Equal, rest.strip_prefix("==").ok_or_else(usage)?)
        };
        let name = name.trim();
        let metric = Metric::all().find(|(known, _)| known == name).map(|(_, metric)| metric);
        let metric = metric.ok_or_else(|| {
            let others: Vec<_> = OTHER_METRICS.iter().map(|(name, _)| *name).collect();
            let prefixes = TIME_METRICS.iter().filter(|(prefix, _)| !prefix.is_empty());
            let prefixes: Vec<_> = prefixes.map(|(prefix, _)| format!("`{prefix}`")).collect();
            format!(
                "`{name}` cannot be an objective; use p50, p90, p99, p99.9, max, the same with one of the prefixes \
                 {}, or {}",
                prefixes.join(", "),
                others.join(", ")
            )
        })?;
        let (limit, unit) = limit(metric, value.trim())?;
        Ok(Self { text: text.trim().to_owned(), metric, comparison, limit, unit })
    }
}

/// Parses the limit of `metric`; returns it with its unit.
fn limit(metric: Metric, value: &str) -> Result<(f64, Unit), String> {
    if metric.is_time() {
        let limit = humantime::parse_duration(value)
            .map_err(|error| format!("`{value}` is not a duration such as 50ms: {error}"))?;
        if limit > MAX_DURATION {
            return Err(format!("the limit `{value}` is too long: {}", too_long()));
        }
        return Ok((limit.as_secs_f64(), Unit::Seconds));
    }
    let (number, scale, unit) = match value.strip_suffix('%').filter(|_| metric.is_share()) {
        Some(percent) => (percent, 0.01, Unit::Share),
        None => (value, 1.0, Unit::Count),
    };
    if metric == Metric::BlockingShare && unit == Unit::Count {
        return Err(format!("`{value}` is not a share of the time; write a percentage such as 1%"));
    }
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
    fn every_metric_has_a_unique_name_that_parses() {
        let names: std::collections::BTreeSet<_> = Metric::all().map(|(name, _)| name).collect();
        assert_eq!(names.len(), 32);
        for (name, metric) in Metric::all() {
            let limit = if metric.is_time() { "1s" } else { "1%" };
            let limit = if metric == Metric::BlockingEvents { "1" } else { limit };
            assert_eq!(objective(&format!("{name}<{limit}")).metric().name(), name);
        }
    }

    #[test]
    fn latency_objectives_compare_seconds() {
        let p99 = objective("p99<50ms");
        assert_eq!((p99.metric(), p99.unit()), (Metric::Latency(Quantile::P99), Unit::Seconds));
        assert_eq!(p99.latency_limit(), Some(Duration::from_millis(50)));
        assert!(p99.holds(0.0499) && !p99.holds(0.05));
        assert!(objective("p99.9 <= 1s").holds(1.0));
        assert_eq!(objective("max<2s").metric(), Metric::Latency(Quantile::Max));
        let lag = objective("send_lag.p99<1ms");
        assert!(lag.metric().is_of_generator() && lag.latency_limit().is_none());
    }

    #[test]
    fn a_limit_on_losses_is_a_count_or_a_share() {
        assert!(objective("lost==0").holds(0.0) && !objective("lost==0").holds(1.0));
        let share = objective("lost<0.1%");
        assert_eq!((share.unit(), share.latency_limit()), (Unit::Share, None));
        assert!(share.holds(0.0009) && !share.holds(0.001));
    }

    #[test]
    fn a_limit_on_blocking_is_a_count_a_time_or_a_share() {
        assert_eq!(objective("blocking.events==0").unit(), Unit::Count);
        assert_eq!(objective("blocking.seconds<200ms").unit(), Unit::Seconds);
        assert!(objective("blocking.share<1%").holds(0.009));
        assert!(objective("blocking.share<1%").metric().needs_telemetry());
    }

    #[test]
    fn a_bad_objective_is_refused_with_a_reason() {
        for (text, reason) in [
            ("p99", "not an objective"),
            ("p99=5ms", "not an objective"),
            ("p98<5ms", "use p50"),
            ("p99<fast", "not a duration"),
            ("p99<18446744073709551615s", "at most 365days"),
            ("login.p50<366days", "at most 365days"),
            ("lost<x", "neither"),
            ("lost<-1", "zero or more"),
            ("blocking.share<1", "such as 1%"),
            ("blocking.events<1%", "neither"),
            ("<5ms", "cannot be"),
        ] {
            let error = text.parse::<Objective>().expect_err(text);
            assert!(error.contains(reason), "{text}: {error}");
        }
    }
}
