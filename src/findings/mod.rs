//! Everything found so far: stalls grouped by site, with who waited for them.

mod distinct;
mod entry;
mod recent;

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use crate::diagnose::diagnosis::Diagnosis;
use crate::evidence::{Phase, StallEvidence};
use crate::finding::{Cause, Finding, Stall, TaskInfo};
use crate::findings::entry::FindingEntry;
use crate::findings::recent::Recent;
use crate::record::histogram::{Carried, Histogram};
use crate::snapshot::CauseSnapshot;
use crate::unix_time;

/// Findings that are kept at most.
const MAX_FINDINGS: usize = 500;

/// Shared by the reporting thread, which writes, and whoever reads.
#[derive(Debug, Default)]
pub(crate) struct Findings(Mutex<Inner>);

#[derive(Debug)]
struct Inner {
    entries: HashMap<String, FindingEntry>,
    ongoing: HashMap<(usize, u64), Ongoing>,
    recent: Recent,
    durations: Vec<Histogram>,
    carried: Carried,
}

/// A stall that has begun and not ended.
#[derive(Debug)]
struct Ongoing {
    finding: String,
    lock: Option<String>,
    stall: Stall,
}

/// There is no room for another finding.
#[derive(Debug)]
pub(crate) struct Full;

impl Default for Inner {
    fn default() -> Self {
        Self {
            entries: HashMap::new(),
            ongoing: HashMap::new(),
            recent: Recent::default(),
            durations: Cause::ALL.iter().map(|_| Histogram::new()).collect(),
            carried: Carried::new(),
        }
    }
}

impl Findings {
    /// Counts a stall, and gives its finding as it stands now.
    pub(crate) fn add(
        &self,
        stall: &StallEvidence,
        task: TaskInfo,
        mut diagnosis: Diagnosis,
    ) -> Result<Finding, Full> {
        let inner = &mut *self.inner();
        inner.tell_of_lock(stall.key, &mut diagnosis);
        let lock = diagnosis.detail.lock.clone();
        let adopted = diagnosis.stack.is_empty().then(|| inner.only_finding_of(&task.kind, diagnosis.cause));
        let id = adopted.flatten().unwrap_or_else(|| diagnosis.id.clone());
        inner.forget_ongoing(stall.key, &id);
        if !inner.entries.contains_key(&id) && inner.entries.len() >= MAX_FINDINGS {
            return Err(Full);
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
        entry.see(diagnosis, task);
        if stall.phase == Phase::Ended {
            entry.count(stall);
            let end = Some(unix_time::from_nanos(stall.start_unix_ns.saturating_add(stall.duration_nanos)));
            let during = stall.start_nanos..stall.start_nanos + stall.duration_nanos;
            inner
                .recent
                .stall_ended(Stall { end, ..record }, during)
                .into_iter()
                .for_each(|it| entry.delayed(it));
            let cause = entry.cause();
            inner.durations[index_of(cause)].record(stall.duration_nanos, &inner.carried);
        } else {
            inner.ongoing.insert(stall.key, Ongoing { finding: id.clone(), lock, stall: record });
        }
        Ok(inner.finding(&id, SystemTime::now()).expect("has just been added"))
    }

    /// Counts a ready task's wait towards the stalls during which it waited.
    pub(crate) fn add_wait(&self, start_nanos: u64, end_nanos: u64, task: u64) {
        let inner = &mut *self.inner();
        for (finding, delay) in inner.recent.waited(start_nanos..end_nanos, task) {
            if let Some(entry) = inner.entries.get_mut(&finding) {
                entry.delayed(delay);
            }
        }
    }

    /// A stall turned out to be none.
    pub(crate) fn forget(&self, key: (usize, u64)) {
        self.inner().forget_ongoing(key, "");
    }

    /// All findings, the most total time first.
    pub(crate) fn all(&self) -> Vec<Finding> {
        let inner = self.inner();
        let now = SystemTime::now();
        let mut findings: Vec<_> = inner.entries.keys().filter_map(|id| inner.finding(id, now)).collect();
        findings.sort_by(|a, b| b.total.cmp(&a.total).then_with(|| a.id.cmp(&b.id)));
        findings
    }

    /// The most recent stalls and those that go on, by their beginning.
    pub(crate) fn stalls(&self, since: SystemTime) -> Vec<Stall> {
        let inner = self.inner();
        let ongoing = inner.ongoing.values().map(|ongoing| ongoing.stall.clone());
        let mut stalls: Vec<_> = inner.recent.stalls_since(since).chain(ongoing).collect();
        stalls.sort_by_key(|stall| stall.start);
        stalls
    }

    pub(crate) fn causes(&self) -> Vec<CauseSnapshot> {
        let inner = self.inner();
        let snapshot = |(cause, durations): (&Cause, &Histogram)| CauseSnapshot {
            cause: *cause,
            durations: durations.snapshot(&inner.carried),
        };
        Cause::ALL.iter().zip(&inner.durations).map(snapshot).collect()
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// A stall goes on or ends. What was found as it began may have turned out
    /// to be something else, and then was nothing of its own.
    fn forget_ongoing(&mut self, key: (usize, u64), now_found: &str) {
        let Some(before) = self.ongoing.remove(&key) else { return };
        let elsewhere = self.ongoing.values().any(|other| other.finding == before.finding);
        let is_empty = self.entries.get(&before.finding).is_some_and(FindingEntry::is_empty);
        if before.finding != now_found && is_empty && !elsewhere {
            self.entries.remove(&before.finding);
        }
    }

    /// Who else waits for the same lock now, and what the one does that seems to
    /// hold it.
    fn tell_of_lock(&self, key: (usize, u64), diagnosis: &mut Diagnosis) {
        let detail = &mut diagnosis.detail;
        let is_other = |(other, ongoing): &(&(usize, u64), &Ongoing)| {
            **other != key && ongoing.lock.is_some() && ongoing.lock == detail.lock
        };
        detail.waiters += self.ongoing.iter().filter(is_other).count() as u64;
        let Some(holder) = diagnosis.lock_holder else { return };
        let stall =
            self.ongoing.iter().find(|((worker, _), _)| *worker == holder).map(|(_, ongoing)| ongoing);
        detail.holder = stall.and_then(|ongoing| {
            let doing = self.entries.get(&ongoing.finding)?.what_and_where();
            Some(format!("worker {}, task `{}`, {doing}", ongoing.stall.worker, ongoing.stall.task))
        });
    }

    /// Where a stall belongs whose stack the budget did not allow: to what was
    /// found in tasks of its kind, if that is one thing.
    fn only_finding_of(&self, kind: &str, cause: Cause) -> Option<String> {
        let only = |fits: &dyn Fn(&FindingEntry) -> bool| {
            let mut fitting = self.entries.iter().filter(|(_, entry)| entry.is_of(kind) && fits(entry));
            fitting.next().filter(|_| fitting.next().is_none()).map(|(id, _)| id.clone())
        };
        // A thread that runs may do so inside of a call, which only its stack
        // would tell.
        only(&|entry| entry.cause() == cause).or_else(|| only(&|_| cause == Cause::Cpu))
    }

    fn finding(&self, id: &str, now: SystemTime) -> Option<Finding> {
        let ages = self.ongoing.values().filter(|ongoing| ongoing.finding == id);
        let ages = ages.map(|ongoing| now.duration_since(ongoing.stall.start).unwrap_or_default());
        Some(self.entries.get(id)?.finding(ages))
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
            detail: Detail::default(),
            lock_holder: None,
        }
    }

    fn task() -> TaskInfo {
        TaskInfo { kind: "t".to_owned(), spawned_at: None }
    }

    #[test]
    fn a_stall_is_counted_once_however_often_it_is_told() {
        let findings = Findings::default();
        let began = findings.add(&stall(Phase::Began, 1, 1000, 10), task(), diagnosis("a")).unwrap();
        assert_eq!(began.count, 1, "the one that goes on");
        assert!(began.ongoing.is_some());
        findings.add(&stall(Phase::Lasts, 1, 1000, 20), task(), diagnosis("a")).unwrap();
        let ended = findings.add(&stall(Phase::Ended, 1, 1000, 30), task(), diagnosis("a")).unwrap();
        assert_eq!((ended.count, ended.ongoing), (1, None));
        assert!(ended.total == Duration::from_millis(30));
        assert_eq!(findings.stalls(SystemTime::UNIX_EPOCH).len(), 1);
    }

    #[test]
    fn a_first_guess_that_was_wrong_leaves_nothing() {
        let findings = Findings::default();
        findings.add(&stall(Phase::Began, 1, 1000, 10), task(), diagnosis("guess")).unwrap();
        findings.add(&stall(Phase::Ended, 1, 1000, 30), task(), diagnosis("truth")).unwrap();
        let ids: Vec<_> = findings.all().into_iter().map(|finding| finding.id).collect();
        assert_eq!(ids, ["truth"]);
    }

    #[test]
    fn who_waits_is_counted_whichever_is_told_first() {
        let findings = Findings::default();
        findings.add_wait(1_005_000_000, 1_020_000_000, 7);
        findings.add(&stall(Phase::Ended, 1, 1000, 30), task(), diagnosis("a")).unwrap();
        findings.add_wait(1_020_000_000, 1_040_000_000, 8);
        findings.add_wait(2_000_000_000, 2_040_000_000, 9);
        let victims = findings.all()[0].victims;
        assert_eq!((victims.tasks, victims.waits), (2, 2));
        assert_eq!(victims.delay, Duration::from_millis(25));
    }

    #[test]
    fn tasks_and_waits_are_counted_each_once() {
        let findings = Findings::default();
        let ms = |ms: u64| ms * 1_000_000;
        // One task waits twice for one stall, another once for two stalls.
        findings.add_wait(ms(1000), ms(1011), 7);
        findings.add(&stall(Phase::Ended, 1, 1000, 30), task(), diagnosis("a")).unwrap();
        findings.add_wait(ms(1015), ms(1030), 7);
        findings.add_wait(ms(1020), ms(1050), 8);
        findings.add(&stall(Phase::Ended, 2, 1035, 30), task(), diagnosis("a")).unwrap();
        let victims = findings.all()[0].victims;
        assert_eq!((victims.tasks, victims.waits), (2, 3));
        assert_eq!(victims.delay, Duration::from_millis(11 + 15 + 10 + 15));
    }

    #[test]
    fn what_was_met_most_is_shown() {
        let findings = Findings::default();
        let at = |line: Option<u32>, evidence| Diagnosis {
            site: Some(crate::finding::Site { function: "f".to_owned(), file: None, line }),
            evidence,
            ..diagnosis("a")
        };
        let see = |seq, diagnosis| {
            let finding = findings.add(&stall(Phase::Ended, seq, seq, 10), task(), diagnosis).unwrap();
            finding.site.unwrap().line
        };
        assert_eq!(see(1, at(Some(7), Evidence::Leaf)), Some(7));
        assert_eq!(see(2, at(Some(8), Evidence::Stack)), Some(8), "better evidence");
        assert_eq!(see(3, at(Some(7), Evidence::Leaf)), Some(8));
        assert_eq!(see(4, at(Some(9), Evidence::Stack)), Some(9));
        assert_eq!(see(5, at(Some(9), Evidence::Stack)), Some(9));
        assert_eq!(see(6, at(Some(8), Evidence::Stack)), Some(8), "as often, and later");
        assert_eq!(see(7, at(None, Evidence::Stack)), Some(8), "no line is no news");
    }

    #[test]
    fn findings_are_bounded() {
        let findings = Findings::default();
        for n in 0..MAX_FINDINGS as u64 {
            findings.add(&stall(Phase::Ended, n, n, 10), task(), diagnosis(&n.to_string())).unwrap();
        }
        assert!(findings.add(&stall(Phase::Ended, 9999, 1, 10), task(), diagnosis("more")).is_err());
        assert!(findings.add(&stall(Phase::Ended, 9998, 1, 10), task(), diagnosis("7")).is_ok());
    }
}
