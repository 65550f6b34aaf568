//! The runtimes that a scope watches, as far as Tokio itself tells about them.

use std::sync::{Mutex, PoisonError};

use tokio::runtime::{Handle, RuntimeMetrics};

use super::RuntimeSnapshot;

/// Known by a handle that a worker takes as it polls for the first time. A
/// handle holds its runtime's memory, and the runtime holds the hooks that hold
/// the recorder, so [`Self::clear`] has to cut that ring.
#[derive(Debug, Default)]
pub(crate) struct Runtimes(Mutex<Vec<(Handle, usize)>>);

impl Runtimes {
    /// A worker of the current runtime has begun.
    pub(crate) fn enter(&self) -> Option<tokio::runtime::Id> {
        let handle = Handle::try_current().ok()?;
        let id = handle.id();
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match known.iter_mut().find(|(other, _)| other.id() == id) {
            Some((_, workers)) => *workers += 1,
            None => known.push((handle, 1)),
        }
        Some(id)
    }

    /// A worker of that runtime has ended; with the last one goes the runtime.
    pub(crate) fn leave(&self, id: tokio::runtime::Id) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut gone = None;
        if let Some(index) = known.iter().position(|(handle, _)| handle.id() == id) {
            known[index].1 -= 1;
            if known[index].1 == 0 {
                gone = Some(known.swap_remove(index));
            }
        }
        // Dropping the last handle may run the runtime's own clean-up: not
        // while the lock is held.
        drop(known);
        drop(gone);
    }

    pub(crate) fn clear(&self) {
        let all = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        drop(all);
    }

    fn metrics(&self) -> Vec<RuntimeMetrics> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().map(|(h, _)| h.metrics()).collect()
    }

    pub(crate) fn snapshots(&self) -> Vec<RuntimeSnapshot> {
        self.metrics().iter().map(snapshot).collect()
    }

    /// The depth of a worker's local queue, where there is one runtime and so
    /// no doubt whose worker it is.
    #[cfg(tokio_unstable)]
    pub(crate) fn local_queue_depth(&self, label: &str) -> Option<usize> {
        let [metrics] = &self.metrics()[..] else { return None };
        let worker = label.parse().ok().filter(|worker| *worker < metrics.num_workers())?;
        Some(metrics.worker_local_queue_depth(worker))
    }

    #[cfg(not(tokio_unstable))]
    pub(crate) fn local_queue_depth(&self, _label: &str) -> Option<usize> {
        None
    }
}

fn snapshot(metrics: &RuntimeMetrics) -> RuntimeSnapshot {
    RuntimeSnapshot {
        workers: metrics.num_workers(),
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
