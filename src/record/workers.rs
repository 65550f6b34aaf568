//! The workers of a scope: those of live threads, and the totals of the others.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Release};

use crate::lock::Lock;
use crate::record::ended::EndedTotals;
use crate::record::worker::Worker;

/// All workers of a scope.
#[derive(Debug, Default)]
pub(crate) struct Workers {
    inner: Lock<Inner>,
    /// See [`Self::generation`].
    generation: AtomicU64,
}

#[derive(Debug, Default)]
struct Inner {
    /// The workers of live threads, and those of ended threads whose events
    /// were not read yet, by ascending number.
    all: Vec<Arc<Worker>>,
    ended: EndedTotals,
    last_number: usize,
}

impl Workers {
    /// Adds the worker that `create` returns for a number that no other worker
    /// has or had. `create` also gets the workers so far.
    pub(crate) fn add(&self, create: impl FnOnce(usize, &[Arc<Worker>]) -> Worker) -> Arc<Worker> {
        let mut inner = self.inner.lock();
        inner.last_number += 1;
        let worker = Arc::new(create(inner.last_number, &inner.all));
        inner.all.push(Arc::clone(&worker));
        drop(inner);
        self.generation.fetch_add(1, Release);
        worker
    }

    /// Removes a worker whose thread has ended and whose events were read, and
    /// keeps its totals. `kinds` is the number of known kinds. The memory of
    /// the worker is free once its last reader has finished.
    pub(crate) fn remove(&self, worker: &Worker, kinds: usize) {
        let mut inner = self.inner.lock();
        let Inner { all, ended, .. } = &mut *inner;
        let Ok(index) = all.binary_search_by_key(&worker.number, |known| known.number) else { return };
        let removed = all.remove(index);
        ended.add(&removed, kinds, all.iter().map(|worker| &**worker));
        drop(inner);
        self.generation.fetch_add(1, Release);
    }

    /// Returns a number that changes whenever a worker is added or removed.
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Acquire)
    }

    /// Returns the workers that are not removed, by ascending number.
    pub(crate) fn all(&self) -> Vec<Arc<Worker>> {
        self.inner.lock().all.clone()
    }

    /// Returns the workers with a higher number.
    pub(crate) fn added_after(&self, number: usize) -> Vec<Arc<Worker>> {
        let inner = self.inner.lock();
        inner.all[inner.all.partition_point(|worker| worker.number <= number)..].to_vec()
    }

    /// Returns the workers that are not removed, and what `read` takes from the
    /// totals of the others. Every thread is in exactly one of the two.
    pub(crate) fn with_ended<R>(&self, read: impl FnOnce(&EndedTotals) -> R) -> (Vec<Arc<Worker>>, R) {
        let inner = self.inner.lock();
        (inner.all.clone(), read(&inner.ended))
    }
}
