//! loom's atomics. An access to a common counter precedes each access.
//!
//! loom only tries different orders of accesses that depend on each other. It
//! assumes that a store depends on nothing but the same thread's preceding
//! load. Without the counter, loom would therefore never interrupt the slot's
//! writer. The counter makes every access depend on every other. It is relaxed,
//! so it adds no ordering to those of the library.

use loom::sync::atomic;
pub(crate) use loom::sync::atomic::Ordering::{self, AcqRel, Acquire, Relaxed, Release, SeqCst};
pub(crate) use loom::sync::atomic::fence;

loom::lazy_static! {
    static ref STEPS: atomic::AtomicUsize = atomic::AtomicUsize::new(0);
}

fn step() {
    STEPS.fetch_add(1, Relaxed);
}

macro_rules! stepped {
    ($($atomic:ident($value:ty) [$($T:ident)?])*) => {$(
        #[derive(Debug)]
        pub(crate) struct $atomic $(<$T>)? (atomic::$atomic $(<$T>)?);

        impl $(<$T>)? $atomic $(<$T>)? {
            pub(crate) fn new(value: $value) -> Self {
                Self(atomic::$atomic::new(value))
            }

            pub(crate) fn load(&self, order: Ordering) -> $value {
                step();
                self.0.load(order)
            }

            pub(crate) fn store(&self, value: $value, order: Ordering) {
                step();
                self.0.store(value, order);
            }

            pub(crate) fn swap(&self, value: $value, order: Ordering) -> $value {
                step();
                self.0.swap(value, order)
            }

            pub(crate) fn compare_exchange(
                &self,
                current: $value,
                new: $value,
                success: Ordering,
                failure: Ordering,
            ) -> Result<$value, $value> {
                step();
                self.0.compare_exchange(current, new, success, failure)
            }
        }
    )*};
}

stepped! {
    AtomicBool(bool) []
    AtomicI32(i32) []
    AtomicU32(u32) []
    AtomicU64(u64) []
    AtomicUsize(usize) []
    AtomicPtr(*mut T) [T]
}

impl AtomicU64 {
    pub(crate) fn fetch_max(&self, value: u64, order: Ordering) -> u64 {
        step();
        self.0.fetch_max(value, order)
    }
}

macro_rules! zero_by_default {
    ($($atomic:ident)*) => {$(
        impl Default for $atomic {
            fn default() -> Self {
                Self::new(Default::default())
            }
        }
    )*};
}

zero_by_default!(AtomicBool AtomicI32 AtomicU32 AtomicU64 AtomicUsize);

impl<T> Default for AtomicPtr<T> {
    fn default() -> Self {
        Self::new(std::ptr::null_mut())
    }
}
