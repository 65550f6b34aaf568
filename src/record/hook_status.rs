//! One call of `watch`: which of its hooks have been called, and for which
//! runtime.

use std::sync::OnceLock;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;

use tokio::runtime::{Handle, Id};

/// A hook of Tokio's builder that a scope uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
// Without `tokio_unstable` there are only the first three.
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

    /// Its name in Tokio's builder.
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

    /// What is missing without it.
    pub(crate) fn consequence(self) -> &'static str {
        match self {
            Self::ThreadStart => "named futures on the runtime's blocking pool may count for another scope",
            Self::ThreadPark | Self::ThreadUnpark => "the watchdog cannot sleep while the runtime is idle",
            Self::TaskSpawn => "spawned tasks are not counted",
            Self::BeforeTaskPoll | Self::AfterTaskPoll => {
                "polls of the runtime's tasks are not recorded and blocking calls in them are not found"
            }
            Self::TaskTerminate => "completed tasks are not counted",
        }
    }
}

/// A hook was replaced without which polls cannot be told apart.
const BLIND: u32 = 1 << 31;

#[derive(Debug)]
pub(crate) struct HookStatus {
    #[cfg_attr(not(tokio_unstable), allow(dead_code))]
    pub(crate) id: u32,
    /// A bit for each hook that has been called, and [`BLIND`].
    state: AtomicU32,
    runtime: OnceLock<Id>,
}

impl HookStatus {
    pub(crate) fn new() -> Self {
        static NEXT_ID: AtomicU32 = AtomicU32::new(1);
        Self { id: NEXT_ID.fetch_add(1, Relaxed), state: AtomicU32::new(0), runtime: OnceLock::new() }
    }

    /// A hook is called. Only the first time does more than look.
    #[inline]
    pub(crate) fn calls(&self, hook: Hook) {
        if self.state.load(Relaxed) & bit(hook) == 0 {
            self.first_call(hook);
        }
    }

    #[cold]
    fn first_call(&self, hook: Hook) {
        // A task may be spawned from outside, so only a thread tells for sure.
        if hook != Hook::TaskSpawn
            && let Ok(handle) = Handle::try_current()
        {
            let _ = self.runtime.set(handle.id());
        }
        self.state.fetch_or(bit(hook), Relaxed);
    }

    pub(crate) fn was_called(&self, hook: Hook) -> bool {
        self.state.load(Relaxed) & bit(hook) != 0
    }

    /// The runtime that calls the hooks; the first one, if a builder has built
    /// several.
    pub(crate) fn runtime(&self) -> Option<Id> {
        self.runtime.get().copied()
    }

    /// From now on nothing is recorded.
    #[cfg(tokio_unstable)]
    pub(crate) fn set_blind(&self) {
        self.state.fetch_or(BLIND, Relaxed);
    }

    #[inline]
    pub(crate) fn is_blind(&self) -> bool {
        self.state.load(Relaxed) & BLIND != 0
    }
}

fn bit(hook: Hook) -> u32 {
    1 << hook as u32
}

/// Hooks that were replaced, and which of them were not reported yet.
#[derive(Debug, Default)]
pub(crate) struct ReplacedHooks {
    all: AtomicU32,
    reported: AtomicU32,
}

impl ReplacedHooks {
    /// Says that a hook was replaced.
    pub(crate) fn note(&self, hook: Hook) {
        self.all.fetch_or(1 << hook as u32, Relaxed);
    }

    /// All that were.
    pub(crate) fn all(&self) -> Vec<Hook> {
        of_bits(self.all.load(Relaxed))
    }

    /// Those that this was not asked for before.
    pub(crate) fn take_unreported(&self) -> Vec<Hook> {
        let all = self.all.load(Relaxed);
        of_bits(all & !self.reported.swap(all, Relaxed))
    }
}

fn of_bits(bits: u32) -> Vec<Hook> {
    Hook::ALL.into_iter().filter(|hook| bits >> *hook as u32 & 1 == 1).collect()
}
