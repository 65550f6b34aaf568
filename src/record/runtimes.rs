//! The runtimes that a scope watches, and what Tokio itself reports about them.

use std::fmt;

use tokio::runtime::{Handle, Id, RuntimeFlavor, RuntimeMetrics};

use crate::lock::Lock;
use crate::snapshot::{RuntimeSnapshot, UNNAMED_RUNTIME, qualified_worker_label};

/// Identifies a worker: the label of its runtime, empty if it has none, and the
/// worker's index or, for other threads, the name of the thread.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct WorkerLabel {
    pub(crate) runtime: String,
    pub(crate) worker: String,
}

impl fmt::Display for WorkerLabel {
    /// Writes `runtime/worker`, or only the worker if the runtime has no name.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&qualified_worker_label(&self.runtime, &self.worker))
    }
}

/// The watched runtimes. A runtime is added when a hook runs for the first time
/// on one of its threads.
///
/// A handle keeps the memory of its runtime, the runtime keeps the hooks, and
/// the hooks keep the recorder. [`Self::clear`] breaks this reference cycle.
#[derive(Debug, Default)]
pub(crate) struct Runtimes(Lock<Vec<KnownRuntime>>);

#[derive(Debug)]
struct KnownRuntime {
    handle: Handle,
    label: String,
    threads: usize,
}

/// The runtime of the current thread.
#[derive(Debug)]
pub(crate) struct RuntimeIdentity {
    pub(crate) id: Id,
    pub(crate) label: String,
}

impl Runtimes {
    /// Counts a new thread of the current runtime. Returns `None` outside one.
    pub(crate) fn add_current_thread(&self) -> Option<RuntimeIdentity> {
        let handle = Handle::try_current().ok()?;
        let id = handle.id();
        let mut runtimes = self.0.lock();
        if let Some(known) = runtimes.iter_mut().find(|known| known.handle.id() == id) {
            known.threads += 1;
            return Some(RuntimeIdentity { id, label: known.label.clone() });
        }
        let label = free_label(&runtimes, handle.name().unwrap_or(UNNAMED_RUNTIME));
        runtimes.push(KnownRuntime { handle, label: label.clone(), threads: 1 });
        Some(RuntimeIdentity { id, label })
    }

    /// Records that a thread of the runtime has ended. The end of its last
    /// thread removes the runtime.
    pub(crate) fn remove_thread(&self, id: Id) {
        let mut runtimes = self.0.lock();
        let mut removed = None;
        if let Some(index) = runtimes.iter().position(|known| known.handle.id() == id) {
            runtimes[index].threads -= 1;
            if runtimes[index].threads == 0 {
                removed = Some(runtimes.swap_remove(index));
            }
        }
        // Dropping the last handle may run the clean-up of the runtime, which
        // must not happen while the lock is held.
        drop(runtimes);
        drop(removed);
    }

    pub(crate) fn clear(&self) {
        let all = std::mem::take(&mut *self.0.lock());
        drop(all);
    }

    /// Returns each runtime's label and handle. A handle keeps the memory of
    /// its runtime.
    #[cfg(feature = "tokio-metrics")]
    pub(crate) fn handles(&self) -> Vec<(String, Handle)> {
        self.0.lock().iter().map(|known| (known.label.clone(), known.handle.clone())).collect()
    }

    /// Returns each runtime's label and Tokio's own metrics of it.
    pub(crate) fn metrics(&self) -> Vec<(String, RuntimeMetrics)> {
        self.0.lock().iter().map(|known| (known.label.clone(), known.handle.metrics())).collect()
    }

    /// Returns whether a runtime is multi-threaded, and its metrics.
    pub(crate) fn metrics_by_id(&self, id: Id) -> Option<(bool, RuntimeMetrics)> {
        let runtimes = self.0.lock();
        let handle = &runtimes.iter().find(|known| known.handle.id() == id)?.handle;
        Some((handle.runtime_flavor() == RuntimeFlavor::MultiThread, handle.metrics()))
    }

    /// Returns the metrics of the runtime with that label.
    #[cfg(not(tokio_unstable))]
    pub(crate) fn metrics_by_label(&self, label: &str) -> Option<RuntimeMetrics> {
        self.0.lock().iter().find(|known| known.label == label).map(|known| known.handle.metrics())
    }

    pub(crate) fn snapshots(&self) -> Vec<RuntimeSnapshot> {
        let mut snapshots: Vec<_> = self.metrics().into_iter().map(snapshot).collect();
        snapshots.sort_by(|a, b| a.name.cmp(&b.name));
        snapshots
    }
}

/// Returns the name or, if a live runtime has it, the name with a number.
fn free_label(runtimes: &[KnownRuntime], name: &str) -> String {
    let is_free = |label: &String| runtimes.iter().all(|known| known.label != *label);
    let numbered = (2..).map(|n| format!("{name}#{n}"));
    std::iter::once(name.to_owned()).chain(numbered).find(is_free).unwrap_or_default()
}

/// Returns the depth of a worker's local queue.
#[cfg(tokio_unstable)]
pub(crate) fn local_queue_depth(metrics: &[(String, RuntimeMetrics)], label: &WorkerLabel) -> Option<usize> {
    let (_, metrics) = metrics.iter().find(|(runtime, _)| *runtime == label.runtime)?;
    let worker = label.worker.parse().ok().filter(|worker| *worker < metrics.num_workers())?;
    Some(metrics.worker_local_queue_depth(worker))
}

/// Returns `None`: Tokio reports the local queues only with `tokio_unstable`.
#[cfg(not(tokio_unstable))]
pub(crate) fn local_queue_depth(
    _metrics: &[(String, RuntimeMetrics)],
    _label: &WorkerLabel,
) -> Option<usize> {
    None
}

fn snapshot((name, metrics): (String, RuntimeMetrics)) -> RuntimeSnapshot {
    RuntimeSnapshot {
        name,
        workers: metrics.num_workers(),
        alive_tasks: metrics.num_alive_tasks(),
        global_queue_depth: metrics.global_queue_depth(),
        #[cfg(tokio_unstable)]
        blocking_threads: Some(metrics.num_blocking_threads()),
        #[cfg(tokio_unstable)]
        idle_blocking_threads: Some(metrics.num_idle_blocking_threads()),
        #[cfg(tokio_unstable)]
        blocking_queue_depth: Some(metrics.blocking_queue_depth()),
        #[cfg(not(tokio_unstable))]
        blocking_threads: None,
        #[cfg(not(tokio_unstable))]
        idle_blocking_threads: None,
        #[cfg(not(tokio_unstable))]
        blocking_queue_depth: None,
    }
}
