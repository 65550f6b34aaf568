//! The modules that the slot's source imports.

/// loom's atomics. An access to a common counter precedes each access.
///
/// loom only tries different orders of accesses that depend on each other. It
/// assumes that a store depends on nothing but the same thread's preceding
/// load. Without the counter, loom would therefore never interrupt the slot's
/// writer. The counter makes every access depend on every other. It is relaxed,
/// so it adds no ordering to those of the slot.
pub(crate) mod sync {
    use loom::sync::atomic;
    pub(crate) use loom::sync::atomic::Ordering::{self, Acquire, Relaxed, Release, SeqCst};
    pub(crate) use loom::sync::atomic::fence;

    loom::lazy_static! {
        static ref STEPS: atomic::AtomicUsize = atomic::AtomicUsize::new(0);
    }

    macro_rules! stepped {
        ($($atomic:ident $value:ty),*) => {$(
            #[derive(Debug, Default)]
            pub(crate) struct $atomic(atomic::$atomic);

            impl $atomic {
                pub(crate) fn new(value: $value) -> Self {
                    Self(atomic::$atomic::new(value))
                }

                pub(crate) fn load(&self, order: Ordering) -> $value {
                    STEPS.fetch_add(1, Relaxed);
                    self.0.load(order)
                }

                pub(crate) fn store(&self, value: $value, order: Ordering) {
                    STEPS.fetch_add(1, Relaxed);
                    self.0.store(value, order);
                }
            }
        )*};
    }

    stepped!(AtomicBool bool, AtomicU32 u32, AtomicU64 u64);
}

pub(crate) mod clock {
    pub(crate) type Ticks = u64;
}

pub(crate) mod kinds {
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(crate) struct KindId(u32);

    impl KindId {
        pub(crate) const OTHER: Self = Self(0);

        pub(crate) fn as_u32(self) -> u32 {
            self.0
        }

        pub(crate) fn from_u32(id: u32) -> Self {
            Self(id)
        }
    }
}

#[path = "../../../src/record/slot.rs"]
pub(crate) mod slot;
