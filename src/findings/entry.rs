//! One finding as it grows.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use crate::diagnose::diagnosis::Diagnosis;
use crate::evidence::StallEvidence;
use crate::finding::{Cause, Detail, Evidence, Finding, Site, Split, TaskInfo, Victims};
use crate::findings::distinct::DistinctTasks;
use crate::findings::recent::Delay;

/// Views of one finding that are told apart.
const MAX_VIEWS: usize = 64;

/// How a finding may present itself: a computation is met at one line or
/// another, and a line may make two calls.
type View = (Option<u32>, Option<String>);

fn view(site: &Option<Site>, primitive: &Option<String>) -> View {
    (site.as_ref().and_then(|site| site.line), primitive.clone())
}

#[derive(Debug)]
pub(crate) struct FindingEntry {
    finding: Finding,
    /// How often it was met in which way.
    views: HashMap<View, u64>,
    /// The tasks that waited.
    victims: DistinctTasks,
}

impl FindingEntry {
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
            first_seen: now,
            last_seen: now,
        };
        Self { finding, views: HashMap::new(), victims: DistinctTasks::default() }
    }

    /// Takes in another look at the same site. The best evidence is shown, and
    /// of equals what was met most often.
    pub(crate) fn see(&mut self, diagnosis: Diagnosis, task: TaskInfo) {
        self.finding.last_seen = SystemTime::now();
        self.finding.task = task;
        let shown = self.views.get(&view(&self.finding.site, &self.finding.primitive)).copied();
        let met = self.meet(view(&diagnosis.site, &diagnosis.primitive));
        let is_better = diagnosis.evidence > self.finding.evidence;
        if is_better || diagnosis.evidence == self.finding.evidence && met >= shown.unwrap_or(0) {
            self.show(diagnosis);
        }
    }

    /// Counts a view, and says how often it has been met.
    fn meet(&mut self, view: View) -> u64 {
        if self.views.len() >= MAX_VIEWS && !self.views.contains_key(&view) {
            return 0;
        }
        let met = self.views.entry(view).or_default();
        *met += 1;
        *met
    }

    fn show(&mut self, diagnosis: Diagnosis) {
        // Adopted from a stall that has no stack.
        if diagnosis.stack.is_empty() && !self.finding.stack.is_empty() {
            return;
        }
        let Diagnosis { primitive, site, advice, evidence, stack, detail, .. } = diagnosis;
        let finding = &mut self.finding;
        let has_line = |site: &Option<Site>| site.as_ref().is_some_and(|site| site.line.is_some());
        if has_line(&finding.site) && !has_line(&site) {
            return;
        }
        (finding.primitive, finding.site, finding.advice) = (primitive, site, advice);
        (finding.evidence, finding.stack) = (evidence, stack);
        if detail.syscall.is_some() {
            // What was once known of the lock stays known.
            let Detail { waiters, holder, .. } = std::mem::replace(&mut finding.detail, detail);
            finding.detail.waiters = finding.detail.waiters.max(waiters);
            finding.detail.holder = finding.detail.holder.take().or(holder);
        }
    }

    /// What blocks and where, in a few words.
    pub(crate) fn what_and_where(&self) -> String {
        let what = self.finding.primitive.as_deref().unwrap_or(self.finding.cause.as_str());
        match &self.finding.site {
            Some(site) => format!("in `{what}` at {site}"),
            None => format!("in `{what}`"),
        }
    }

    /// Counts a stall that has ended.
    pub(crate) fn count(&mut self, stall: &StallEvidence) {
        let finding = &mut self.finding;
        let duration = Duration::from_nanos(stall.duration_nanos);
        finding.count += 1;
        finding.total += duration;
        finding.max = finding.max.max(duration);
        finding.split.on_cpu += Duration::from_nanos(stall.times.on_cpu);
        finding.split.run_queue += Duration::from_nanos(stall.times.run_queue);
        finding.split.off_cpu += Duration::from_nanos(stall.times.off_cpu);
    }

    /// Counts waiting that the finding caused.
    pub(crate) fn delayed(&mut self, delay: Delay) {
        self.victims.add(delay.task);
        let victims = &mut self.finding.victims;
        victims.tasks = self.victims.count();
        victims.waits += u64::from(delay.is_new_wait);
        victims.delay += Duration::from_nanos(delay.nanos);
    }

    pub(crate) fn cause(&self) -> Cause {
        self.finding.cause
    }

    /// Whether it was last seen in tasks of that kind, and with a stack.
    pub(crate) fn is_of(&self, kind: &str) -> bool {
        self.finding.task.kind == kind && !self.finding.stack.is_empty()
    }

    /// Whether no stall of it has ended.
    pub(crate) fn is_empty(&self) -> bool {
        self.finding.count == 0
    }

    /// The finding with the stalls that still go on, given their ages.
    pub(crate) fn finding(&self, ongoing: impl Iterator<Item = Duration>) -> Finding {
        let mut finding = self.finding.clone();
        for age in ongoing {
            finding.count += 1;
            finding.total += age;
            finding.max = finding.max.max(age);
            finding.ongoing = finding.ongoing.max(Some(age));
        }
        finding
    }
}
