//! One finding as it grows.

use std::{collections::HashMap, time::Duration};

use crate::{
    Cause, Evidence, Finding, Split, TaskInfo, Victims, diagnose::Diagnosis, record::clock::unix_nanos_now,
    watchdog::evidence::StallEvidence,
};

/// Lines of a computation that are told apart.
const MAX_LINES: usize = 64;

#[derive(Debug)]
pub(crate) struct Entry {
    finding: Finding,
    /// How often which line of a computation was met: the busiest is shown.
    lines: HashMap<u32, u64>,
}

impl Entry {
    pub(crate) fn new(diagnosis: &Diagnosis, task: TaskInfo) -> Self {
        let now = seconds(unix_nanos_now());
        let finding = Finding {
            id: diagnosis.id.clone(),
            cause: diagnosis.cause,
            primitive: None,
            site: None,
            task,
            count: 0,
            total_seconds: 0.0,
            max_seconds: 0.0,
            ongoing_seconds: None,
            split: Split::default(),
            detail: diagnosis.detail.clone(),
            victims: Victims::default(),
            advice: diagnosis.advice.clone(),
            evidence: Evidence::None,
            stack: Vec::new(),
            first_seen_unix_seconds: now,
            last_seen_unix_seconds: now,
        };
        Self { finding, lines: HashMap::new() }
    }

    /// Takes in another look at the same site: the best evidence stays.
    pub(crate) fn see(&mut self, diagnosis: Diagnosis, task: TaskInfo) {
        let line = diagnosis.site.as_ref().and_then(|site| site.line);
        let finding = &mut self.finding;
        finding.last_seen_unix_seconds = seconds(unix_nanos_now());
        finding.task = task;
        if diagnosis.evidence >= finding.evidence {
            finding.evidence = diagnosis.evidence;
            finding.primitive = diagnosis.primitive;
            finding.site = diagnosis.site;
            finding.advice = diagnosis.advice;
            finding.stack = diagnosis.stack;
            if diagnosis.detail.syscall.is_some() {
                finding.detail = diagnosis.detail;
            }
        }
        if let Some(line) = line.filter(|_| finding.cause == Cause::Cpu) {
            if self.lines.len() < MAX_LINES || self.lines.contains_key(&line) {
                *self.lines.entry(line).or_default() += 1;
            }
            // Of lines that were met as often, the first: no flicker.
            let busiest = self.lines.iter().max_by_key(|(line, n)| (**n, u32::MAX - **line));
            if let (Some(site), Some((line, _))) = (&mut finding.site, busiest) {
                site.line = Some(*line);
            }
        }
    }

    /// Counts a stall that has ended.
    pub(crate) fn count(&mut self, stall: &StallEvidence) {
        let finding = &mut self.finding;
        let duration = seconds(stall.duration_nanos);
        finding.count += 1;
        finding.total_seconds += duration;
        finding.max_seconds = finding.max_seconds.max(duration);
        finding.split.on_cpu_seconds += seconds(stall.times.on_cpu);
        finding.split.run_queue_seconds += seconds(stall.times.run_queue);
        finding.split.off_cpu_seconds += seconds(stall.times.off_cpu);
    }

    pub(crate) fn delayed(&mut self, victims: Victims) {
        self.finding.victims.tasks += victims.tasks;
        self.finding.victims.delay_seconds += victims.delay_seconds;
    }

    /// Whether no stall of it has ended.
    pub(crate) fn is_empty(&self) -> bool {
        self.finding.count == 0
    }

    /// The finding with the stalls that still go on, given their ages.
    pub(crate) fn finding(&self, ongoing_nanos: impl Iterator<Item = u64>) -> Finding {
        let mut finding = self.finding.clone();
        for age in ongoing_nanos.map(seconds) {
            finding.count += 1;
            finding.total_seconds += age;
            finding.max_seconds = finding.max_seconds.max(age);
            finding.ongoing_seconds = Some(finding.ongoing_seconds.unwrap_or(0.0).max(age));
        }
        finding
    }
}

fn seconds(nanos: u64) -> f64 {
    Duration::from_nanos(nanos).as_secs_f64()
}
