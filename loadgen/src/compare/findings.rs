//! Compares the findings of two sides.

use std::collections::BTreeMap;

use loopscope::Finding;

use super::document::{ChangeKind, FindingChange};
use crate::report::{Report, place};

/// The stalls of one finding in all runs of one side.
#[derive(Debug, Clone, Copy, Default)]
struct StallTotal {
    stalls: u64,
    seconds: f64,
}

/// Returns the changes of all findings of either side, the worst change first.
/// Returns `None` unless all reports of both sides come from observed servers.
pub(crate) fn changes(a: &[Report], b: &[Report], tolerance: f64) -> Option<Vec<FindingChange>> {
    let (a_seconds, b_seconds) = (observed_seconds(a)?, observed_seconds(b)?);
    let mut all: BTreeMap<&str, (&Finding, StallTotal, StallTotal)> = BTreeMap::new();
    for (is_b, report) in a.iter().map(|report| (false, report)).chain(b.iter().map(|report| (true, report)))
    {
        for finding in report.findings.iter().flat_map(|document| &document.findings) {
            let (latest, a, b) =
                all.entry(&finding.id).or_insert((finding, StallTotal::default(), StallTotal::default()));
            *latest = finding;
            let sum = if is_b { b } else { a };
            sum.stalls += finding.count;
            sum.seconds += finding.total.as_secs_f64();
        }
    }
    let change = |(id, (finding, a, b)): (&str, (&Finding, StallTotal, StallTotal))| FindingChange {
        id: id.to_owned(),
        cause: finding.cause.as_str().to_owned(),
        site: finding.site.as_ref().map(place),
        a_stalls: a.stalls,
        b_stalls: b.stalls,
        a_share: a.seconds / a_seconds,
        b_share: b.seconds / b_seconds,
        change: change_kind(a, b, b_seconds / a_seconds, tolerance),
    };
    let mut changes: Vec<_> = all.into_iter().map(change).collect();
    let order = |kind: ChangeKind| match kind {
        ChangeKind::New => 0,
        ChangeKind::Worse => 1,
        ChangeKind::Same => 2,
        ChangeKind::Better => 3,
        ChangeKind::Gone => 4,
    };
    changes
        .sort_by(|x, y| order(x.change).cmp(&order(y.change)).then_with(|| y.b_share.total_cmp(&x.b_share)));
    Some(changes)
}

/// Returns how long a side was observed in total.
fn observed_seconds(side: &[Report]) -> Option<f64> {
    let seconds = side.iter().map(|report| report.findings.as_ref().and(report.watched_seconds));
    seconds.sum::<Option<f64>>().filter(|&seconds| seconds > 0.0)
}

/// Returns how the blocked time of a finding changed from `a` to `b`.
/// `time_ratio` is the observed time of B divided by that of A.
///
/// A change counts only if it exceeds the statistical error. Stalls occur at
/// random, so their number in a given time varies as in a Poisson process. With
/// 95 % confidence, the logarithm of the ratio of two such numbers is wrong by
/// at most 1.96 times the square root of 1/a + 1/b. The same error is assumed
/// for the ratio of the blocked times.
#[expect(clippy::cast_precision_loss, reason = "counts of a run are far below 2^53")]
fn change_kind(a: StallTotal, b: StallTotal, time_ratio: f64, tolerance: f64) -> ChangeKind {
    match (a.stalls, b.stalls) {
        (0, _) => ChangeKind::New,
        (_, 0) => ChangeKind::Gone,
        (a_stalls, b_stalls) => {
            let ratio = (b.seconds / a.seconds / time_ratio).ln();
            let margin = 1.96 * (1.0 / a_stalls as f64 + 1.0 / b_stalls as f64).sqrt();
            let tolerated = tolerance.ln_1p();
            if ratio - margin > tolerated {
                ChangeKind::Worse
            } else if ratio + margin < -tolerated {
                ChangeKind::Better
            } else {
                ChangeKind::Same
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn stall_total(stalls: u64, seconds: f64) -> StallTotal {
        StallTotal { stalls, seconds }
    }

    #[test]
    fn only_a_difference_beyond_chance_is_a_change() {
        assert_eq!(change_kind(stall_total(0, 0.0), stall_total(1, 0.1), 1.0, 0.05), ChangeKind::New);
        assert_eq!(change_kind(stall_total(1, 0.1), stall_total(0, 0.0), 1.0, 0.05), ChangeKind::Gone);
        assert_eq!(change_kind(stall_total(20, 1.0), stall_total(25, 1.25), 1.0, 0.05), ChangeKind::Same);
        assert_eq!(change_kind(stall_total(20, 1.0), stall_total(60, 3.0), 1.0, 0.05), ChangeKind::Worse);
        assert_eq!(change_kind(stall_total(60, 3.0), stall_total(20, 1.0), 1.0, 0.05), ChangeKind::Better);
        assert_eq!(
            change_kind(stall_total(20, 1.0), stall_total(60, 3.0), 3.0, 0.05),
            ChangeKind::Same,
            "B was observed three times as long as A"
        );
        assert_eq!(
            change_kind(stall_total(20, 1.0), stall_total(60, 3.0), 1.0, 4.0),
            ChangeKind::Same,
            "tolerated"
        );
    }
}
