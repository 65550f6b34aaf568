//! What the slot and the idle park need of the standard library.
//! `tests/slot_model` compiles the same sources with loom's versions.

pub(crate) use std::sync::OnceLock;
pub(crate) use std::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
pub(crate) use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, fence};
pub(crate) use std::thread::{self, Thread};
