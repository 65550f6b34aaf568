//! All findings so far: stalls grouped by cause and site, with the tasks that
//! waited during them.

mod distinct;
mod entry;
mod recent;

use std::collections::HashMap;
use std::time::SystemTime;

use crate::diagnose::diagnosis::Diagnosis;
use crate::evidence::{Phase, StallEvidence};
use crate::finding::{Cause, Finding, Stall, TaskInfo};
use crate::findings::entry::FindingEntry;
use crate::findings::recent::RecentStalls;
use crate::lock::Lock;
use crate::record::histogram::{CarriedCounts, Histogram};
use crate::snapshot::CauseSnapshot;
use crate::unix_time;

/// The maximum number of findings. Stalls of further findings are dropped.
const MAX_FINDINGS: usize = 500;

/// All findings. The reporting thread writes them; exporters read them.
#[derive(Debug, Default)]
pub(crate) struct Findings(Lock<Inner>);

#[derive(Debug)]
struct Inner {
    entries: HashMap<String, FindingEntry>,
    /// The stalls in progress, by [`StallEvidence::key`].
    ongoing: HashMap<(usize, u64), OngoingStall>,
    recent: RecentStalls,
    /// One histogram for each cause, in the order of [`Cause::ALL`].
    durations: Vec<Histogram>,
    /// The carried counts of `durations`.
    carried: CarriedCounts,
}

/// A stall that has begun and not ended.
#[derive(Debug)]
struct OngoingStall {
    /// The id of its finding.
    finding: String,
    /// The address of the lock that the worker waits for.
    lock: Option<String>,
    stall: Stall,
}

/// A new finding was dropped because there are [`MAX_FINDINGS`] already.
#[derive(Debug)]
pub(crate) struct TooManyFindings;

impl Default for Inner {
    fn default() -> Self {
        Self {
            entries: HashMap::new(),
            ongoing: HashMap::new(),
            recent: RecentStalls::default(),
            durations: Cause::ALL.iter().map(|_| Histogram::new()).collect(),
            carried: CarriedCounts::new(),
        }
    }
}

impl Findings {
    /// Adds a stall to its finding and returns the finding. A stall may be
    /// added several times while it lasts; it counts once.
    pub(crate) fn add_stall(
        &self,
        stall: &StallEvidence,
        task: TaskInfo,
        mut diagnosis: Diagnosis,
    ) -> Result<Finding, TooManyFindings> {
        let inner = &mut *self.0.lock();
        inner.add_lock_contention(stall.key, &mut diagnosis);
        let lock = diagnosis.detail.lock.clone();
        let existing = if diagnosis.stack.is_empty() {
            inner.only_finding_in_kind(&task.kind, diagnosis.cause)
        } else {
            None
        };
        let id = existing.unwrap_or_else(|| diagnosis.id.clone());
        inner.remove_ongoing(stall.key, Some(&id));
        if !inner.entries.contains_key(&id) && inner.entries.len() >= MAX_FINDINGS {
            return Err(TooManyFindings);
        }
        let record = Stall {
            start: unix_time::from_nanos(stall.start_unix_ns),
            end: None,
            worker: stall.worker.clone(),
            task: task.kind.clone(),
            finding: Some(id.clone()),
        };
        let entry =
            inner.entries.entry(id.clone()).or_insert_with(|| FindingEntry::new(&diagnosis, task.clone()));
        entry.update(diagnosis, task);
        if stall.phase == Phase::Ended {
            entry.add_ended_stall(stall);
            let end = Some(unix_time::from_nanos(stall.start_unix_ns.saturating_add(stall.duration_nanos)));
            let nanos = stall.start_nanos..stall.start_nanos + stall.duration_nanos;
            for delay in inner.recent.add_stall(Stall { end, ..record }, nanos) {
                entry.add_delay(delay);
            }
            let cause = entry.cause();
            inner.durations[index_of(cause)].record(stall.duration_nanos, &inner.carried);
        } else {
            inner.ongoing.insert(stall.key, OngoingStall { finding: id.clone(), lock, stall: record });
        }
        Ok(inner.finding(&id, SystemTime::now()).expect("the finding was just added"))
    }

    /// Adds the wait of a ready task to the findings whose stalls overlap it.
    pub(crate) fn add_wait(&self, start_nanos: u64, end_nanos: u64, task: u64) {
        let inner = &mut *self.0.lock();
        for (finding, delay) in inner.recent.add_wait(start_nanos..end_nanos, task) {
            if let Some(entry) = inner.entries.get_mut(&finding) {
                entry.add_delay(delay);
            }
        }
    }

    /// Retracts a stall in progress that turned out not to be a stall.
    pub(crate) fn retract_stall(&self, key: (usize, u64)) {
        self.0.lock().remove_ongoing(key, None);
    }

    /// Returns all findings, the one with the most total time first.
    pub(crate) fn all(&self) -> Vec<Finding> {
        let inner = self.0.lock();
        let now = SystemTime::now();
        let mut findings: Vec<_> = inner.entries.keys().filter_map(|id| inner.finding(id, now)).collect();
        findings.sort_by(|a, b| b.total.cmp(&a.total).then_with(|| a.id.cmp(&b.id)));
        findings
    }

    /// Returns the recent stalls that had not ended by `since`, and all stalls
    /// in progress, ordered by start.
    pub(crate) fn stalls(&self, since: SystemTime) -> Vec<Stall> {
        let inner = self.0.lock();
        let ongoing = inner.ongoing.values().map(|ongoing| ongoing.stall.clone());
        let mut stalls: Vec<_> = inner.recent.stalls_since(since).chain(ongoing).collect();
        stalls.sort_by_key(|stall| stall.start);
        stalls
    }

    /// Returns the durations of all ended stalls, by cause.
    pub(crate) fn causes(&self) -> Vec<CauseSnapshot> {
        let inner = self.0.lock();
        let snapshot = |(cause, durations): (&Cause, &Histogram)| CauseSnapshot {
            cause: *cause,
            durations: durations.snapshot(&inner.carried),
        };
        Cause::ALL.iter().zip(&inner.durations).map(snapshot).collect()
    }
}

impl Inner {
    /// Removes a stall from those in progress. The caller then adds the stall
    /// to the finding `new_id`, if any. Also removes the stall's previous
    /// finding if it is not `new_id` and has no other stall: the first
    /// diagnosis was wrong.
    fn remove_ongoing(&mut self, key: (usize, u64), new_id: Option<&str>) {
        let Some(before) = self.ongoing.remove(&key) else { return };
        let is_only_ongoing = self.ongoing.values().all(|other| other.finding != before.finding);
        let has_ended_stalls = self.entries.get(&before.finding).is_some_and(FindingEntry::has_ended_stalls);
        if new_id != Some(&before.finding) && !has_ended_stalls && is_only_ongoing {
            self.entries.remove(&before.finding);
        }
    }

    /// Adds to the diagnosis how many other workers wait for the same lock now,
    /// and the activity of the worker that probably holds it.
    fn add_lock_contention(&self, key: (usize, u64), diagnosis: &mut Diagnosis) {
        let detail = &mut diagnosis.detail;
        let waits_for_same_lock = |(other, ongoing): &(&(usize, u64), &OngoingStall)| {
            **other != key && ongoing.lock.is_some() && ongoing.lock == detail.lock
        };
        detail.waiters += self.ongoing.iter().filter(waits_for_same_lock).count() as u64;
        let Some(holder) = diagnosis.lock_holder else { return };
        let stall =
            self.ongoing.iter().find(|((worker, _), _)| *worker == holder).map(|(_, ongoing)| ongoing);
        detail.holder = stall.and_then(|ongoing| {
            let activity = self.entries.get(&ongoing.finding)?.call_and_site();
            Some(format!("worker {}, task `{}`, {activity}", ongoing.stall.worker, ongoing.stall.task))
        });
    }

    /// Returns the finding for a stall without a stack, for example because the
    /// capture budget was used up: the only finding in tasks of its kind, if
    /// there is exactly one.
    fn only_finding_in_kind(&self, kind: &str, cause: Cause) -> Option<String> {
        let only = |is_match: &dyn Fn(&FindingEntry) -> bool| {
            let mut matching =
                self.entries.iter().filter(|(_, entry)| entry.has_stack_and_kind(kind) && is_match(entry));
            matching.next().filter(|_| matching.next().is_none()).map(|(id, _)| id.clone())
        };
        // Without a stack, a running thread has the cause `Cpu`, although it
        // may run inside a call that has another cause. So `Cpu` matches any
        // cause.
        only(&|entry| entry.cause() == cause).or_else(|| only(&|_| cause == Cause::Cpu))
    }

    /// Returns a finding, including its stalls in progress.
    fn finding(&self, id: &str, now: SystemTime) -> Option<Finding> {
        let stalls = self.ongoing.values().filter(|ongoing| ongoing.finding == id);
        let ages = stalls.map(|ongoing| now.duration_since(ongoing.stall.start).unwrap_or_default());
        Some(self.entries.get(id)?.with_ongoing(ages))
    }
}

fn index_of(cause: Cause) -> usize {
    Cause::ALL.iter().position(|other| *other == cause).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::evidence;
    use crate::finding::{Detail, Evidence};

    fn stall(phase: Phase, seq: u64, start_ms: u64, ms: u64) -> StallEvidence {
        StallEvidence {
            phase,
            polls: 1,
            key: (0, seq),
            worker: "0".to_owned(),
            kind: crate::record::kinds::KindId::OTHER,
            start_unix_ns: start_ms * 1_000_000,
            start_nanos: start_ms * 1_000_000,
            duration_nanos: ms * 1_000_000,
            times: Default::default(),
            captures: vec![evidence::Capture::without_stack(0, false, None)],
        }
    }

    fn diagnosis(id: &str) -> Diagnosis {
        Diagnosis {
            id: id.to_owned(),
            cause: Cause::Sleep,
            primitive: None,
            site: None,
            advice: String::new(),
            evidence: Evidence::None,
            stack: Vec::new(),
            lines_missing: None,
            detail: Detail::default(),
            lock_holder: None,
        }
    }

    fn task() -> TaskInfo {
        TaskInfo { kind: "t".to_owned(), spawned_at: None }
    }

    #[test]
    fn a_stall_counts_once_however_often_it_is_added() {
        let findings = Findings::default();
        let began = findings.add_stall(&stall(Phase::Began, 1, 1000, 10), task(), diagnosis("a")).unwrap();
        assert_eq!(began.count, 1, "the stall in progress");
        assert!(began.ongoing.is_some());
        findings.add_stall(&stall(Phase::Lasts, 1, 1000, 20), task(), diagnosis("a")).unwrap();
        let ended = findings.add_stall(&stall(Phase::Ended, 1, 1000, 30), task(), diagnosis("a")).unwrap();
        assert_eq!((ended.count, ended.ongoing), (1, None));
        assert!(ended.total == Duration::from_millis(30));
        assert_eq!(findings.stalls(SystemTime::UNIX_EPOCH).len(), 1);
    }

    #[test]
    fn a_wrong_first_diagnosis_leaves_no_finding() {
        let findings = Findings::default();
        findings.add_stall(&stall(Phase::Began, 1, 1000, 10), task(), diagnosis("guess")).unwrap();
        findings.add_stall(&stall(Phase::Ended, 1, 1000, 30), task(), diagnosis("truth")).unwrap();
        let ids: Vec<_> = findings.all().into_iter().map(|finding| finding.id).collect();
        assert_eq!(ids, ["truth"]);
    }

    #[test]
    fn waits_count_whether_added_before_or_after_the_stall() {
        let findings = Findings::default();
        findings.add_wait(1_005_000_000, 1_020_000_000, 7);
        findings.add_stall(&stall(Phase::Ended, 1, 1000, 30), task(), diagnosis("a")).unwrap();
        findings.add_wait(1_020_000_000, 1_040_000_000, 8);
        findings.add_wait(2_000_000_000, 2_040_000_000, 9);
        let victims = findings.all()[0].victims;
        assert_eq!((victims.tasks, victims.waits), (2, 2));
        assert_eq!(victims.delay, Duration::from_millis(25));
    }

    #[test]
    fn each_task_and_each_wait_counts_once() {
        let findings = Findings::default();
        let ms = |ms: u64| ms * 1_000_000;
        // One task waits twice for one stall, another once for two stalls.
        findings.add_wait(ms(1000), ms(1011), 7);
        findings.add_stall(&stall(Phase::Ended, 1, 1000, 30), task(), diagnosis("a")).unwrap();
        findings.add_wait(ms(1015), ms(1030), 7);
        findings.add_wait(ms(1020), ms(1050), 8);
        findings.add_stall(&stall(Phase::Ended, 2, 1035, 30), task(), diagnosis("a")).unwrap();
        let victims = findings.all()[0].victims;
        assert_eq!((victims.tasks, victims.waits), (2, 3));
        assert_eq!(victims.delay, Duration::from_millis(11 + 15 + 10 + 15));
    }

    #[test]
    fn an_estimate_of_tasks_never_exceeds_the_waits() {
        let findings = Findings::default();
        findings.add_stall(&stall(Phase::Ended, 1, 1000, 30), task(), diagnosis("a")).unwrap();
        for task in 0..2_000 {
            findings.add_wait(1_005_000_000, 1_010_000_000, task);
        }
        let victims = findings.all()[0].victims;
        assert_eq!(victims.waits, 2_000);
        assert!((1_800..=2_000).contains(&victims.tasks), "{victims:?}");
        assert!(victims.is_estimate());
    }

    #[test]
    fn the_best_evidence_and_then_the_most_frequent_line_is_shown() {
        let findings = Findings::default();
        let at = |line: Option<u32>, evidence| Diagnosis {
            site: Some(crate::finding::Site { function: "f".to_owned(), file: None, line, recovered: false }),
            evidence,
            ..diagnosis("a")
        };
        let line_after = |seq, diagnosis| {
            let finding = findings.add_stall(&stall(Phase::Ended, seq, seq, 10), task(), diagnosis).unwrap();
            finding.site.unwrap().line
        };
        assert_eq!(line_after(1, at(Some(7), Evidence::Leaf)), Some(7));
        assert_eq!(line_after(2, at(Some(8), Evidence::Stack)), Some(8), "better evidence");
        assert_eq!(line_after(3, at(Some(7), Evidence::Leaf)), Some(8));
        assert_eq!(line_after(4, at(Some(9), Evidence::Stack)), Some(9));
        assert_eq!(line_after(5, at(Some(9), Evidence::Stack)), Some(9));
        assert_eq!(line_after(6, at(Some(8), Evidence::Stack)), Some(8), "equally frequent, and more recent");
        assert_eq!(
            line_after(7, at(None, Evidence::Stack)),
            Some(8),
            "a diagnosis without a line does not replace one with a line"
        );
    }

    #[test]
    fn the_number_of_findings_is_bounded() {
        let findings = Findings::default();
        for n in 0..MAX_FINDINGS as u64 {
            findings.add_stall(&stall(Phase::Ended, n, n, 10), task(), diagnosis(&n.to_string())).unwrap();
        }
        assert!(findings.add_stall(&stall(Phase::Ended, 9999, 1, 10), task(), diagnosis("more")).is_err());
        assert!(findings.add_stall(&stall(Phase::Ended, 9998, 1, 10), task(), diagnosis("7")).is_ok());
    }
}
