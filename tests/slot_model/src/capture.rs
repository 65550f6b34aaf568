//! The modules that the source of the targets imports.

pub(crate) mod sync {
    pub(crate) use crate::atomics::{
        AcqRel, Acquire, AtomicI32, AtomicPtr, AtomicU64, AtomicUsize, Relaxed, Release,
    };
}

#[path = "../../../src/capture/target.rs"]
pub(crate) mod target;
