//! The modules that the sources of the slot and of the idle park import.

pub(crate) mod sync {
    pub(crate) use std::sync::OnceLock;

    pub(crate) use loom::thread::Thread;

    pub(crate) use crate::atomics::{
        Acquire, AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Relaxed, Release, SeqCst, fence,
    };

    pub(crate) mod thread {
        use std::time::Duration;

        pub(crate) use loom::thread::{current, park};

        pub(crate) fn park_timeout(_: Duration) {
            unreachable!("the model has no time");
        }
    }
}

pub(crate) mod clock {
    pub(crate) type Ticks = u64;
}

pub(crate) mod kinds {
    #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
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

#[path = "../../../src/record/idle_park.rs"]
pub(crate) mod idle_park;
#[path = "../../../src/record/slot.rs"]
pub(crate) mod slot;
