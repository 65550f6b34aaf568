//! The tasks of the process with what each of them awaits: `/tasks?tree`.

use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};
use std::{fmt, io};

use axum::http::StatusCode;
use tokio::runtime::Handle;
use tokio::time::sleep_until;

use crate::attach::document::PsDocument;
use crate::attach::error::AttachError;
use crate::export::http::response::Failure;
use crate::export::source::Source;
use crate::lock::Lock;
use crate::owned_thread::OwnedThread;

/// The name of the thread in debuggers and `top`.
const THREAD_NAME: &str = "loopscope-tasks";

/// Requests within this time after a reading get its result.
const MIN_KEPT_TIME: Duration = Duration::from_secs(2);
const MAX_KEPT_TIME: Duration = Duration::from_secs(120);
/// Whatever clients request, readings take at most this part of one CPU.
const MAX_CPU_SHARE: f64 = 0.1;

/// Reads the tasks, and keeps the result for a short time.
#[derive(Debug)]
pub(crate) struct TaskTree {
    source: SharedSource,
    last: Lock<Option<Kept>>,
    reader: Lock<Option<Reader>>,
}

struct SharedSource(Arc<dyn Source>);

impl fmt::Debug for SharedSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SharedSource")
    }
}

#[derive(Debug)]
struct Kept {
    document: Arc<PsDocument>,
    until: Instant,
}

type Reply = mpsc::SyncSender<Result<PsDocument, AttachError>>;

/// The thread that reads the tasks. It remains for the next reading, because
/// the allocator of the C library keeps the memory of each thread that has
/// ended apart.
#[derive(Debug)]
struct Reader {
    // Dropped first: the thread then ends.
    requests: mpsc::Sender<(Vec<u64>, Reply)>,
    _thread: OwnedThread,
}

impl Reader {
    fn start(source: Arc<dyn Source>) -> io::Result<Self> {
        let (requests, received) = mpsc::channel::<(Vec<u64>, Reply)>();
        let read = move || {
            for (asking, reply) in received {
                // Nobody waits for the result any more: no error.
                let _ = reply.send(source.tasks_tree(&asking));
            }
        };
        Ok(Self { requests, _thread: OwnedThread::spawn(THREAD_NAME, read)? })
    }
}

impl TaskTree {
    pub(crate) fn new(source: Arc<dyn Source>) -> Self {
        Self { source: SharedSource(source), last: Lock::default(), reader: Lock::default() }
    }

    /// Returns what was read shortly before, or reads the tasks. `asking` is
    /// the task of this runtime that asks for it. Only one thread at a time may
    /// call this, one of the blocking pool.
    pub(crate) fn document(self: &Arc<Self>, asking: Option<u64>) -> Result<Arc<PsDocument>, Failure> {
        self.forget_old();
        if let Some(kept) = &*self.last.lock() {
            return Ok(Arc::clone(&kept.document));
        }
        let document = Arc::new(self.read(asking)?);
        let until = Instant::now() + kept_time(document.coverage.cpu_seconds);
        *self.last.lock() = Some(Kept { document: Arc::clone(&document), until });
        let tree = Arc::clone(self);
        Handle::current().spawn(async move {
            sleep_until(until.into()).await;
            tree.forget_old();
        });
        Ok(document)
    }

    fn read(&self, asking: Option<u64>) -> Result<PsDocument, Failure> {
        let failed = |reason: &dyn fmt::Display| Failure {
            status: StatusCode::SERVICE_UNAVAILABLE,
            sentence: format!("The tasks cannot be read: {reason}.").into(),
        };
        let asking: Vec<_> = asking.into_iter().chain(current_task()).collect();
        let (reply, result) = mpsc::sync_channel(1);
        {
            let mut reader = self.reader.lock();
            let reader = match &mut *reader {
                Some(reader) => reader,
                none => {
                    none.insert(Reader::start(Arc::clone(&self.source.0)).map_err(|error| failed(&error))?)
                }
            };
            // An error shows below that the thread has ended.
            let _ = reader.requests.send((asking, reply));
        }
        match result.recv() {
            Ok(read) => read.map_err(|error| failed(&error)),
            Err(_) => {
                // After a panic, the next request starts another thread.
                drop(self.reader.lock().take());
                Err(failed(&"the thread that reads them has ended"))
            }
        }
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
