//! Formats a comparison as text for a terminal.

use std::fmt::Write as _;

use super::document::{ChangeKind, Comparison, ComparisonOutcome, FindingChange, QuantileChange};
use crate::report::text::units::{count, counted, duration};

/// Returns the whole comparison.
pub(crate) fn text(comparison: &Comparison) -> String {
    let mut text = String::new();
    let rounds = counted(comparison.rounds, "run");
    let _ = writeln!(text, "A  {}\nB  {}\n   {rounds} each", comparison.a, comparison.b);
    for note in &comparison.notes {
        let _ = writeln!(text, "   different settings: {note}");
    }
    text.push('\n');
    if comparison.latency.is_empty() {
        text.push_str("latency   nothing was measured\n");
    } else {
        let _ = writeln!(
            text,
            "latency           A          B   B/A  95 % interval, from resampled {}",
            comparison.drawn
        );
        for quantile in &comparison.latency {
            let _ = writeln!(text, "{}", row(quantile));
        }
    }
    let lost = &comparison.lost;
    let _ = writeln!(
        text,
        "lost     {} of {}  {} of {}{}",
        count(lost.a),
        count(lost.a_expected),
        count(lost.b),
        count(lost.b_expected),
        word(lost.change)
    );
    match &comparison.findings {
        None => text.push_str("findings  are missing in A, in B or in both\n"),
        Some(changes) if changes.is_empty() => text.push_str("findings  none in A, none in B\n"),
        Some(changes) => {
            text.push_str("\nstalls A       B  blocked A        B  finding\n");
            for change in changes {
                let _ = writeln!(text, "{}", finding(change));
            }
        }
    }
    let _ = writeln!(text, "\n{}", verdict(comparison));
    text
}

fn row(quantile: &QuantileChange) -> String {
    let interval = match (quantile.low, quantile.high) {
        (Some(low), Some(high)) => format!("{low:.2} to {high:.2}"),
        _ => "unknown: too little was measured".to_owned(),
    };
    format!(
        "{:<8} {:>10} {:>10} {:>5.2}  {interval}{}",
        quantile.name,
        duration(quantile.a_seconds),
        duration(quantile.b_seconds),
        quantile.ratio,
        word(quantile.change)
    )
}

fn finding(change: &FindingChange) -> String {
    let site = change.site.as_deref().unwrap_or(&change.id);
    format!(
        "{:>8} {:>7} {:>8.1} % {:>6.1} %  {} {site}{}",
        count(change.a_stalls),
        count(change.b_stalls),
        change.a_share * 100.0,
        change.b_share * 100.0,
        change.cause,
        word(change.change)
    )
}

const fn word(kind: ChangeKind) -> &'static str {
    match kind {
        ChangeKind::Same => "",
        ChangeKind::Better => "  better",
        ChangeKind::Worse => "  WORSE",
        ChangeKind::New => "  NEW",
        ChangeKind::Gone => "  gone",
    }
}

fn verdict(comparison: &Comparison) -> String {
    let tolerance = comparison.tolerance * 100.0;
    match comparison.outcome {
        ComparisonOutcome::Same => {
            format!("no difference beyond chance and the tolerance of {tolerance:.0} %")
        }
        ComparisonOutcome::Better => "better, and nothing is worse".to_owned(),
        ComparisonOutcome::Regressed => format!("regressed: {}", comparison.reasons.join("; ")),
        ComparisonOutcome::Invalid => format!("invalid: {}", comparison.reasons.join("; ")),
    }
}
