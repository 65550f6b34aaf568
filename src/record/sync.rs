//! The atomics of the slot: the standard library's here, loom's in
//! `tests/slot_model`, which compiles the slot's own source.

pub(crate) use std::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
pub(crate) use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, fence};
