//! `loadgen compare`: compares runs before and after a change, and estimates
//! how much of the difference is chance.

mod bootstrap;
mod document;
mod findings;
mod rounds;
mod text;

use anyhow::{Context as _, bail};
use hdrhistogram::Histogram;

use crate::cli::CompareArgs;
use crate::report::{self, Report, RunOutcome, decode};
use bootstrap::{ConfidenceInterval, SliceCounts};
pub(crate) use document::Comparison;
use document::{ChangeKind, ComparisonOutcome, LossChange, QuantileChange, SCHEMA};
pub(crate) use text::text;

/// The quantiles that are compared.
const QUANTILES: [(&str, f64); 4] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999)];

/// Compares the two reports or commands of the arguments.
///
/// # Errors
///
/// If a report cannot be read, or a command does not write one.
pub(crate) async fn compare(args: &CompareArgs) -> anyhow::Result<Comparison> {
    match (&args.ab[..], &args.reports[..]) {
        ([a, b], []) => {
            let (before, after) = rounds::alternate(a, b, args.rounds, args.quiet).await?;
            compare_runs(a, b, &before, &after, args.tolerance)
        }
        ([], [a, b]) => {
            let (name_a, name_b) = (a.display().to_string(), b.display().to_string());
            compare_runs(&name_a, &name_b, &[report::read(a)?], &[report::read(b)?], args.tolerance)
        }
        _ => bail!("the reports are missing: name two reports, or two commands with --ab 'A' 'B'"),
    }
}

/// Compares the runs of `a` and `b`. Both have the same number of runs.
fn compare_runs(
    a: &str,
    b: &str,
    before: &[Report],
    after: &[Report],
    tolerance: f64,
) -> anyhow::Result<Comparison> {
    let latency =
        latency(before, after, tolerance).with_context(|| format!("{a} and {b} cannot be compared"))?;
    let unjudged = unjudged(before, after, &latency);
    let lost = lost(before, after);
    let findings = findings::changes(before, after, tolerance);
    let mut comparison = Comparison {
        schema: SCHEMA,
        version: env!("CARGO_PKG_VERSION"),
        a: a.to_owned(),
        b: b.to_owned(),
        rounds: before.len() as u64,
        drawn: if before.len() > 1 { "rounds" } else { "stretches of time" },
        tolerance,
        notes: notes(before, after),
        latency,
        lost,
        findings,
        outcome: ComparisonOutcome::Same,
        exit_code: 0,
        reasons: Vec::new(),
    };
    judge(&mut comparison, before.iter().chain(after), unjudged);
    Ok(comparison)
}

/// Returns why no quantile of the latency can be judged, although at least one
/// side has latencies; `None` if one can be judged, or if nothing was to be.
fn unjudged(before: &[Report], after: &[Report], latency: &[QuantileChange]) -> Option<String> {
    let has_latency = |report: &Report| latency_histogram(report).is_ok_and(|latency| !latency.is_empty());
    let missing = |side: &[Report]| !side.iter().all(has_latency);
    match (missing(before), missing(after)) {
        (true, true) if !before.iter().chain(after).any(has_latency) => None,
        (true, _) => Some("the latency cannot be compared: a run of A has delivered nothing".to_owned()),
        (_, true) => Some("the latency cannot be compared: a run of B has delivered nothing".to_owned()),
        _ if latency.iter().any(|quantile| quantile.low.is_some()) => None,
        _ => Some(
            "the latency cannot be compared: too little was measured to tell a difference from chance; use a longer \
             --duration"
                .to_owned(),
        ),
    }
}

fn latency(a: &[Report], b: &[Report], tolerance: f64) -> anyhow::Result<Vec<QuantileChange>> {
    let histograms = |side: &[Report]| side.iter().map(latency_histogram).collect::<anyhow::Result<Vec<_>>>();
    let (a_histograms, b_histograms) = (histograms(a)?, histograms(b)?);
    if a_histograms.iter().chain(&b_histograms).any(|histogram| histogram.is_empty()) {
        return Ok(vec![]);
    }
    let slices = match (a, b) {
        ([a], [b]) => Some((slice_counts(a)?, slice_counts(b)?)),
        _ => None,
    };
    let quantiles = QUANTILES.map(|(_, quantile)| quantile);
    let slice_intervals =
        slices.map(|(a, b)| bootstrap::ratios_of_quantiles(&a, &b, &quantiles, bootstrap::RESAMPLES));
    let quantile = |(index, &(name, quantile)): (usize, &(&'static str, f64))| {
        let seconds = |histogram: &Histogram<u64>| to_seconds(histogram.value_at_quantile(quantile));
        let (a, b): (Vec<_>, Vec<_>) =
            (a_histograms.iter().map(seconds).collect(), b_histograms.iter().map(seconds).collect());
        let ratios: Vec<_> = a.iter().zip(&b).map(|(a, b)| b / a).collect();
        let interval = match &slice_intervals {
            Some(intervals) => intervals[index],
            None => bootstrap::ratio_of_pairs(&ratios),
        };
        QuantileChange {
            name,
            a_seconds: bootstrap::geometric_mean(&a),
            b_seconds: bootstrap::geometric_mean(&b),
            ratio: bootstrap::geometric_mean(&ratios),
            low: interval.map(|interval| interval.low),
            high: interval.map(|interval| interval.high),
            change: interval.map_or(ChangeKind::Same, |interval| change_kind(interval, tolerance)),
        }
    };
    Ok(QUANTILES.iter().enumerate().map(quantile).collect())
}

fn latency_histogram(report: &Report) -> anyhow::Result<Histogram<u64>> {
    let text = &report.load.histograms.latency;
    decode(text).map_err(|error| {
        anyhow::anyhow!("the latency of the run against {} cannot be read: {error}", report.target)
    })
}

fn slice_counts(report: &Report) -> anyhow::Result<SliceCounts> {
    let slices = report.load.histograms.latency_slices.iter();
    let slices: Result<Vec<Histogram<u64>>, _> = slices.map(|slice| decode(slice)).collect();
    let slices = slices.map_err(|error| {
        anyhow::anyhow!("the latency slices of the run against {} cannot be read: {error}", report.target)
    })?;
    Ok(SliceCounts::from_histograms(&slices))
}

#[expect(clippy::cast_precision_loss, reason = "shown with three significant digits")]
fn to_seconds(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1e9
}

fn change_kind(interval: ConfidenceInterval, tolerance: f64) -> ChangeKind {
    if interval.low > 1.0 + tolerance {
        ChangeKind::Worse
    } else if interval.high < 1.0 / (1.0 + tolerance) {
        ChangeKind::Better
    } else {
        ChangeKind::Same
    }
}

/// Compares the losses. Losses come in bursts, so a formula for independent
/// losses would be wrong. B is worse if its share of lost deliveries is more
/// than twice A's. So any loss is worse than none.
#[expect(clippy::cast_precision_loss, reason = "counts of a run are far below 2^53")]
fn lost(a: &[Report], b: &[Report]) -> LossChange {
    let sum = |side: &[Report]| {
        side.iter().fold((0, 0), |(lost, expected), report| {
            let deliveries = report.load.deliveries;
            (lost + deliveries.lost, expected + deliveries.expected)
        })
    };
    let ((a, a_expected), (b, b_expected)) = (sum(a), sum(b));
    let share = |lost: u64, expected: u64| lost as f64 / expected.max(1) as f64;
    let (before, after) = (share(a, a_expected), share(b, b_expected));
    let change = if after > 2.0 * before {
        ChangeKind::Worse
    } else if before > 2.0 * after {
        ChangeKind::Better
    } else {
        ChangeKind::Same
    };
    LossChange { a, a_expected, b, b_expected, change }
}

/// Returns the settings that differ between the two sides.
fn notes(a: &[Report], b: &[Report]) -> Vec<String> {
    let (Some(a), Some(b)) = (a.first(), b.first()) else { return vec![] };
    let (a, b) = (&a.settings, &b.settings);
    let differ = |name: &str, a: String, b: String| (a != b).then(|| format!("{name} {a} in A, {b} in B"));
    // Stages may have a mean rate with many digits.
    let rate = |rate: f64| ((rate * 100.0).round() / 100.0).to_string();
    let mix = |mix: &std::collections::BTreeMap<String, u32>| {
        mix.iter().map(|(name, weight)| format!("{name}:{weight}")).collect::<Vec<_>>().join(",")
    };
    [
        differ("connections", a.connections.to_string(), b.connections.to_string()),
        differ("rooms", a.rooms.to_string(), b.rooms.to_string()),
        differ("rate", rate(a.rate), rate(b.rate)),
        differ("arrivals", a.arrivals.clone(), b.arrivals.clone()),
        differ("duration", a.duration_seconds.to_string(), b.duration_seconds.to_string()),
        differ("churn", a.churn.to_string(), b.churn.to_string()),
        differ("payload", a.payload_bytes.to_string(), b.payload_bytes.to_string()),
        differ("mix", mix(&a.mix), mix(&b.mix)),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn judge<'a>(
    comparison: &mut Comparison,
    runs: impl Iterator<Item = &'a Report>,
    unjudged_latency: Option<String>,
) {
    let invalid = runs.filter(|report| report.verdict.outcome == RunOutcome::Invalid);
    let invalid: Vec<_> =
        invalid.map(|report| format!("a run was invalid: {}", report.verdict.reasons.join("; "))).collect();
    let mut worse = Vec::new();
    let mut better = false;
    for quantile in &comparison.latency {
        if quantile.change == ChangeKind::Worse {
            worse.push(format!("{} is {:.2} times what it was", quantile.name, quantile.ratio));
        }
        better |= quantile.change == ChangeKind::Better;
    }
    if comparison.lost.change == ChangeKind::Worse {
        worse.push(format!("{} deliveries were lost instead of {}", comparison.lost.b, comparison.lost.a));
    }
    better |= comparison.lost.change == ChangeKind::Better;
    for finding in comparison.findings.iter().flatten() {
        let site = finding.site.as_deref().unwrap_or(&finding.id);
        match finding.change {
            ChangeKind::New => worse.push(format!("{} at {site} is new", finding.cause)),
            ChangeKind::Worse => worse.push(format!("{} at {site} is worse", finding.cause)),
            ChangeKind::Gone | ChangeKind::Better => better = true,
            ChangeKind::Same => {}
        }
    }
    (comparison.outcome, comparison.exit_code, comparison.reasons) = if !invalid.is_empty() {
        (ComparisonOutcome::Invalid, 2, invalid)
    } else if !worse.is_empty() {
        (ComparisonOutcome::Regressed, 1, worse)
    } else if better {
        (ComparisonOutcome::Better, 0, vec![])
    } else {
        match unjudged_latency {
            Some(reason) => (ComparisonOutcome::Invalid, 2, vec![reason]),
            None => (ComparisonOutcome::Same, 0, vec![]),
        }
    };
}
