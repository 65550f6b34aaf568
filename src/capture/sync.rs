//! The atomics of the targets. They are those of the standard library here.
//! `tests/slot_model` compiles the same source of the targets with those of
//! loom.

pub(crate) use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
pub(crate) use std::sync::atomic::{AtomicI32, AtomicPtr, AtomicU64, AtomicUsize};
