//! One finding, updated by each of its stalls.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use crate::diagnose::diagnosis::Diagnosis;
use crate::evidence::StallEvidence;
use crate::finding::{Cause, Detail, Evidence, Finding, Site, Split, TaskInfo, Victims};
use crate::findings::distinct::DistinctTasks;
use crate::findings::recent::TaskDelay;

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
            count: 0,
            total: Duration::ZERO,
            max: Duration::ZERO,
            ongoing: None,
            split: Split::default(),
            detail: diagnosis.detail.clone(),
            victims: Victims::default(),
            advice: diagnosis.advice.clone(),
            evidence: Evidence::None,
            stack: Vec::new(),
            lines_missing: None,
            first_seen: now,
            last_seen: now,
        };
        Self { finding, sample_counts: HashMap::new(), victim_tasks: DistinctTasks::default() }
    }

    /// Updates the finding with the diagnosis of a stall. The finding shows the
    /// diagnosis with the best evidence; among equals, the call that was
    /// sampled most often.
    pub(crate) fn update(&mut self, diagnosis: Diagnosis, task: TaskInfo) {
        self.finding.last_seen = SystemTime::now();
        self.finding.task = task;
        let shown_call = sampled_call(&self.finding.site, &self.finding.primitive);
        let shown_samples = self.sample_counts.get(&shown_call).copied().unwrap_or(0);
        let samples = self.count_sample(sampled_call(&diagnosis.site, &diagnosis.primitive));
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
        (finding.primitive, finding.site, finding.advice) = (primitive, site, advice);
        (finding.evidence, finding.stack, finding.lines_missing) = (evidence, stack, lines_missing);
        // A capture of a running thread has no system call, and so no detail
        // that could replace the present one.
        if detail.syscall.is_some() {
            // Keep what earlier stalls showed about the lock.
            let Detail { waiters, holder, .. } = std::mem::replace(&mut finding.detail, detail);
            finding.detail.waiters = finding.detail.waiters.max(waiters);
            finding.detail.holder = finding.detail.holder.take().or(holder);
        }
    }

    /// Returns what blocks and where: ``in `CALL` at SITE``.
    pub(crate) fn call_and_site(&self) -> String {
        let call = self.finding.primitive.as_deref().unwrap_or(self.finding.cause.as_str());
        match &self.finding.site {
            Some(site) => format!("in `{call}` at {site}"),
            None => format!("in `{call}`"),
        }
    }

    /// Adds a stall that has ended.
    pub(crate) fn add_ended_stall(&mut self, stall: &StallEvidence) {
        let finding = &mut self.finding;
        let duration = Duration::from_nanos(stall.duration_nanos);
        finding.count += 1;
        finding.total += duration;
        finding.max = finding.max.max(duration);
        finding.split.on_cpu += Duration::from_nanos(stall.times.on_cpu);
        finding.split.run_queue += Duration::from_nanos(stall.times.run_queue);
        finding.split.off_cpu += Duration::from_nanos(stall.times.off_cpu);
    }

    /// Adds the delay of a task that waited during a stall.
    pub(crate) fn add_delay(&mut self, delay: TaskDelay) {
        self.victim_tasks.add(delay.task);
        let victims = &mut self.finding.victims;
        victims.waits += u64::from(delay.is_new_wait);
        // The estimate of many tasks may exceed the waits, the truth cannot.
        victims.tasks = self.victim_tasks.count().min(victims.waits);
        victims.delay += Duration::from_nanos(delay.nanos);
    }

    pub(crate) fn cause(&self) -> Cause {
        self.finding.cause
    }

    /// Returns whether the finding has a stack and was last seen in a task of
    /// this kind.
    pub(crate) fn has_stack_and_kind(&self, kind: &str) -> bool {
        self.finding.task.kind == kind && !self.finding.stack.is_empty()
    }

    /// Returns whether a stall of the finding has ended.
    pub(crate) fn has_ended_stalls(&self) -> bool {
        self.finding.count > 0
    }

    /// Returns the finding, including the stalls in progress, which have these
    /// ages.
    pub(crate) fn with_ongoing(&self, ages: impl Iterator<Item = Duration>) -> Finding {
        let mut finding = self.finding.clone();
        for age in ages {
            finding.count += 1;
            finding.total += age;
            finding.max = finding.max.max(age);
            finding.ongoing = finding.ongoing.max(Some(age));
        }
        finding
    }
}
