//! The parts of one stall, each with the finding that counts it.

use crate::diagnose::stall_part::PartOfStall;

/// A part of a stall, and the id of its finding.
#[derive(Debug)]
pub(crate) struct FindingPart {
    pub(crate) finding: String,
    pub(crate) part: PartOfStall,
}

/// Moves time between the parts, so that no finding counts less of the stall
/// than it has shown in a report: a later capture may show that another call
/// took the most time. The sum does not change. `reported` has findings with
/// the own time that they have shown.
pub(crate) fn keep_reported(parts: &mut Vec<FindingPart>, reported: &[(String, u64)]) {
    let own_reported = |finding: &str| {
        reported.iter().find(|(reported, _)| reported == finding).map_or(0, |(_, own_nanos)| *own_nanos)
    };
    for (finding, own_nanos) in reported {
        if parts.iter().all(|part| part.finding != *finding) {
            let part = FindingPart { finding: finding.clone(), part: PartOfStall::default() };
            parts.push(part);
        }
        for giver in 0..parts.len() {
            let Some(taker) = parts.iter().position(|part| part.finding == *finding) else { break };
            let missing = own_nanos.saturating_sub(parts[taker].part.times.own());
            let giver_own = parts[giver].part.times.own();
            let spare = giver_own.saturating_sub(own_reported(&parts[giver].finding));
            if giver != taker {
                let taken = parts[giver].part.take(missing.min(spare));
                parts[taker].part.give(taken);
            }
        }
    }
    if !reported.is_empty() {
        parts.retain(|part| part.part.times.own() > 0);
        lay_out(parts);
    }
}

/// Lets the parts follow one another, each with its length, in the order of
/// their starts.
fn lay_out(parts: &mut [FindingPart]) {
    let mut in_order: Vec<_> = parts.iter_mut().map(|part| &mut part.part.age_nanos).collect();
    in_order.sort_by_key(|age_nanos| age_nanos.start);
    let mut begin = 0;
    for age_nanos in in_order {
        let end = begin + (age_nanos.end - age_nanos.start);
        *age_nanos = begin..end;
        begin = end;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::TimeSplit;

    fn part(finding: &str, age_nanos: std::ops::Range<u64>, on_cpu: u64, off_cpu: u64) -> FindingPart {
        let times = TimeSplit { on_cpu, off_cpu, ..TimeSplit::default() };
        let part = PartOfStall { times, age_nanos, ..PartOfStall::default() };
        FindingPart { finding: finding.to_owned(), part }
    }

    fn shown(parts: &[FindingPart]) -> Vec<(&str, u64, std::ops::Range<u64>)> {
        parts.iter().map(|p| (&*p.finding, p.part.times.own(), p.part.age_nanos.clone())).collect()
    }

    #[test]
    fn a_reported_finding_keeps_its_time_and_the_sum_does_not_change() {
        let reported = [("a".to_owned(), 60)];
        let mut parts = vec![part("b", 40..100, 60, 0), part("a", 0..40, 0, 40)];
        keep_reported(&mut parts, &reported);
        assert_eq!(shown(&parts), [("b", 40, 60..100), ("a", 60, 0..60)]);
        keep_reported(&mut parts, &[("a".to_owned(), 20)]);
        assert_eq!(shown(&parts), [("b", 40, 60..100), ("a", 60, 0..60)], "it has more than was reported");
    }

    #[test]
    fn a_reported_finding_that_is_no_part_becomes_one() {
        let mut parts = vec![part("b", 0..110, 50, 50)];
        keep_reported(&mut parts, &[("a".to_owned(), 30)]);
        let mut shown = shown(&parts);
        shown.sort_by_key(|(_, _, ages)| ages.start);
        assert_eq!(shown.iter().map(|(_, own, _)| *own).collect::<Vec<_>>().iter().sum::<u64>(), 100);
        assert!(shown.iter().any(|(finding, own, _)| (*finding, *own) == ("a", 30)));
        assert_eq!(shown.last().unwrap().2.end, 110);
    }

    #[test]
    fn a_part_is_dropped_only_if_nothing_is_left_of_it() {
        let mut parts = vec![part("b", 0..30, 30, 0)];
        keep_reported(&mut parts, &[("a".to_owned(), 30)]);
        assert_eq!(shown(&parts), [("a", 30, 0..30)]);
    }
}
