//! What identifies a result: the same in every document of a program, although
//! its lines move.

use std::collections::HashMap;

use crate::finding::Finding;
use crate::stable_hash::fnv1a;

/// The fingerprints of all findings of a process, by their ids.
///
/// A fingerprint has no line number, so that it remains the same when code
/// above the line changes. Findings of one call in one function are numbered in
/// the order of their lines. Therefore the findings that a document leaves out
/// count too.
#[derive(Debug)]
pub(crate) struct Fingerprints(HashMap<String, String>);

impl Fingerprints {
    pub(crate) fn new(findings: &[Finding]) -> Self {
        let mut by_line: Vec<_> = findings.iter().collect();
        let line = |finding: &Finding| finding.site.as_ref().and_then(|site| site.line);
        by_line.sort_by(|a, b| (line(a), &a.id).cmp(&(line(b), &b.id)));
        let mut counts = HashMap::<u64, u32>::new();
        let numbered = by_line.into_iter().map(|finding| {
            let key = key(finding);
            let count = counts.entry(key).or_default();
            *count += 1;
            (finding.id.clone(), format!("{key:016x}:{count}"))
        });
        Self(numbered.collect())
    }

    /// Returns the fingerprint of a finding, and an empty one if it is of
    /// another process.
    pub(super) fn of(&self, finding: &Finding) -> &str {
        self.0.get(&finding.id).map_or("", String::as_str)
    }
}

/// The call of a computation is that of the latest samples.
fn key(finding: &Finding) -> u64 {
    let called = finding.primitive.as_deref().unwrap_or("?");
    let function = finding.site.as_ref().map_or(called, |site| site.function.as_str());
    let call = if finding.cause.is_computation() { "" } else { called };
    fnv1a(format!("{}|{function}|{call}", finding.cause).as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::Cause;
    use crate::report::sample;

    fn at(line: u32) -> Finding {
        let mut finding = sample::sleep();
        finding.id = format!("{line:016x}");
        finding.site.as_mut().unwrap().line = Some(line);
        finding
    }

    fn of(findings: &[Finding]) -> Vec<String> {
        let fingerprints = Fingerprints::new(findings);
        findings.iter().map(|finding| fingerprints.of(finding).to_owned()).collect()
    }

    #[test]
    fn a_fingerprint_remains_the_same_when_lines_move() {
        let before = of(&[at(31), at(40)]);
        assert_eq!(before, of(&[at(35), at(52)]));
        assert_eq!(before, of(&[at(52), at(35)]).into_iter().rev().collect::<Vec<_>>());
        assert_ne!(before[0], before[1]);
        let other_cause = Finding { cause: Cause::File, ..at(31) };
        assert_ne!(of(&[other_cause])[0], before[0]);
        // It must not change between versions of loopscope either.
        assert_eq!(before[0], "6ec8e5fea0bdadee:1");
    }

    /// Not every run finds both.
    #[test]
    fn another_call_of_the_function_changes_no_fingerprint() {
        let open = Finding { primitive: Some("std::fs::File::open".to_owned()), ..at(20) };
        assert_eq!(of(&[open.clone(), at(31)])[1], of(&[at(31)])[0]);
        let computes = |finding| Finding { cause: Cause::Cpu, ..finding };
        assert_eq!(of(&[computes(open)]), of(&[computes(at(31))]), "each sample may show another call");
    }

    #[test]
    fn a_finding_that_is_left_out_changes_no_other_fingerprint() {
        let all = [at(31), at(40)];
        let fingerprints = Fingerprints::new(&all);
        assert_eq!(fingerprints.of(&all[1]), "6ec8e5fea0bdadee:2");
        assert_eq!(fingerprints.of(&at(50)), "", "it is not of this process");
    }
}
