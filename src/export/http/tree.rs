//! The tasks of the process with what each of them awaits: `/tasks?tree`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use tokio::runtime::Handle;
use tokio::time::sleep_until;

use crate::attach::document::PsDocument;
use crate::export::http::response::Failure;
use crate::export::source::Source;
use crate::lock::Lock;

/// Requests within this time after a reading get its result.
const MIN_KEPT_TIME: Duration = Duration::from_secs(2);
const MAX_KEPT_TIME: Duration = Duration::from_secs(120);
/// Whatever clients request, readings take at most this part of one CPU.
const MAX_CPU_SHARE: f64 = 0.1;

/// The last reading of the tasks, for a short time.
#[derive(Debug, Default)]
pub(crate) struct TaskTree {
    last: Lock<Option<Kept>>,
}

#[derive(Debug)]
struct Kept {
    document: Arc<PsDocument>,
    until: Instant,
}

impl TaskTree {
    /// Returns what was read shortly before, or reads the tasks. `asking` is
    /// the task of this runtime that asks for it. Only one thread at a time may
    /// call this, one of the blocking pool.
    pub(crate) fn document(
        self: &Arc<Self>,
        source: &dyn Source,
        asking: Option<u64>,
    ) -> Result<Arc<PsDocument>, Failure> {
        let kept = || self.last.lock().as_ref().map(|kept| Arc::clone(&kept.document));
        self.forget_old();
        if let Some(document) = kept() {
            return Ok(document);
        }
        let asking: Vec<_> = asking.into_iter().chain(current_task()).collect();
        let document = Arc::new(source.tasks_tree(&asking).map_err(|error| Failure {
            status: StatusCode::SERVICE_UNAVAILABLE,
            sentence: format!("The tasks cannot be read: {error}.").into(),
        })?);
        let until = Instant::now() + kept_time(document.coverage.cpu_seconds);
        *self.last.lock() = Some(Kept { document: Arc::clone(&document), until });
        let tree = Arc::clone(self);
        Handle::current().spawn(async move {
            sleep_until(until.into()).await;
            tree.forget_old();
        });
        Ok(document)
    }

    fn forget_old(&self) {
        drop(self.last.lock().take_if(|kept| Instant::now() >= kept.until));
    }
}

/// Returns Tokio's id of the current task or job.
pub(crate) fn current_task() -> Option<u64> {
    tokio::task::try_id()?.to_string().parse().ok()
}

fn kept_time(cpu_seconds: f64) -> Duration {
    let seconds =
        (cpu_seconds / MAX_CPU_SHARE).clamp(MIN_KEPT_TIME.as_secs_f64(), MAX_KEPT_TIME.as_secs_f64());
    Duration::try_from_secs_f64(seconds).unwrap_or(MAX_KEPT_TIME)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expensive_reading_is_kept_for_longer() {
        let seconds = |cpu_seconds| kept_time(cpu_seconds).as_secs_f64();
        assert_eq!(seconds(0.01), 2.0);
        assert_eq!(seconds(1.0), 10.0);
        assert_eq!(seconds(1e9), 120.0);
        assert_eq!(seconds(f64::NAN), 120.0);
    }
}
