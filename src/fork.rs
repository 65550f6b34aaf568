//! Forked child processes. A child has a copy of this process's memory, but
//! only the thread that called `fork`: no thread of loopscope runs there, and a
//! lock that another thread held at that moment is held for ever.
//!
//! Code on the poll path compares [`generation`]s. Other code compares
//! [`ProcessIdentity`]s, which also differ if the child was made by a direct
//! system call.
#![allow(unsafe_code)]

#[cfg(all(unix, feature = "telemetry"))]
use std::os::fd::{AsRawFd as _, BorrowedFd};
use std::process;
#[cfg(all(unix, feature = "telemetry"))]
use std::sync::atomic::AtomicI32;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64};

static GENERATION: AtomicU32 = AtomicU32::new(1);

/// The [`ProcessIdentity`] in which the last scope has started, as one number;
/// zero before the first.
static LAST_START: AtomicU64 = AtomicU64::new(0);

/// How many threads write a report now, and so may hold locks of a subscriber.
/// In a child, the number from the moment of the `fork` remains.
static WRITERS: AtomicU32 = AtomicU32::new(0);

/// Returns a number that differs between a process and its forked children. It
/// is never zero. It stays 1 until [`count_forks`] is called.
#[inline]
pub(crate) fn generation() -> u32 {
    GENERATION.load(Relaxed)
}

/// Makes each `fork` of this process, from now on, change [`generation`] in the
/// child.
pub(crate) fn count_forks() {
    static IS_COUNTING: AtomicBool = AtomicBool::new(false);
    if !IS_COUNTING.swap(true, Relaxed) {
        #[cfg(unix)]
        {
            // SAFETY: the handler is async-signal-safe, as code after a `fork`
            // must be: it adds to a static.
            unsafe { libc::pthread_atfork(None, None, Some(begin_generation)) };
        }
    }
}

#[cfg(unix)]
extern "C" fn begin_generation() {
    GENERATION.fetch_add(1, Relaxed);
    #[cfg(feature = "telemetry")]
    for descriptor in &NOT_FOR_CHILDREN {
        let descriptor = descriptor.swap(NO_DESCRIPTOR, Relaxed);
        if descriptor != NO_DESCRIPTOR {
            // SAFETY: the call is async-signal-safe and has no pointers. The
            // descriptor is the copy of one that was open at the `fork` and
            // belongs to loopscope: see `NotForChildren`. Nothing in the child
            // uses it, because its thread does not exist there.
            unsafe { libc::close(descriptor) };
        }
    }
}

#[cfg(all(unix, feature = "telemetry"))]
const NO_DESCRIPTOR: i32 = -1;

/// The descriptors that a forked child closes. A descriptor for which there is
/// no free entry stays open there.
#[cfg(all(unix, feature = "telemetry"))]
static NOT_FOR_CHILDREN: [AtomicI32; 16] = [const { AtomicI32::new(NO_DESCRIPTOR) }; 16];

/// Makes forked children close a descriptor at the `fork`: later, the number
/// may be that of another file. It must be dropped before the descriptor is
/// closed.
#[cfg(all(unix, feature = "telemetry"))]
#[derive(Debug)]
pub(crate) struct NotForChildren {
    entry: Option<&'static AtomicI32>,
    generation: u32,
}

#[cfg(all(unix, feature = "telemetry"))]
impl NotForChildren {
    pub(crate) fn new(descriptor: BorrowedFd<'_>) -> Self {
        let descriptor = descriptor.as_raw_fd();
        let take =
            |entry: &&AtomicI32| entry.compare_exchange(NO_DESCRIPTOR, descriptor, Relaxed, Relaxed).is_ok();
        Self { entry: NOT_FOR_CHILDREN.iter().find(take), generation: generation() }
    }
}

#[cfg(all(unix, feature = "telemetry"))]
impl Drop for NotForChildren {
    fn drop(&mut self) {
        // In a child, the entry may already belong to another descriptor.
        if let Some(entry) = self.entry.filter(|_| self.generation == generation()) {
            entry.store(NO_DESCRIPTOR, Relaxed);
        }
    }
}

/// Identifies a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ProcessIdentity {
    id: u32,
    generation: u32,
}

impl ProcessIdentity {
    /// Returns the identity of this process. It makes a system call.
    pub(crate) fn current() -> Self {
        Self { id: process::id(), generation: generation() }
    }

    /// Returns whether this is the identity of this process. It makes a system
    /// call.
    pub(crate) fn is_current(self) -> bool {
        self == Self::current()
    }

    fn as_u64(self) -> u64 {
        u64::from(self.id) << 32 | u64::from(self.generation)
    }
}

/// Notes that a scope has started in this process.
pub(crate) fn note_start() {
    LAST_START.store(ProcessIdentity::current().as_u64(), Relaxed);
}

/// Returns whether a scope has started in this process, not only in the one
/// from which it was forked. It makes a system call.
pub(crate) fn has_started_scope() -> bool {
    LAST_START.load(Relaxed) == ProcessIdentity::current().as_u64()
}

/// Marks the calling thread as one that writes a report, until it is dropped.
#[derive(Debug)]
pub(crate) struct WritingReport(());

impl WritingReport {
    pub(crate) fn begin() -> Self {
        WRITERS.fetch_add(1, Relaxed);
        Self(())
    }
}

impl Drop for WritingReport {
    fn drop(&mut self) {
        WRITERS.fetch_sub(1, Relaxed);
    }
}

/// Emits a warning in a forked child, unless a thread of loopscope held a lock
/// of the subscriber at the `fork`. A thread of the application may hold it
/// too, so only a call of the application does this, never a hook.
pub(crate) fn warn_in_child(text: &str) {
    if WRITERS.load(Relaxed) == 0 {
        tracing::warn!(target: "loopscope", "{text}");
    }
}
