//! A place where tasks on different workers wait for one another.

use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Barrier, BarrierWaitResult};

use tokio::runtime::Runtime;

use super::eventually;

/// A barrier for tasks that each block a worker.
///
/// Tokio promises nothing to tasks that block: once in 15,000 rounds, it left
/// the second of two tasks in the queue of the worker that the first one
/// blocked, and no other worker looked for it. So another thread must call
/// [`gather`](Self::gather) or [`try_gather`](Self::try_gather).
pub struct Meeting {
    size: usize,
    arrived: AtomicUsize,
    barrier: Barrier,
}

impl Meeting {
    pub fn new(size: usize) -> Self {
        Self { size, arrived: AtomicUsize::new(0), barrier: Barrier::new(size) }
    }

    /// Blocks the worker until as many tasks wait as the meeting has places.
    pub fn wait(&self) -> BarrierWaitResult {
        self.arrived.fetch_add(1, SeqCst);
        self.barrier.wait()
    }

    /// Waits until the tasks have met for the first time.
    pub fn gather(&self, runtime: &Runtime) {
        eventually("the tasks that meet", || self.try_gather(runtime).then_some(()));
    }

    /// Wakes a parked worker, which takes a task that waits in a queue, unless
    /// the tasks have met. Returns whether they have.
    pub fn try_gather(&self, runtime: &Runtime) -> bool {
        let have_met = self.arrived.load(SeqCst) >= self.size;
        if !have_met {
            drop(runtime.spawn(async {}));
        }
        have_met
    }
}
