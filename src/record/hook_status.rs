//! The hooks of one call of `Scope::watch`: which of them have been called, for
//! which runtime, and which were replaced.

use std::sync::OnceLock;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;

use tokio::runtime::{Handle, Id};

/// A hook of Tokio's runtime builder that a scope uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
// Without `tokio_unstable`, only the first three exist.
#[cfg_attr(not(tokio_unstable), allow(dead_code))]
pub(crate) enum Hook {
    ThreadStart,
    ThreadPark,
    ThreadUnpark,
    TaskSpawn,
    BeforeTaskPoll,
    AfterTaskPoll,
    TaskTerminate,
}

impl Hook {
    const ALL: [Self; 7] = [
        Self::ThreadStart,
        Self::ThreadPark,
        Self::ThreadUnpark,
        Self::TaskSpawn,
        Self::BeforeTaskPoll,
        Self::AfterTaskPoll,
        Self::TaskTerminate,
    ];

    /// Returns the name of its setter in Tokio's builder.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::ThreadStart => "on_thread_start",
            Self::ThreadPark => "on_thread_park",
            Self::ThreadUnpark => "on_thread_unpark",
            Self::TaskSpawn => "on_task_spawn",
            Self::BeforeTaskPoll => "on_before_task_poll",
            Self::AfterTaskPoll => "on_after_task_poll",
            Self::TaskTerminate => "on_task_terminate",
        }
    }

    /// Describes the consequence of its replacement, as part of a warning.
    pub(crate) fn consequence(self) -> &'static str {
        match self {
            Self::ThreadStart => {
                "named futures on the runtime's blocking pool may be recorded by another scope"
            }
            Self::ThreadPark | Self::ThreadUnpark => "the watchdog cannot sleep while the runtime is idle",
            Self::TaskSpawn => "spawned tasks are not counted",
            Self::BeforeTaskPoll | Self::AfterTaskPoll => {
                "polls of the runtime's tasks are not recorded and blocking calls in them are not found"
            }
            Self::TaskTerminate => "completed tasks are not counted",
        }
    }
}

/// Set when a hook that delimits polls was replaced. Nothing is recorded for
/// this runtime from then on.
const RECORDING_STOPPED: u32 = 1 << 31;

/// The status of the hooks that one call of `Scope::watch` installed.
#[derive(Debug)]
pub(crate) struct HookStatus {
    pub(crate) id: u32,
    /// A bit for each hook that has been called, and [`RECORDING_STOPPED`].
    state: AtomicU32,
    runtime: OnceLock<Id>,
}

impl HookStatus {
    pub(crate) fn new() -> Self {
        static NEXT_ID: AtomicU32 = AtomicU32::new(1);
        Self { id: NEXT_ID.fetch_add(1, Relaxed), state: AtomicU32::new(0), runtime: OnceLock::new() }
    }

    /// Notes that a hook is called. Only the first call writes. Returns whether
    /// to record its event: see [`RECORDING_STOPPED`].
    #[inline]
    pub(crate) fn record_call(&self, hook: Hook) -> bool {
        self.state.load(Relaxed) & (bit(hook) | RECORDING_STOPPED) == bit(hook) || self.first_call(hook)
    }

    #[cold]
    fn first_call(&self, hook: Hook) -> bool {
        // A task may be spawned from another runtime. All other hooks run on a
        // thread of their own runtime.
        if hook != Hook::TaskSpawn
            && let Ok(handle) = Handle::try_current()
        {
            let _ = self.runtime.set(handle.id());
        }
        self.state.fetch_or(bit(hook), Relaxed) & RECORDING_STOPPED == 0
    }

    /// Returns whether a hook has been called.
    pub(crate) fn was_called(&self, hook: Hook) -> bool {
        self.state.load(Relaxed) & bit(hook) != 0
    }

    /// Returns the runtime that calls the hooks. If the builder has built
    /// several, it is the one that called first.
    pub(crate) fn runtime(&self) -> Option<Id> {
        self.runtime.get().copied()
    }

    /// Stops recording for this runtime: see [`RECORDING_STOPPED`].
    #[cfg(tokio_unstable)]
    pub(crate) fn stop_recording(&self) {
        self.state.fetch_or(RECORDING_STOPPED, Relaxed);
    }
}

fn bit(hook: Hook) -> u32 {
    1 << hook as u32
}

/// Hooks that were replaced, and which of them were already reported.
#[derive(Debug, Default)]
pub(crate) struct ReplacedHooks {
    all: AtomicU32,
    reported: AtomicU32,
}

impl ReplacedHooks {
    /// Notes that a hook was replaced.
    pub(crate) fn add(&self, hook: Hook) {
        self.all.fetch_or(1 << hook as u32, Relaxed);
    }

    /// Returns all replaced hooks.
    pub(crate) fn all(&self) -> Vec<Hook> {
        hooks_from_bits(self.all.load(Relaxed))
    }

    /// Returns the replaced hooks that no earlier call has returned.
    pub(crate) fn take_unreported(&self) -> Vec<Hook> {
        let all = self.all.load(Relaxed);
        hooks_from_bits(all & !self.reported.swap(all, Relaxed))
    }
}

fn hooks_from_bits(bits: u32) -> Vec<Hook> {
    Hook::ALL.into_iter().filter(|hook| bits >> *hook as u32 & 1 == 1).collect()
}
