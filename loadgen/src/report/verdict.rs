//! From figures to an outcome.

use super::document::{Judged, Load, Outcome, Timing, Verdict};
use super::units::counted;
use crate::plan::{Metric, Objective, Unit};

/// Holds every objective against the figures.
pub(crate) fn judge(objectives: &[Objective], load: &Load) -> Vec<Judged> {
    let judge = |objective: &Objective| {
        let actual = actual(objective, load);
        Judged {
            objective: objective.text().to_owned(),
            metric: objective.metric().as_str(),
            unit: objective.unit().as_str(),
            limit: objective.limit(),
            actual,
            held: actual.is_some_and(|actual| objective.holds(actual)),
        }
    };
    objectives.iter().map(judge).collect()
}

#[expect(clippy::cast_precision_loss, reason = "counts of a run are far below 2^53")]
fn actual(objective: &Objective, load: &Load) -> Option<f64> {
    let latency = |field: fn(&Timing) -> f64| load.latency.as_ref().map(field);
    match objective.metric() {
        Metric::P50 => latency(|timing| timing.p50_seconds),
        Metric::P90 => latency(|timing| timing.p90_seconds),
        Metric::P99 => latency(|timing| timing.p99_seconds),
        Metric::P999 => latency(|timing| timing.p999_seconds),
        Metric::Max => latency(|timing| timing.max_seconds),
        Metric::Lost if load.deliveries.expected == 0 => None,
        Metric::Lost => {
            let lost = load.deliveries.lost as f64;
            let share = objective.unit() == Unit::Share;
            Some(if share { lost / load.deliveries.expected as f64 } else { lost })
        }
    }
}

/// The outcome: `invalid` says why there can be none, `denied` how many
/// findings are held against the server.
pub(crate) fn verdict(invalid: Vec<String>, objectives: &[Judged], denied: usize) -> Verdict {
    let unmeasured = objectives.iter().filter(|judged| judged.actual.is_none());
    let mut invalid = invalid;
    if invalid.is_empty() {
        invalid.extend(unmeasured.map(|judged| {
            format!("{}: no delivery was expected, so there is nothing to judge", judged.objective)
        }));
    }
    if !invalid.is_empty() {
        return Verdict { outcome: Outcome::Invalid, exit_code: 2, reasons: invalid };
    }
    let mut outcome = Outcome::Held;
    let mut reasons = Vec::new();
    if denied > 0 {
        outcome = Outcome::Denied;
        reasons.push(format!("{} denied", counted(denied as u64, "finding")));
    }
    for judged in objectives.iter().filter(|judged| !judged.held) {
        outcome = Outcome::Missed;
        reasons.push(format!("{} was missed", judged.objective));
    }
    Verdict { outcome, exit_code: u8::from(outcome != Outcome::Held), reasons }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(held: bool, actual: Option<f64>) -> Judged {
        Judged { objective: "p99<5ms".into(), metric: "p99", unit: "seconds", limit: 0.005, actual, held }
    }

    #[test]
    fn the_exit_code_follows_the_contract() {
        let held = verdict(vec![], &[judged(true, Some(0.001))], 0);
        assert_eq!((held.outcome, held.exit_code), (Outcome::Held, 0));
        let missed = verdict(vec![], &[judged(false, Some(0.1))], 2);
        assert_eq!((missed.outcome, missed.exit_code, missed.reasons.len()), (Outcome::Missed, 1, 2));
        let denied = verdict(vec![], &[], 1);
        assert_eq!((denied.outcome, denied.exit_code), (Outcome::Denied, 1));
        let invalid = verdict(vec!["late".into()], &[judged(false, Some(0.1))], 1);
        assert_eq!((invalid.outcome, invalid.exit_code), (Outcome::Invalid, 2));
        let unmeasured = verdict(vec![], &[judged(false, None)], 0);
        assert_eq!((unmeasured.outcome, unmeasured.exit_code), (Outcome::Invalid, 2));
    }
}
