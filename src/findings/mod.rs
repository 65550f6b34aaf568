//! All findings so far: stalls grouped by cause and site, with the tasks that
//! waited during them.

mod distinct;
mod entry;
mod flight_stalls;
mod intervals;
mod parts;
mod recent;
mod task_shares;

use std::collections::HashMap;
use std::iter;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::diagnose::diagnosis::Diagnosis;
use crate::diagnose::stall_part::StallPart;
use crate::evidence::{Phase, StallEvidence, StallKey, TaskWait, TimeSplit};
use crate::finding::{Cause, Finding, Stall, TaskInfo};
use crate::findings::entry::{FindingEntry, OngoingPart};
use crate::findings::parts::FindingPart;
use crate::findings::recent::{EndedStall, RecentStalls};
use crate::lock::Lock;
use crate::record::histogram::{CarriedCounts, Histogram};
use crate::record::polls_in_progress::PollsInProgress;
use crate::snapshot::CauseSnapshot;

/// The maximum number of findings. Stalls of further findings are dropped.
const MAX_FINDINGS: usize = 500;
/// The end of a stall is usually processed within this time after the age that
/// its latest message shows. Until then, a stall whose poll is over is shown as
/// in progress with that age: it would otherwise seem to be over, and to grow
/// afterwards. A callback, or many new findings, may delay all messages for
/// longer.
const END_PROCESSING_NANOS: u64 = 250_000_000;

/// All findings. The reporting thread writes them; exporters read them.
#[derive(Debug, Default)]
pub(crate) struct Findings(Lock<Inner>);

#[derive(Debug)]
struct Inner {
    entries: HashMap<String, FindingEntry>,
    /// The stalls that have begun and whose ends are not known yet.
    ongoing: HashMap<StallKey, OngoingStall>,
    recent: RecentStalls,
    /// One histogram for each cause, in the order of [`Cause::ALL`].
    durations: Vec<Histogram>,
    /// The carried counts of `durations`.
    carried: CarriedCounts,
}

/// A stall that has begun and whose end is not known yet. It may be over: then
/// its last message is on its way.
#[derive(Debug)]
struct OngoingStall {
    /// The id of the finding of the call with the most time.
    finding: String,
    /// The findings of other calls, with their parts of the own time.
    others: Vec<(String, u64)>,
    /// Whether its findings may have been reported while it lasted.
    is_reported: bool,
    /// The address of the lock that the worker waits for.
    lock: Option<String>,
    worker: String,
    /// The id of the worker's thread.
    tid: u32,
    task: TaskInfo,
    start_nanos: u64,
    /// The age at the latest message.
    duration_nanos: u64,
    /// The own time in that age.
    own_nanos: u64,
}

impl OngoingStall {
    /// Updates the stall with a later message. What an earlier message proved
    /// remains true.
    fn update(&mut self, duration_nanos: u64, times: TimeSplit) {
        self.duration_nanos = self.duration_nanos.max(duration_nanos);
        self.own_nanos = self.own_nanos.max(times.own().min(duration_nanos));
    }

    /// Returns the findings that count it, the main one first, each with its
    /// part of the own time.
    fn parts(&self) -> impl Iterator<Item = (&str, u64)> {
        let of_others = self.others.iter().map(|(_, own_nanos)| own_nanos).sum();
        let main = (self.finding.as_str(), self.own_nanos.saturating_sub(of_others));
        iter::once(main).chain(self.others.iter().map(|(finding, own_nanos)| (finding.as_str(), *own_nanos)))
    }

    /// Returns the parts that must not lose time: those that a report may have
    /// shown, and those of the findings that also have one of the `new_parts`.
    fn kept(&self, new_parts: &[FindingPart]) -> Vec<(String, u64)> {
        let has_part = |finding: &str| new_parts.iter().any(|part| part.finding == finding);
        let parts = self.parts().filter(|(finding, _)| self.is_reported || has_part(finding));
        parts.map(|(finding, own_nanos)| (finding.to_owned(), own_nanos)).collect()
    }

    /// Returns the age if the stall is in progress. If its poll is over and the
    /// end will be processed soon, returns the age that is proven.
    fn age_nanos(&self, key: StallKey, polls: &PollsInProgress) -> Option<u64> {
        let last_seen = self.start_nanos.saturating_add(self.duration_nanos);
        let is_end_near = polls.at.nanos.saturating_sub(last_seen) < END_PROCESSING_NANOS;
        polls.age_nanos(key, self.start_nanos).or(is_end_near.then_some(self.duration_nanos))
    }

    /// Returns the stall. If its poll is over, it ends where the latest message
    /// has shown it.
    fn stall(&self, key: StallKey, polls: &PollsInProgress) -> Stall {
        let is_over = self.age_nanos(key, polls).is_none();
        let last_seen = self.start_nanos.saturating_add(self.duration_nanos);
        Stall {
            start: polls.at.wall_at(self.start_nanos),
            end: is_over.then(|| polls.at.wall_at(last_seen)),
            worker: self.worker.clone(),
            task: self.task.kind.clone(),
            finding: Some(self.finding.clone()),
        }
    }
}

/// What [`Findings::add_stall`] has done.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct AddedStall {
    /// The id of the finding.
    pub(crate) finding: String,
    /// How many of the finding's stalls have ended.
    pub(crate) ended_stalls: u64,
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
    /// Adds the parts of a stall to their findings. A stall may be added
    /// several times while it lasts; each of its parts counts once. A part is
    /// an error if its finding would be one too many.
    pub(crate) fn add_stall(
        &self,
        stall: &StallEvidence,
        task: TaskInfo,
        parts: Vec<StallPart>,
    ) -> Vec<Result<AddedStall, TooManyFindings>> {
        let inner = &mut *self.0.lock();
        let mut diagnoses = Vec::new();
        let mut finding_parts = Vec::new();
        for StallPart { mut diagnosis, part } in parts {
            inner.add_lock_contention(stall.key, &mut diagnosis);
            let existing = if diagnosis.stack.is_empty() {
                inner.only_finding_in_kind(&task.kind, &diagnosis)
            } else {
                None
            };
            let finding = existing.unwrap_or_else(|| diagnosis.id.clone());
            finding_parts.push(FindingPart { finding: finding.clone(), part });
            diagnoses.push((finding, diagnosis));
        }
        let lock = diagnoses.first().and_then(|(_, diagnosis)| diagnosis.detail.lock.clone());
        let before = inner.ongoing.get(&stall.key);
        let kept = before.map(|ongoing| ongoing.kept(&finding_parts)).unwrap_or_default();
        parts::keep_reported(&mut finding_parts, &kept);
        let before = inner.remove_ongoing(stall.key, &finding_parts);
        let mut added = Vec::new();
        // The time of a call may belong to a finding that was reported.
        diagnoses.retain(|(id, _)| finding_parts.iter().any(|part| part.finding == *id));
        for (id, diagnosis) in diagnoses {
            if !inner.entries.contains_key(&id) && inner.entries.len() >= MAX_FINDINGS {
                finding_parts.retain(|part| part.finding != id);
                added.push(Err(TooManyFindings));
                continue;
            }
            let new = || FindingEntry::new(&diagnosis, task.clone());
            inner.entries.entry(id).or_insert_with(new).update(diagnosis, task.clone());
        }
        if stall.phase == Phase::Ended {
            for part in &finding_parts {
                inner.add_ended_part(stall, part, &task);
            }
        } else if let Some((main, others)) = finding_parts.split_first() {
            let others = others.iter().map(|part| (part.finding.clone(), part.part.times.own()));
            let mut ongoing = OngoingStall {
                finding: main.finding.clone(),
                others: others.collect(),
                is_reported: stall.phase == Phase::Lasts
                    || before.as_ref().is_some_and(|before| before.is_reported),
                lock,
                worker: stall.worker.clone(),
                tid: stall.tid,
                task,
                start_nanos: stall.start_nanos,
                duration_nanos: before.as_ref().map_or(0, |before| before.duration_nanos),
                own_nanos: before.as_ref().map_or(0, |before| before.own_nanos),
            };
            ongoing.update(stall.duration_nanos, stall.times);
            inner.ongoing.insert(stall.key, ongoing);
        }
        added.extend(finding_parts.into_iter().map(|part| {
            let ended_stalls = inner.entries.get(&part.finding).map_or(0, FindingEntry::ended_stalls);
            Ok(AddedStall { finding: part.finding, ended_stalls })
        }));
        added
    }

    /// Notes how long a stall in progress has lasted.
    pub(crate) fn add_progress(&self, key: StallKey, duration_nanos: u64, times: TimeSplit) {
        if let Some(ongoing) = self.0.lock().ongoing.get_mut(&key) {
            ongoing.update(duration_nanos, times);
        }
    }

    /// Adds the wait of a ready task to the findings whose stalls caused it.
    pub(crate) fn add_wait(&self, wait: TaskWait) {
        let inner = &mut *self.0.lock();
        for (finding, delay) in inner.recent.add_wait(wait) {
            if let Some(entry) = inner.entries.get_mut(&finding) {
                entry.add_delay(delay);
            }
        }
    }

    /// Retracts a stall in progress that turned out not to be a stall.
    pub(crate) fn retract_stall(&self, key: StallKey) {
        self.0.lock().remove_ongoing(key, &[]);
    }

    /// Returns a finding for a report, if there is one with this id. Of the
    /// stalls whose ends are not known, it only includes those that
    /// `is_included`.
    pub(crate) fn for_report(
        &self,
        id: &str,
        polls: &PollsInProgress,
        is_included: impl Fn(StallKey) -> bool,
    ) -> Option<Finding> {
        let inner = self.0.lock();
        // A report must not say that a stall lasts if its poll is over.
        let age = |key, ongoing: &OngoingStall| polls.age_nanos(key, ongoing.start_nanos);
        inner.finding(id, age, is_included)
    }

    /// Returns all findings, the one with the most total time first.
    pub(crate) fn all(&self, polls: &PollsInProgress) -> Vec<Finding> {
        let inner = self.0.lock();
        let age = |key, ongoing: &OngoingStall| ongoing.age_nanos(key, polls);
        let finding = |id: &String| inner.finding(id, age, |_| true);
        let mut findings: Vec<_> = inner.entries.keys().filter_map(finding).collect();
        findings.sort_by(|a, b| b.total.cmp(&a.total).then_with(|| a.id.cmp(&b.id)));
        findings
    }

    /// Returns the findings with ended stalls, without their stalls in
    /// progress. Their counts and totals never decrease: a later sample may
    /// move a stall in progress to another finding, or show that it is none.
    pub(crate) fn ended(&self) -> Vec<Finding> {
        let inner = self.0.lock();
        let entries = inner.entries.values().filter(|entry| entry.ended_stalls() > 0);
        entries.map(|entry| entry.with_ongoing(iter::empty())).collect()
    }

    /// Returns the recent stalls that had not ended by `since`, and all stalls
    /// in progress, ordered by start.
    pub(crate) fn stalls(&self, since: SystemTime, polls: &PollsInProgress) -> Vec<Stall> {
        let inner = self.0.lock();
        let ended = inner.recent.stalls().map(|ended| ended.stall(&polls.at));
        let ongoing = inner.ongoing.iter().map(|(key, ongoing)| ongoing.stall(*key, polls));
        let is_recent = |stall: &Stall| stall.end.is_none_or(|end| end >= since);
        let mut stalls: Vec<_> = ended.chain(ongoing).filter(is_recent).collect();
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
    /// Removes a stall from those in progress. The caller then adds its
    /// `parts`, if any. Also removes the stall's previous findings that have no
    /// part and no other stall: the first diagnosis was wrong. Returns the
    /// stall as it was in progress.
    fn remove_ongoing(&mut self, key: StallKey, parts: &[FindingPart]) -> Option<OngoingStall> {
        let before = self.ongoing.remove(&key)?;
        for (finding, _) in before.parts() {
            let has_ended_stalls = self.entries.get(finding).is_some_and(|entry| entry.ended_stalls() > 0);
            let has_ongoing =
                self.ongoing.values().any(|other| other.parts().any(|(other, _)| other == finding));
            let has_part = parts.iter().any(|part| part.finding == finding);
            if !has_part && !has_ended_stalls && !has_ongoing {
                self.entries.remove(finding);
            }
        }
        Some(before)
    }

    /// Adds a part of a stall that has ended to its finding.
    fn add_ended_part(&mut self, stall: &StallEvidence, part: &FindingPart, task: &TaskInfo) {
        let Some(entry) = self.entries.get_mut(&part.finding) else { return };
        entry.add_ended_stall(&part.part, stall.held_driver, task);
        let at = |age: u64| stall.start_nanos.saturating_add(age);
        let nanos = at(part.part.age_nanos.start)..at(part.part.age_nanos.end);
        // Only the end of the whole stall lets the driver run.
        let held_driver = stall.held_driver.is_some() && nanos.end >= at(stall.duration_nanos);
        let ended = EndedStall {
            key: stall.key,
            polls: stall.polls,
            worker: stall.worker.clone(),
            tid: stall.tid,
            task: task.kind.clone(),
            finding: part.finding.clone(),
            nanos,
            runtime: Arc::clone(&stall.runtime),
            held_driver,
        };
        for delay in self.recent.add_stall(ended) {
            entry.add_delay(delay);
        }
        let cause = entry.cause();
        self.durations[index_of(cause)].record(part.part.times.own(), &self.carried);
    }

    /// Adds to the diagnosis how many other workers wait for the same lock now,
    /// and the activity of the worker that probably holds it.
    fn add_lock_contention(&self, key: StallKey, diagnosis: &mut Diagnosis) {
        let detail = &mut diagnosis.detail;
        let waits_for_same_lock = |(other, ongoing): &(&StallKey, &OngoingStall)| {
            **other != key && ongoing.lock.is_some() && ongoing.lock == detail.lock
        };
        detail.waiters += self.ongoing.iter().filter(waits_for_same_lock).count() as u64;
        let Some(holder) = diagnosis.lock_holder else { return };
        let stall =
            self.ongoing.iter().find(|((worker, _), _)| *worker == holder).map(|(_, ongoing)| ongoing);
        detail.holder = stall.and_then(|ongoing| {
            let activity = self.entries.get(&ongoing.finding)?.call_and_site();
            Some(format!("worker {}, task `{}`, {activity}", ongoing.worker, ongoing.task.kind))
        });
    }

    /// Returns the finding for a stall without a stack, for example because the
    /// capture budget was used up: the only finding in tasks of its kind, if
    /// there is exactly one.
    fn only_finding_in_kind(&self, kind: &str, diagnosis: &Diagnosis) -> Option<String> {
        let only = |is_match: &dyn Fn(&FindingEntry) -> bool| {
            let is_candidate = |entry: &FindingEntry| entry.has_stack_and_kind(kind) && is_match(entry);
            let mut matching = self.entries.iter().filter(|(_, entry)| is_candidate(entry));
            matching.next().filter(|_| matching.next().is_none()).map(|(id, _)| id.clone())
        };
        // Without a stack, a running thread has the cause `Cpu`, although it
        // may run inside a call that has another cause, such as reading a file.
        // But a call that does nothing but wait does not run. Without a system
        // call either, the cause of a wait is not known.
        let can_be = |cause: Cause| match diagnosis.cause {
            Cause::Cpu => !cause.is_wait(),
            Cause::Other => diagnosis.detail.syscall.is_none() && !cause.is_computation(),
            _ => false,
        };
        only(&|entry| entry.cause() == diagnosis.cause).or_else(|| only(&|entry| can_be(entry.cause())))
    }

    /// Returns a finding, with those of its stalls in progress that
    /// `is_included`.
    fn finding(
        &self,
        id: &str,
        age_nanos: impl Fn(StallKey, &OngoingStall) -> Option<u64>,
        is_included: impl Fn(StallKey) -> bool,
    ) -> Option<Finding> {
        let stalls = self.ongoing.iter().filter(|(key, _)| is_included(**key));
        let parts = stalls.filter_map(|(key, ongoing)| {
            let (_, own_nanos) = ongoing.parts().find(|(finding, _)| *finding == id)?;
            let is_main = ongoing.finding == id;
            let age = age_nanos(*key, ongoing).filter(|_| is_main).map(Duration::from_nanos);
            Some(OngoingPart { task: &ongoing.task, own: Duration::from_nanos(own_nanos), age })
        });
        Some(self.entries.get(id)?.with_ongoing(parts))
    }
}

fn index_of(cause: Cause) -> usize {
    Cause::ALL.iter().position(|other| *other == cause).unwrap_or(0)
}

#[cfg(test)]
mod tests;
