//! The runtimes that a scope watches, as far as Tokio itself tells about them.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::runtime::{Handle, Id, RuntimeFlavor, RuntimeMetrics};

use crate::record::worker::WorkerLabel;
use crate::snapshot::{RuntimeSnapshot, UNNAMED_RUNTIME};

/// Known by a handle that a thread takes as it is seen for the first time. A
/// handle holds its runtime's memory, and the runtime holds the hooks that hold
/// the recorder, so [`Self::clear`] has to cut that ring.
#[derive(Debug, Default)]
pub(crate) struct Runtimes(Mutex<Vec<KnownRuntime>>);

#[derive(Debug)]
struct KnownRuntime {
    handle: Handle,
    label: String,
    threads: usize,
}

/// A worker's own runtime.
#[derive(Debug)]
pub(crate) struct Entered {
    pub(crate) id: Id,
    pub(crate) label: String,
}

impl Runtimes {
    /// A thread of the current runtime has begun.
    pub(crate) fn enter(&self) -> Option<Entered> {
        let handle = Handle::try_current().ok()?;
        let id = handle.id();
        let mut known = self.known();
        if let Some(known) = known.iter_mut().find(|known| known.handle.id() == id) {
            known.threads += 1;
            return Some(Entered { id, label: known.label.clone() });
        }
        let label = free_label(&known, handle.name().unwrap_or(UNNAMED_RUNTIME));
        known.push(KnownRuntime { handle, label: label.clone(), threads: 1 });
        Some(Entered { id, label })
    }

    /// A thread of that runtime has ended; with the last one goes the runtime.
    pub(crate) fn leave(&self, id: Id) {
        let mut known = self.known();
        let mut gone = None;
        if let Some(index) = known.iter().position(|known| known.handle.id() == id) {
            known[index].threads -= 1;
            if known[index].threads == 0 {
                gone = Some(known.swap_remove(index));
            }
        }
        // Dropping the last handle may run the runtime's own clean-up: not
        // while the lock is held.
        drop(known);
        drop(gone);
    }

    pub(crate) fn clear(&self) {
        let all = std::mem::take(&mut *self.known());
        drop(all);
    }

    fn known(&self) -> MutexGuard<'_, Vec<KnownRuntime>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Each runtime's handle, by its label. Whoever keeps one keeps the runtime's
    /// memory.
    #[cfg(feature = "tokio-metrics")]
    pub(crate) fn handles(&self) -> Vec<(String, Handle)> {
        self.known().iter().map(|known| (known.label.clone(), known.handle.clone())).collect()
    }

    /// Tokio's own figures of each runtime, by its label.
    pub(crate) fn metrics(&self) -> Vec<(String, RuntimeMetrics)> {
        self.known().iter().map(|known| (known.label.clone(), known.handle.metrics())).collect()
    }

    /// Those of one runtime, and whether it has threads of its own.
    pub(crate) fn metrics_of(&self, id: Id) -> Option<(bool, RuntimeMetrics)> {
        let known = self.known();
        let handle = &known.iter().find(|known| known.handle.id() == id)?.handle;
        Some((handle.runtime_flavor() == RuntimeFlavor::MultiThread, handle.metrics()))
    }

    /// Those of the runtime with that label.
    #[cfg(not(tokio_unstable))]
    pub(crate) fn metrics_by_label(&self, label: &str) -> Option<RuntimeMetrics> {
        self.known().iter().find(|known| known.label == label).map(|known| known.handle.metrics())
    }

    pub(crate) fn snapshots(&self) -> Vec<RuntimeSnapshot> {
        let mut snapshots: Vec<_> = self.metrics().into_iter().map(snapshot).collect();
        snapshots.sort_by(|a, b| a.name.cmp(&b.name));
        snapshots
    }
}

/// The name itself, or, where a living runtime has it, the name with a number.
fn free_label(known: &[KnownRuntime], name: &str) -> String {
    let is_free = |label: &String| known.iter().all(|known| known.label != *label);
    let numbered = (2..).map(|n| format!("{name}#{n}"));
    std::iter::once(name.to_owned()).chain(numbered).find(is_free).unwrap_or_default()
}

/// The depth of a worker's local queue.
#[cfg(tokio_unstable)]
pub(crate) fn local_queue_depth(metrics: &[(String, RuntimeMetrics)], label: &WorkerLabel) -> Option<usize> {
    let (_, metrics) = metrics.iter().find(|(runtime, _)| *runtime == label.runtime)?;
    let worker = label.worker.parse().ok().filter(|worker| *worker < metrics.num_workers())?;
    Some(metrics.worker_local_queue_depth(worker))
}

/// The depth of a worker's local queue.
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
