//! A counter without read-modify-write instructions.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

/// An atomic number that only one thread writes. Any thread may read it.
#[derive(Debug, Default)]
#[repr(transparent)]
pub(crate) struct SingleWriterU64(AtomicU64);

impl SingleWriterU64 {
    /// Adds `n`. Only the owning thread may call it: it is a load and a store,
    /// not a read-modify-write, so the additions of a second writer could be
    /// lost.
    #[inline]
    pub(crate) fn add(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed);
    }

    #[inline]
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }

    /// Sets the number to `n` if `n` is larger. Only the owning thread may call
    /// it.
    #[inline]
    pub(crate) fn raise_to(&self, n: u64) {
        if n > self.0.load(Relaxed) {
            self.0.store(n, Relaxed);
        }
    }
}
