//! What was found in the other process, for exporters.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::attach::document::PsDocument;
use crate::attach::error::AttachError;
use crate::attach::ps;
use crate::export::source::{Health, Source};
use crate::finding::{Finding, FindingsDocument, StallsDocument};
use crate::process::Process;
use crate::scope::state::{self, ScopeState, UNHEALTHY_AFTER};
use crate::snapshot::{FlightRecording, RecordedPolls, Snapshot};

/// The findings of a process that is watched from outside.
#[derive(Debug)]
pub(super) struct ProcessSource {
    process: Process,
    program: String,
    state: Arc<ScopeState>,
}

impl ProcessSource {
    pub(super) fn new(process: Process, state: Arc<ScopeState>) -> Self {
        let program = process.program_path().unwrap_or_default().to_string_lossy().into_owned();
        Self { process, program, state }
    }
}

impl Source for ProcessSource {
    fn snapshot(&self) -> Snapshot {
        self.state.snapshot()
    }

    fn findings(&self) -> FindingsDocument {
        let mut document = self.state.findings();
        let pid = self.process.other_pid().and_then(|pid| u32::try_from(pid).ok());
        document.process.pid = pid.unwrap_or(document.process.pid);
        document.process.program.clone_from(&self.program);
        document.process.all_tasks = false;
        document
    }

    fn ended_findings(&self) -> Vec<Finding> {
        self.state.ended_findings()
    }

    fn stalls(&self, since: Option<SystemTime>) -> StallsDocument {
        self.state.stalls(since)
    }

    #[cfg(feature = "tokio-metrics")]
    fn runtimes(&self) -> Vec<(String, tokio::runtime::Handle)> {
        Vec::new()
    }

    fn flight(&self, length: Duration) -> FlightRecording {
        self.state.flight(length)
    }

    fn recorded_polls(&self, since: SystemTime) -> RecordedPolls {
        self.state.recorded_polls(since)
    }

    fn tasks_tree(&self, _: &[u64]) -> Result<PsDocument, AttachError> {
        ps::ps(self.process.other_pid().unwrap_or_default())
    }

    fn health(&self) -> Health {
        let snapshot = self.state.snapshot();
        let is_worker = |label: &str| label.starts_with(|first: char| first.is_ascii_digit());
        let workers = snapshot.workers.iter().filter(|worker| is_worker(&worker.label)).count();
        state::health(&snapshot.workers, workers, snapshot.threshold.max(UNHEALTHY_AFTER))
    }
}
