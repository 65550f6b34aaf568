//! The atomics of the slot. They are those of the standard library here.
//! `tests/slot_model` compiles the same source of the slot with those of loom.

pub(crate) use std::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
pub(crate) use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, fence};
