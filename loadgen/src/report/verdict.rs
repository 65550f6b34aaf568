//! Judges the figures by the objectives.

use loopscope::FindingsDocument;

use super::document::{Generator, JudgedObjective, Load, RunOutcome, Timing, Verdict};
use super::text::units::counted;
use crate::plan::{Metric, Objective, Quantile, Unit};

/// Judges every objective; `server` contains the findings of the server's
/// loopscope, and the seconds in which they were collected.
pub(crate) fn judge(
    objectives: &[Objective],
    load: &Load,
    generator: &Generator,
    server: Option<(&FindingsDocument, f64)>,
) -> Vec<JudgedObjective> {
    let judge = |objective: &Objective| {
        let actual = actual(objective, load, generator, server);
        JudgedObjective {
            objective: objective.text().to_owned(),
            metric: objective.metric().name(),
            unit: objective.unit(),
            limit: objective.limit(),
            actual,
            held: actual.is_some_and(|actual| objective.holds(actual)),
            of_generator: objective.metric().is_of_generator(),
        }
    };
    objectives.iter().map(judge).collect()
}

fn actual(
    objective: &Objective,
    load: &Load,
    generator: &Generator,
    server: Option<(&FindingsDocument, f64)>,
) -> Option<f64> {
    let findings = || server.map(|(document, _)| document.findings.iter());
    let blocked =
        || findings().map(|findings| findings.map(|finding| finding.total.as_secs_f64()).sum::<f64>());
    let deliveries = &load.deliveries;
    let share = objective.unit() == Unit::Share;
    match objective.metric() {
        Metric::Latency(quantile) => quantile_seconds(load.latency.as_ref(), quantile),
        Metric::Service(quantile) => quantile_seconds(load.service.as_ref(), quantile),
        Metric::Login(quantile) => quantile_seconds(load.logins.judged(), quantile),
        Metric::SendLag(quantile) => quantile_seconds(load.send_lag.as_ref(), quantile),
        Metric::ReceiveLag(quantile) => quantile_seconds(generator.receive_lag.as_ref(), quantile),
        Metric::Lost => part(deliveries.lost, deliveries.expected, share),
        Metric::Duplicated => part(deliveries.duplicated, deliveries.expected, share),
        Metric::OutOfOrder => part(deliveries.out_of_order, deliveries.expected, share),
        Metric::ErrorReplies => part(load.commands.error_replies.values().sum(), load.commands.sent, share),
        #[expect(clippy::cast_precision_loss, reason = "counts of a run are far below 2^53")]
        Metric::BlockingEvents => {
            findings().map(|findings| findings.map(|finding| finding.count as f64).sum())
        }
        Metric::BlockingSeconds => blocked(),
        Metric::BlockingShare => blocked().zip(server).map(|(blocked, (_, seconds))| blocked / seconds),
    }
}

/// Returns one quantile of a distribution, in seconds.
pub(crate) fn quantile_seconds(timing: Option<&Timing>, quantile: Quantile) -> Option<f64> {
    timing.map(|timing| match quantile {
        Quantile::P50 => timing.p50_seconds,
        Quantile::P90 => timing.p90_seconds,
        Quantile::P99 => timing.p99_seconds,
        Quantile::P999 => timing.p999_seconds,
        Quantile::Max => timing.max_seconds,
    })
}

/// Returns `count`, or its share of `whole`; `None` if `whole` is zero.
#[expect(clippy::cast_precision_loss, reason = "counts of a run are far below 2^53")]
fn part(count: u64, whole: u64, share: bool) -> Option<f64> {
    (whole > 0).then(|| if share { count as f64 / whole as f64 } else { count as f64 })
}

/// Returns the verdict. `invalid` contains the reasons why the run is invalid;
/// `denied` is the number of findings that `--deny` turns into a failure.
pub(crate) fn verdict(invalid: Vec<String>, objectives: &[JudgedObjective], denied: usize) -> Verdict {
    let unmeasured = objectives.iter().filter(|judged| judged.actual.is_none());
    let mut invalid = invalid;
    if invalid.is_empty() {
        invalid.extend(unmeasured.map(|judged| {
            format!("{}: nothing was measured, so the objective cannot be judged", judged.objective)
        }));
    }
    // If the generator was late, the figures say nothing about the server.
    let missed = objectives.iter().filter(|judged| judged.of_generator && !judged.held);
    if invalid.is_empty() {
        invalid.extend(missed.map(|judged| format!("the generator missed {}", judged.objective)));
    }
    if !invalid.is_empty() {
        return Verdict { outcome: RunOutcome::Invalid, exit_code: 2, reasons: invalid };
    }
    let mut outcome = RunOutcome::Held;
    let mut reasons = Vec::new();
    if denied > 0 {
        outcome = RunOutcome::Denied;
        reasons.push(format!("{} denied", counted(denied as u64, "finding")));
    }
    for judged in objectives.iter().filter(|judged| !judged.held) {
        outcome = RunOutcome::Missed;
        reasons.push(format!("{} was missed", judged.objective));
    }
    Verdict { outcome, exit_code: u8::from(outcome != RunOutcome::Held), reasons }
}

/// Returns the verdict after the server has died.
pub(crate) fn server_died(reason: String, verdict: &Verdict) -> Verdict {
    let before = if verdict.outcome == RunOutcome::Invalid { verdict.reasons.clone() } else { vec![] };
    let reasons = std::iter::once(reason).chain(before).collect();
    Verdict { outcome: RunOutcome::Invalid, exit_code: 2, reasons }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(held: bool, actual: Option<f64>) -> JudgedObjective {
        let (objective, metric) = ("p99<5ms".into(), "p99".into());
        JudgedObjective {
            objective,
            metric,
            unit: Unit::Seconds,
            limit: 0.005,
            actual,
            held,
            of_generator: false,
        }
    }

    #[test]
    fn each_outcome_has_its_exit_code() {
        let held = verdict(vec![], &[judged(true, Some(0.001))], 0);
        assert_eq!((held.outcome, held.exit_code), (RunOutcome::Held, 0));
        let missed = verdict(vec![], &[judged(false, Some(0.1))], 2);
        assert_eq!((missed.outcome, missed.exit_code, missed.reasons.len()), (RunOutcome::Missed, 1, 2));
        let denied = verdict(vec![], &[], 1);
        assert_eq!((denied.outcome, denied.exit_code), (RunOutcome::Denied, 1));
        let invalid = verdict(vec!["late".into()], &[judged(false, Some(0.1))], 1);
        assert_eq!((invalid.outcome, invalid.exit_code), (RunOutcome::Invalid, 2));
        let unmeasured = verdict(vec![], &[judged(false, None)], 0);
        assert_eq!((unmeasured.outcome, unmeasured.exit_code), (RunOutcome::Invalid, 2));
        let own = JudgedObjective { of_generator: true, ..judged(false, Some(0.1)) };
        assert_eq!(
            verdict(vec![], &[own], 0).exit_code,
            2,
            "an objective that the generator misses makes the run invalid"
        );
    }
}
