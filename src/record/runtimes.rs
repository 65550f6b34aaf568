//! The runtimes that a scope watches, and what Tokio itself reports about them.

use std::fmt;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::{AcqRel, Acquire};

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

/// How a thread belongs to its runtime.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Membership {
    /// A worker, for as long as the thread lives.
    Worker,
    /// A thread that drives a current-thread runtime while it is in `block_on`.
    /// No hook tells when it leaves, and the runtime may end after that.
    BlockOn,
    /// The thread of a root future, next to the runtime's workers. It may
    /// outlive the runtime.
    Root,
}

/// The runtime of a thread.
#[derive(Debug)]
pub(crate) struct ThreadRuntime {
    pub(crate) id: Id,
    pub(crate) membership: Membership,
    /// Whether the thread counts as one of those that are in the runtime.
    is_inside: AtomicBool,
}

/// The watched runtimes. A runtime is added when a hook runs for the first time
/// on one of its threads.
///
/// A handle keeps the memory and the descriptors of its runtime, so it is kept
/// only while a thread is in the runtime. It also keeps the hooks, and they
/// keep the recorder. [`Self::clear`] breaks this reference cycle.
#[derive(Debug, Default)]
pub(crate) struct Runtimes(Lock<Vec<KnownRuntime>>);

#[derive(Debug)]
struct KnownRuntime {
    id: Id,
    label: String,
    /// `None` if no thread is in the runtime.
    handle: Option<Handle>,
    threads_inside: usize,
    /// How many threads belong to the runtime, inside or not.
    threads: usize,
}

impl Runtimes {
    /// Adds the calling thread to its runtime. Returns the runtime's label and
    /// how the thread belongs to it, or `None` outside of a runtime.
    /// `has_hooks` returns whether the hooks of a runtime still exist: then the
    /// runtime may still be used, although no thread is in it.
    pub(crate) fn add_current_thread(
        &self,
        is_worker: bool,
        has_hooks: impl Fn(Id) -> bool,
    ) -> Option<(String, ThreadRuntime)> {
        let handle = Handle::try_current().ok()?;
        let id = handle.id();
        let membership = match handle.runtime_flavor() {
            RuntimeFlavor::CurrentThread => Membership::BlockOn,
            _ if is_worker => Membership::Worker,
            _ => Membership::Root,
        };
        let is_counted = membership != Membership::Root;
        let mut runtimes = self.0.lock();
        let index = match runtimes.iter().position(|known| known.id == id) {
            Some(index) => Some(index),
            None if is_counted => {
                let label = free_label(&runtimes, handle.name().unwrap_or(UNNAMED_RUNTIME), &has_hooks);
                runtimes.push(KnownRuntime { id, label, handle: None, threads_inside: 0, threads: 0 });
                Some(runtimes.len() - 1)
            }
            None => None,
        };
        let runtime = ThreadRuntime { id, membership, is_inside: AtomicBool::new(is_counted) };
        let Some(index) = index else {
            return Some((
                free_label(&runtimes, handle.name().unwrap_or(UNNAMED_RUNTIME), &has_hooks),
                runtime,
            ));
        };
        let known = &mut runtimes[index];
        if is_counted {
            known.threads += 1;
            known.threads_inside += 1;
            known.handle.get_or_insert(handle);
        }
        Some((known.label.clone(), runtime))
    }

    /// Removes a thread that [`Self::add_current_thread`] has added.
    pub(crate) fn remove_thread(&self, runtime: &ThreadRuntime) {
        if runtime.membership == Membership::Root {
            return;
        }
        let handle = self.leave(runtime);
        let mut runtimes = self.0.lock();
        if let Some(index) = runtimes.iter().position(|known| known.id == runtime.id) {
            runtimes[index].threads -= 1;
            if runtimes[index].threads == 0 {
                runtimes.swap_remove(index);
            }
        }
        drop(runtimes);
        drop(handle);
    }

    /// Notes that a thread has left its runtime, which may have ended. Returns
    /// the handle if the thread was the last one. Dropping it may run the
    /// clean-up of the runtime, so the caller must hold no lock.
    #[must_use]
    pub(crate) fn leave(&self, runtime: &ThreadRuntime) -> Option<Handle> {
        if !runtime.is_inside() || !runtime.is_inside.swap(false, AcqRel) {
            return None;
        }
        let mut runtimes = self.0.lock();
        let known = runtimes.iter_mut().find(|known| known.id == runtime.id)?;
        known.threads_inside -= 1;
        if known.threads_inside == 0 { known.handle.take() } else { None }
    }

    /// Notes that the calling thread is again in a runtime that it has left.
    #[cold]
    fn enter_again(&self, runtime: &ThreadRuntime) {
        let Ok(handle) = Handle::try_current() else { return };
        let mut runtimes = self.0.lock();
        if handle.id() == runtime.id
            && let Some(known) = runtimes.iter_mut().find(|known| known.id == runtime.id)
            && !runtime.is_inside.swap(true, AcqRel)
        {
            known.threads_inside += 1;
            known.handle.get_or_insert(handle);
        }
    }

    /// Notes that the calling thread is in its runtime.
    #[inline]
    pub(crate) fn enter(&self, runtime: &ThreadRuntime) {
        if runtime.membership == Membership::BlockOn && !runtime.is_inside() {
            self.enter_again(runtime);
        }
    }

    pub(crate) fn clear(&self) {
        let all = std::mem::take(&mut *self.0.lock());
        drop(all);
    }

    /// Returns each runtime's label and handle. A handle keeps the memory of
    /// its runtime.
    #[cfg(feature = "tokio-metrics")]
    pub(crate) fn handles(&self) -> Vec<(String, Handle)> {
        let runtimes = self.0.lock();
        runtimes.iter().filter_map(|known| Some((known.label.clone(), known.handle.clone()?))).collect()
    }

    /// Returns each runtime's label and Tokio's own metrics of it.
    pub(crate) fn metrics(&self) -> Vec<(String, RuntimeMetrics)> {
        let runtimes = self.0.lock();
        runtimes
            .iter()
            .filter_map(|known| Some((known.label.clone(), known.handle.as_ref()?.metrics())))
            .collect()
    }

    /// Returns whether a runtime is multi-threaded, and its metrics.
    pub(crate) fn metrics_by_id(&self, id: Id) -> Option<(bool, RuntimeMetrics)> {
        let runtimes = self.0.lock();
        let handle = runtimes.iter().find(|known| known.id == id)?.handle.as_ref()?;
        Some((handle.runtime_flavor() == RuntimeFlavor::MultiThread, handle.metrics()))
    }

    /// Returns the metrics of the runtime with that label.
    #[cfg(not(tokio_unstable))]
    pub(crate) fn metrics_by_label(&self, label: &str) -> Option<RuntimeMetrics> {
        let runtimes = self.0.lock();
        let handles =
            runtimes.iter().filter(|known| known.label == label).find_map(|known| known.handle.as_ref());
        handles.map(Handle::metrics)
    }

    pub(crate) fn snapshots(&self) -> Vec<RuntimeSnapshot> {
        let mut snapshots: Vec<_> = self.metrics().into_iter().map(snapshot).collect();
        snapshots.sort_by(|a, b| a.name.cmp(&b.name));
        snapshots
    }
}

impl ThreadRuntime {
    pub(crate) fn is_inside(&self) -> bool {
        self.is_inside.load(Acquire)
    }
}

/// Returns the runtime of the calling thread.
pub(crate) fn current_id() -> Option<Id> {
    Handle::try_current().ok().map(|handle| handle.id())
}

/// Returns the name or, if a runtime that may be live has it, the name with a
/// number.
fn free_label(runtimes: &[KnownRuntime], name: &str, has_hooks: impl Fn(Id) -> bool) -> String {
    let is_live = |known: &&KnownRuntime| known.handle.is_some() || has_hooks(known.id);
    let is_free = |label: &String| runtimes.iter().filter(is_live).all(|known| known.label != *label);
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
