//! Which findings are reported in which form, and what is withheld.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use crate::token_bucket::TokenBucket;

/// The average number of first reports per minute, and the maximum number in a
/// burst. A program has at most 500 findings.
const MAX_FIRST_REPORTS_PER_MINUTE: u32 = 20;
/// The same for all further reports of findings.
const MAX_REPEATS_PER_MINUTE: u32 = 5;
/// The first notice of withheld reports comes this long after the first of
/// them: a burst of reports is one notice.
const NOTICE_DELAY: Duration = Duration::from_secs(5);
/// The minimum time between two notices.
const NOTICE_INTERVAL: Duration = Duration::from_secs(60);
/// How many findings are remembered. A further one is reported in one line.
const MAX_REMEMBERED: usize = 1024;

/// The form of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReportForm {
    /// The first report of a finding: everything that is known.
    Full,
    /// A further report of a finding: one line.
    Repeat,
    /// The budget is used up.
    Withheld,
}

/// Reports that were withheld since the latest notice.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Withheld {
    pub(crate) reports: u64,
    /// The ids of their findings.
    pub(crate) findings: HashSet<String>,
}

/// The budget of log and terminal. First reports have a budget of their own, so
/// none of them waits for the repeats of another finding.
#[derive(Debug)]
pub(crate) struct ReportBudget {
    first_reports: TokenBucket,
    repeats: TokenBucket,
    /// The findings that have had their first report.
    known: HashSet<String>,
    withheld: Withheld,
    notice_due: Option<Instant>,
    last_notice: Option<Instant>,
    /// Reports withheld since the previous report.
    suppressed: u64,
}

impl ReportBudget {
    pub(crate) fn new(now: Instant) -> Self {
        let bucket = |per_minute| TokenBucket::new(per_minute, f64::from(per_minute) / 60.0, now);
        Self {
            first_reports: bucket(MAX_FIRST_REPORTS_PER_MINUTE),
            repeats: bucket(MAX_REPEATS_PER_MINUTE),
            known: HashSet::new(),
            withheld: Withheld::default(),
            notice_due: None,
            last_notice: None,
            suppressed: 0,
        }
    }

    /// Takes a report from the budget.
    pub(crate) fn take(&mut self, finding: &str, now: Instant) -> ReportForm {
        if self.known.contains(finding) || self.known.len() >= MAX_REMEMBERED {
            if self.repeats.take(now) {
                return ReportForm::Repeat;
            }
        } else if self.first_reports.take(now) {
            self.known.insert(finding.to_owned());
            return ReportForm::Full;
        }
        self.withhold(finding, now);
        ReportForm::Withheld
    }

    fn withhold(&mut self, finding: &str, now: Instant) {
        self.suppressed += 1;
        self.withheld.reports += 1;
        let findings = &mut self.withheld.findings;
        if findings.len() < MAX_REMEMBERED {
            findings.insert(finding.to_owned());
        }
        let earliest = self.last_notice.map(|last| last + NOTICE_INTERVAL);
        self.notice_due.get_or_insert((now + NOTICE_DELAY).max(earliest.unwrap_or(now)));
    }

    /// Returns how many reports were withheld since the previous call.
    pub(crate) fn take_suppressed(&mut self) -> u64 {
        std::mem::take(&mut self.suppressed)
    }

    /// Returns when a notice of withheld reports is due, if there are any.
    pub(crate) fn notice_due(&self) -> Option<Instant> {
        self.notice_due
    }

    /// Returns what was withheld since the latest notice, if a notice is due.
    pub(crate) fn take_notice(&mut self, now: Instant) -> Option<Withheld> {
        self.notice_due.take_if(|due| *due <= now)?;
        self.last_notice = Some(now);
        Some(std::mem::take(&mut self.withheld))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_first_report_never_waits_for_repeats_of_another_finding() {
        let now = Instant::now();
        let mut budget = ReportBudget::new(now);
        assert_eq!(budget.take("a", now), ReportForm::Full);
        let repeats: Vec<_> = (0..50).map(|_| budget.take("a", now)).collect();
        assert_eq!(repeats.iter().filter(|form| **form == ReportForm::Repeat).count(), 5);
        assert_eq!(repeats.last(), Some(&ReportForm::Withheld));
        for finding in ["b", "c", "d", "e", "f"] {
            assert_eq!(budget.take(finding, now), ReportForm::Full);
        }
    }

    #[test]
    fn first_reports_are_bounded_and_come_later() {
        let now = Instant::now();
        let mut budget = ReportBudget::new(now);
        let forms: Vec<_> = (0..500).map(|n| budget.take(&n.to_string(), now)).collect();
        assert_eq!(forms.iter().filter(|form| **form == ReportForm::Full).count(), 20);
        // A finding that was withheld has not had its first report.
        assert_eq!(budget.take("499", now + Duration::from_secs(60)), ReportForm::Full);
    }

    #[test]
    fn what_is_withheld_is_due_in_time_with_the_number_of_places() {
        let now = Instant::now();
        let mut budget = ReportBudget::new(now);
        let seconds = |seconds| now + Duration::from_secs(seconds);
        for finding in ["a", "b"] {
            for _ in 0..7 {
                budget.take(finding, now);
            }
        }
        assert_eq!(budget.notice_due(), Some(seconds(5)));
        assert_eq!(budget.take_notice(seconds(4)), None);
        let withheld = budget.take_notice(seconds(5)).unwrap();
        assert_eq!((withheld.reports, withheld.findings.len()), (7, 2));
        assert_eq!(
            (budget.notice_due(), budget.take_notice(seconds(600))),
            (None, None),
            "nothing is said twice"
        );
        for _ in 0..7 {
            budget.take("a", seconds(6));
        }
        assert_eq!(budget.notice_due(), Some(seconds(65)));
        assert_eq!((budget.take_suppressed(), budget.take_suppressed()), (14, 0));
    }

    #[test]
    fn memory_is_bounded_for_any_number_of_findings() {
        let mut now = Instant::now();
        let mut budget = ReportBudget::new(now);
        for n in 0..10_000 {
            now += Duration::from_secs(2);
            budget.take(&n.to_string(), now);
        }
        assert!(budget.known.len() <= MAX_REMEMBERED && budget.withheld.findings.len() <= MAX_REMEMBERED);
    }
}
