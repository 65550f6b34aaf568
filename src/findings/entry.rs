//! One finding, updated by each of its stalls.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use crate::diagnose::diagnosis::Diagnosis;
use crate::diagnose::stall_part::PartOfStall;
use crate::evidence::HeldDriver;
use crate::finding::{Cause, Detail, Evidence, Finding, Site, Split, TaskInfo, Victims};
use crate::findings::distinct::DistinctTasks;
use crate::findings::recent::TaskDelay;
use crate::findings::task_shares::TaskShares;

/// The maximum number of different calls that a finding counts. Samples of
/// further calls are not counted.
const MAX_SAMPLED_CALLS: usize = 64;

/// The line and the called function that a stall of a finding shows. They may
/// differ between stalls: a computation is sampled at any of its lines, and a
/// line may make two calls.
type SampledCall = (Option<u32>, Option<String>);

fn sampled_call(site: &Option<Site>, primitive: &Option<String>) -> SampledCall {
    (site.as_ref().and_then(|site| site.line), primitive.clone())
}

/// A finding with what is needed to update it.
#[derive(Debug)]
pub(crate) struct FindingEntry {
    finding: Finding,
    /// How many diagnoses showed each call.
    sample_counts: HashMap<SampledCall, u64>,
    /// The tasks that waited.
    victim_tasks: DistinctTasks,
    /// The kinds of the stalls that have ended.
    tasks: TaskShares,
}

/// The part of a finding that a stall with an unknown end contributes.
#[derive(Debug)]
pub(crate) struct OngoingPart<'s> {
    pub(crate) task: &'s TaskInfo,
    /// The own time that is proven.
    pub(crate) own: Duration,
    /// Its age, if it is in progress.
    pub(crate) age: Option<Duration>,
}

impl FindingEntry {
    /// Creates a finding without stalls.
    pub(crate) fn new(diagnosis: &Diagnosis, task: TaskInfo) -> Self {
        let now = SystemTime::now();
        let finding = Finding {
            id: diagnosis.id.clone(),
            cause: diagnosis.cause,
            primitive: None,
            site: None,
            task,
            tasks: Vec::new(),
            count: 0,
            total: Duration::ZERO,
            max: Duration::ZERO,
            ongoing: None,
            split: Split::default(),
            detail: diagnosis.detail.clone(),
            victims: Victims::default(),
            advice: diagnosis.advice.clone(),
            evidence: Evidence::None,
            without_stack: 0,
            sampled_once: 0,
            lower_bounds: 0,
            stack: Vec::new(),
            lines_missing: None,
            first_seen: now,
            last_seen: now,
        };
        Self {
            finding,
            sample_counts: HashMap::new(),
            victim_tasks: DistinctTasks::default(),
            tasks: TaskShares::default(),
        }
    }

    /// Updates the finding with the diagnosis of a stall. The finding shows the
    /// diagnosis with the best evidence; among equals, the call that was
    /// sampled most often.
    pub(crate) fn update(&mut self, diagnosis: Diagnosis, task: TaskInfo) {
        // The wall clock may have been set back.
        self.finding.last_seen = self.finding.last_seen.max(SystemTime::now());
        self.tasks.add_kind(&task);
        self.finding.task = task;
        let shown_call = sampled_call(&self.finding.site, &self.finding.primitive);
        let shown_samples = self.sample_counts.get(&shown_call).copied().unwrap_or(0);
        let samples = self.count_sample(sampled_call(&diagnosis.site, &diagnosis.primitive));
        if diagnosis.detail.fd.is_some() && self.finding.detail.fd.is_none() {
            self.show_detail(diagnosis.detail.clone());
        }
        let is_better = diagnosis.evidence > self.finding.evidence;
        if is_better || diagnosis.evidence == self.finding.evidence && samples >= shown_samples {
            self.show(diagnosis);
        }
    }

    /// Counts a sample of a call and returns how often that call was sampled.
    fn count_sample(&mut self, call: SampledCall) -> u64 {
        if self.sample_counts.len() >= MAX_SAMPLED_CALLS && !self.sample_counts.contains_key(&call) {
            return 0;
        }
        let samples = self.sample_counts.entry(call).or_default();
        *samples += 1;
        *samples
    }

    /// Replaces what the finding shows, unless the finding would lose its stack
    /// or line.
    fn show(&mut self, diagnosis: Diagnosis) {
        // The stall has no stack and was assigned to this finding by its task.
        if diagnosis.stack.is_empty() && !self.finding.stack.is_empty() {
            return;
        }
        let Diagnosis { primitive, site, advice, evidence, stack, lines_missing, detail, .. } = diagnosis;
        let finding = &mut self.finding;
        let has_line = |site: &Option<Site>| site.as_ref().is_some_and(|site| site.line.is_some());
        if has_line(&finding.site) && !has_line(&site) {
            return;
        }
        // A stall with fewer captures may show no more than the first part of
        // the advice. Of one without a line, the rest says how to get lines.
        if !has_line(&finding.site) || !finding.advice.starts_with(&advice) {
            finding.advice = advice;
        }
        (finding.primitive, finding.site) = (primitive, site);
        (finding.evidence, finding.stack, finding.lines_missing) = (evidence, stack, lines_missing);
        // A capture of a running thread has no system call, and so no detail
        // that could replace the present one. A call on a descriptor says more
        // than the wait for the lock behind it: all that write to stdout wait
        // for the one that is in `write`.
        if detail.syscall.is_some() && (detail.fd.is_some() || finding.detail.fd.is_none()) {
            self.show_detail(detail);
        }
    }

    /// Replaces the detail, except for what earlier stalls showed about the
    /// lock.
    fn show_detail(&mut self, detail: Detail) {
        let shown = &mut self.finding.detail;
        let Detail { waiters, holder, .. } = std::mem::replace(shown, detail);
        shown.waiters = shown.waiters.max(waiters);
        shown.holder = shown.holder.take().or(holder);
    }

    /// Returns what blocks and where: ``in `CALL` at SITE``.
    pub(crate) fn call_and_site(&self) -> String {
        let call = self.finding.primitive.as_deref().unwrap_or(self.finding.cause.as_str());
        match &self.finding.site {
            Some(site) => format!("in `{call}` at {site}"),
            None => format!("in `{call}`"),
        }
    }

    /// Adds a stall that has ended, or its part for this finding.
    pub(crate) fn add_ended_stall(
        &mut self,
        part: &PartOfStall,
        held_driver: Option<HeldDriver>,
        task: &TaskInfo,
    ) {
        let finding = &mut self.finding;
        finding.victims.driver_held |= held_driver.is_some();
        finding.victims.has_other_workers |= held_driver.is_some_and(|driver| driver.has_other_workers);
        let own = Duration::from_nanos(part.times.own());
        finding.count += 1;
        finding.total += own;
        finding.max = finding.max.max(own);
        self.tasks.add(task, own);
        finding.without_stack += u64::from(part.has_no_stack);
        finding.sampled_once += u64::from(part.is_sampled_once);
        finding.lower_bounds += u64::from(part.is_lower_bound);
        finding.split.on_cpu += Duration::from_nanos(part.times.on_cpu);
        finding.split.run_queue += Duration::from_nanos(part.times.run_queue);
        finding.split.off_cpu += Duration::from_nanos(part.times.off_cpu);
        finding.split.unknown += Duration::from_nanos(part.times.unknown);
        finding.split.paused += Duration::from_nanos(part.paused_nanos());
    }

    /// Adds the delay of a task that waited during a stall.
    pub(crate) fn add_delay(&mut self, delay: TaskDelay) {
        self.victim_tasks.add(delay.task);
        let victims = &mut self.finding.victims;
        victims.waits += u64::from(delay.is_new_wait);
        victims.released += u64::from(delay.is_released);
        // The estimate of many tasks may exceed the waits, the truth cannot.
        victims.tasks = self.victim_tasks.count().min(victims.waits);
        victims.delay += Duration::from_nanos(delay.nanos);
    }

    pub(crate) fn cause(&self) -> Cause {
        self.finding.cause
    }

    /// Returns whether the finding has a stack and a stall in a task of this
    /// kind.
    pub(crate) fn has_stack_and_kind(&self, kind: &str) -> bool {
        self.tasks.has_kind(kind) && !self.finding.stack.is_empty()
    }

    /// Returns how many stalls of the finding have ended.
    pub(crate) fn ended_stalls(&self) -> u64 {
        self.finding.count
    }

    /// Returns the finding, including the stalls with unknown ends. Each counts
    /// with the time that is proven, which is less than its age.
    pub(crate) fn with_ongoing<'s>(&self, stalls: impl Iterator<Item = OngoingPart<'s>>) -> Finding {
        let mut finding = self.finding.clone();
        let mut tasks = self.tasks.clone();
        for OngoingPart { task, own, age } in stalls {
            finding.count += 1;
            finding.total += own;
            finding.max = finding.max.max(own);
            finding.ongoing = finding.ongoing.max(age);
            tasks.add(task, own);
        }
        finding.tasks = tasks.largest();
        finding
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn diagnosis(syscall: &str, fd: Option<&str>) -> Diagnosis {
        Diagnosis {
            id: "1".to_owned(),
            cause: Cause::File,
            primitive: Some("std::io::_print".to_owned()),
            site: None,
            advice: String::new(),
            evidence: Evidence::Stack,
            stack: Vec::new(),
            detail: Detail {
                syscall: Some(syscall.to_owned()),
                fd: fd.map(str::to_owned),
                ..Detail::default()
            },
            lines_missing: None,
            lock_holder: None,
        }
    }

    #[test]
    fn a_wait_for_the_lock_of_stdout_does_not_hide_the_write() {
        let task = || TaskInfo { kind: "relay".to_owned(), spawned_at: None };
        let (write, wait) = (diagnosis("write", Some("a pipe")), diagnosis("futex", None));
        let uncertain = Diagnosis { evidence: Evidence::Leaf, ..write.clone() };
        let orders = [[&write, &wait, &wait], [&wait, &wait, &write]];
        for order in orders.into_iter().chain([[&uncertain, &wait, &wait], [&wait, &wait, &uncertain]]) {
            let mut entry = FindingEntry::new(order[0], task());
            for diagnosis in order {
                entry.update(diagnosis.clone(), task());
            }
            assert_eq!(entry.finding.detail.fd.as_deref(), Some("a pipe"));
            assert_eq!(entry.finding.detail.syscall.as_deref(), Some("write"));
        }
    }
}
