//! The state that the threads of one scope share, and its view for exporters.

use std::env;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, SystemTime};

#[cfg(all(feature = "attach", stack_capture))]
use crate::attach::document::PsDocument;
#[cfg(all(feature = "attach", stack_capture))]
use crate::attach::error::AttachError;
#[cfg(all(feature = "attach", stack_capture))]
use crate::attach::own;
use crate::export::source::{Health, Source};
use crate::finding::{
    FINDINGS_SCHEMA, Finding, FindingsDocument, ProcessInfo, STALLS_SCHEMA, StallsDocument, Starved,
};
use crate::findings::Findings;
use crate::os;
use crate::outbox::Outbox;
use crate::record::hook_status::Hook;
use crate::record::level::RecordingLevel;
use crate::record::recorder::Recorder;
use crate::recording::Recording;
use crate::self_metrics::SelfMetrics;
use crate::settings::Settings;
use crate::snapshot::{FlightRecording, ObserverSnapshot, RecordedPolls, Snapshot, WorkerSnapshot};

/// What was recorded, what was found, and loopscope's own metrics.
#[derive(Debug)]
pub(crate) struct ScopeState {
    pub(crate) recorder: Arc<Recorder>,
    pub(crate) self_metrics: Arc<SelfMetrics>,
    pub(crate) findings: Arc<Findings>,
    pub(crate) outbox: Arc<Outbox>,
    threshold: Duration,
}

impl ScopeState {
    pub(crate) fn new(settings: &Settings) -> Self {
        let threshold = settings.threshold;
        let mut recorder = Recorder::new(threshold);
        // Tokio's measurement cannot be switched while a runtime runs.
        recorder.tokio_measures_delay = settings.schedule_delay && settings.recording == Recording::Full;
        recorder.level = RecordingLevel::new(settings.recording, settings.is_paused);
        recorder.liveness.is_printed = settings.terminal.is_shown();
        Self {
            recorder: Arc::new(recorder),
            self_metrics: Arc::default(),
            findings: Arc::default(),
            outbox: Arc::default(),
            threshold,
        }
    }

    /// Returns an empty state in a forked child, and warns once. The locks of
    /// this one may be held for ever there.
    fn of_child(&self) -> Option<Self> {
        if !self.recorder.liveness.is_in_child() {
            return None;
        }
        self.recorder.liveness.warn();
        Some(Self {
            recorder: Arc::new(Recorder::new(self.threshold)),
            self_metrics: Arc::default(),
            findings: Arc::default(),
            outbox: Arc::default(),
            threshold: self.threshold,
        })
    }

    fn observer(&self) -> ObserverSnapshot {
        let cpu_nanos = match self.self_metrics.tid.load(Relaxed) {
            0 => None,
            tid => os::thread_cpu_nanos(tid),
        };
        ObserverSnapshot {
            watchdog_cpu: Duration::from_nanos(cpu_nanos.unwrap_or(0)),
            captures: self.self_metrics.captures(),
            dropped: self.self_metrics.drops(),
            capture_signal: self.self_metrics.signal(),
            signals_given_up: self.self_metrics.signals_given_up(),
            replaced_hooks: self.recorder.replaced_hooks.all().into_iter().map(Hook::name).collect(),
        }
    }
}

impl Source for ScopeState {
    fn snapshot(&self) -> Snapshot {
        if let Some(child) = self.of_child() {
            return child.snapshot();
        }
        Snapshot {
            threshold: self.threshold,
            recording: self.recorder.level.recording(),
            is_paused: self.recorder.level.is_paused(),
            has_recorded_in_full: self.recorder.level.has_been_full(),
            kinds: self.recorder.kind_snapshots(),
            workers: self.recorder.worker_snapshots(),
            runtimes: self.recorder.runtime_snapshots(),
            blocking_calls: self.recorder.blocking_calls.snapshots(),
            loop_lag: self.recorder.lag_probes.snapshots(&self.recorder.clock),
            causes: self.findings.causes(),
            starved: Duration::from_nanos(self.self_metrics.starved_nanos()),
            pressure: self.self_metrics.pressure(),
            observer: self.observer(),
        }
    }

    fn findings(&self) -> FindingsDocument {
        if let Some(child) = self.of_child() {
            return child.findings();
        }
        let program = env::current_exe().unwrap_or_default();
        // Read first: what is no longer pending is part of the findings. An
        // observation moves from the workers to the outbox, so it may be
        // counted twice, but it is not left out.
        let pending =
            self.recorder.pending_events() + self.outbox.pending() + self.self_metrics.unsettled_polls();
        FindingsDocument {
            schema: FINDINGS_SCHEMA.to_owned(),
            process: ProcessInfo {
                pid: std::process::id(),
                program: program.to_string_lossy().into_owned(),
                loopscope: env!("CARGO_PKG_VERSION").to_owned(),
                all_tasks: cfg!(tokio_unstable),
            },
            threshold: self.threshold,
            findings: self.findings.all(&self.recorder.polls_in_progress()),
            starved: Starved {
                count: self.self_metrics.starved_polls(),
                total: Duration::from_nanos(self.self_metrics.starved_nanos()),
            },
            suppressed_reports: self.self_metrics.suppressed_reports(),
            dropped: self.self_metrics.drops().iter().map(|(_, n)| n).sum(),
            pending,
            recording: self.recorder.level.recording(),
            is_paused: self.recorder.level.is_paused(),
        }
    }

    fn ended_findings(&self) -> Vec<Finding> {
        self.of_child().map_or_else(|| self.findings.ended(), |child| child.ended_findings())
    }

    fn stalls(&self, since: Option<SystemTime>) -> StallsDocument {
        if let Some(child) = self.of_child() {
            return child.stalls(since);
        }
        let polls = self.recorder.polls_in_progress();
        StallsDocument {
            schema: STALLS_SCHEMA.to_owned(),
            now: polls.at.wall,
            scope_start: Some(polls.at.wall_at(0)),
            stalls: self.findings.stalls(since.unwrap_or(SystemTime::UNIX_EPOCH), &polls),
        }
    }

    #[cfg(feature = "tokio-metrics")]
    fn runtimes(&self) -> Vec<(String, tokio::runtime::Handle)> {
        match self.of_child() {
            Some(_) => Vec::new(),
            None => self.recorder.runtimes.handles(),
        }
    }

    fn flight(&self, length: Duration) -> FlightRecording {
        if let Some(child) = self.of_child() {
            return child.flight(length);
        }
        let polls = self.recorder.polls_in_progress();
        let length_nanos = u64::try_from(length.as_nanos()).unwrap_or(u64::MAX);
        let since_nanos = polls.at.nanos.saturating_sub(length_nanos);
        // The polls are read last: a stall in progress may end before.
        let stalls = self.findings.flight_stalls(since_nanos, &polls);
        FlightRecording { stalls, ..self.recorder.flight(polls.at, since_nanos) }
    }

    fn recorded_polls(&self, since: SystemTime) -> RecordedPolls {
        if let Some(child) = self.of_child() {
            return child.recorded_polls(since);
        }
        let at = self.recorder.clock.reading();
        let since = since.duration_since(at.wall_at(0)).unwrap_or_default();
        self.recorder.recorded_polls(at, u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
    }

    #[cfg(all(feature = "attach", stack_capture))]
    fn tasks_tree(&self, asking: &[u64]) -> Result<PsDocument, AttachError> {
        own::ps_own_for(asking)
    }

    /// Counts only the workers of the runtimes. The thread of a root future is
    /// not one of them.
    fn health(&self) -> Health {
        let expected = self.recorder.runtime_snapshots().iter().map(|runtime| runtime.workers).sum();
        health(&self.recorder.worker_snapshots(), expected, self.threshold.max(UNHEALTHY_AFTER))
    }
}

/// Judges workers, of which there should be `expected`. A worker is blocked if
/// the code of its poll, not the machine, has taken `limit` or longer.
pub(crate) fn health(workers: &[WorkerSnapshot], expected: usize, limit: Duration) -> Health {
    let is_worker = |label: &str| label.starts_with(|first: char| first.is_ascii_digit());
    let is_long = |time: Option<Duration>| time.is_some_and(|time| time >= limit);
    let in_long_polls: Vec<_> =
        workers.iter().filter(|worker| is_worker(&worker.label) && is_long(worker.active_poll)).collect();
    let longest = in_long_polls.iter().filter_map(|worker| worker.active_poll).max().unwrap_or_default();
    let workers = in_long_polls.len();
    if workers < expected.max(1) {
        Health::Ok
    } else if in_long_polls.iter().all(|worker| is_long(worker.active_poll_own)) {
        Health::AllWorkersBlocked { workers, longest }
    } else {
        Health::Starved { workers, longest }
    }
}

/// How long all workers must have been blocked before the process counts as
/// unhealthy. A health probe may restart the process, which is too harsh for a
/// shorter stall.
pub(crate) const UNHEALTHY_AFTER: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_without_a_cpu_are_starved_and_not_blocked() {
        let ms = Duration::from_millis;
        let worker = |age: Option<u64>, own: Option<u64>| WorkerSnapshot {
            label: "0".to_owned(),
            active_poll: age.map(ms),
            active_poll_own: own.map(ms),
            ..WorkerSnapshot::default()
        };
        let health = |workers: &[WorkerSnapshot]| health(workers, 2, ms(100));
        let (blocked, starved) = (worker(Some(471), Some(400)), worker(Some(300), Some(3)));
        let (unsampled, free) = (worker(Some(200), None), worker(None, None));
        let longest = ms(471);
        assert_eq!(
            health(&[blocked.clone(), blocked.clone()]),
            Health::AllWorkersBlocked { workers: 2, longest }
        );
        assert_eq!(health(&[blocked.clone(), starved]), Health::Starved { workers: 2, longest });
        assert_eq!(health(&[blocked.clone(), unsampled]), Health::Starved { workers: 2, longest });
        assert_eq!(health(&[blocked.clone(), free]), Health::Ok);
        assert_eq!(health(&[blocked]), Health::Ok, "the other worker has not polled yet");
    }
}
