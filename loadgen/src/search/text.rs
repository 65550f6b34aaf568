//! Formats the result of a search as text for a terminal.

use std::fmt::Write as _;

use super::document::{SearchReport, Trial, Worst};
use crate::report::text::units::{counted, duration};

/// Returns one trial in one line.
pub(crate) fn trial(trial: &Trial) -> String {
    let latency = trial.latency.as_ref().map_or_else(
        || "nothing delivered".to_owned(),
        |timing| {
            format!(
                "p50 {}, p99 {}, max {}",
                duration(timing.p50_seconds),
                duration(timing.p99_seconds),
                duration(timing.max_seconds)
            )
        },
    );
    let why =
        if trial.reasons.is_empty() { String::new() } else { format!(": {}", trial.reasons.join("; ")) };
    format!("{:>10.1}/s  {:<7}  {latency}{why}", trial.rate, trial.outcome)
}

/// Returns the answer, and how certain it is.
pub(crate) fn text(report: &SearchReport) -> String {
    let mut text = String::new();
    let objectives = report.objectives.join(", ");
    let dwell = duration(report.dwell_seconds);
    match &report.answer {
        Some(answer) => {
            let _ =
                writeln!(text, "{objectives} held at {:.1}/s for {dwell} at {}", answer.rate, report.target);
            let _ = writeln!(
                text,
                "  held in {} of {} at this rate: with 95 % confidence, at least {:.0} % of trials hold",
                answer.held,
                counted(answer.trials.into(), "trial"),
                answer.holds_at_least * 100.0
            );
        }
        None => {
            let _ = writeln!(
                text,
                "no rate was found at which {objectives} held for {dwell} at {}",
                report.target
            );
        }
    }
    match &report.limit {
        Some(limit) => {
            let cause =
                if limit.of_generator { "the generator, not the server, was too slow" } else { "missed" };
            let _ = writeln!(
                text,
                "  at {:.1}/s {} of {} held; {cause}: {}",
                limit.rate,
                limit.held,
                counted(limit.trials.into(), "trial"),
                limit.reasons.join("; ")
            );
            if let Some(worst) = &limit.worst {
                let _ = writeln!(text, "  at that rate, {}", harm(worst));
            }
        }
        None => text.push_str("  no rate that was tried missed an objective\n"),
    }
    if report.answer.as_ref().is_some_and(|answer| !answer.settled) {
        let why = if report.interrupted {
            "a signal ended the search"
        } else if report.invalid.is_some() {
            "the search allows no verdict"
        } else {
            "the limit of --max-trials was reached"
        };
        let _ = writeln!(
            text,
            "  the search ended before it confirmed the answer to within {:.1} %: {why}",
            report.resolution * 100.0
        );
    }
    if let Some(invalid) = &report.invalid {
        let _ = writeln!(text, "invalid: {invalid}");
    }
    text
}

fn harm(worst: &Worst) -> String {
    let site = worst.site.as_deref().unwrap_or(&worst.id);
    format!(
        "slow deliveries spent {:.1} % of their waiting time in stalls of {} at {site}",
        worst.share * 100.0,
        worst.cause
    )
}
