//! One call of `watch`: which of its hooks have been called, and for which
//! runtime.

use std::sync::OnceLock;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;

use tokio::runtime::{Handle, Id};

use super::Hook;

/// A hook was replaced without which polls cannot be told apart.
const BLIND: u32 = 1 << 31;

#[derive(Debug)]
pub(crate) struct Watched {
    #[cfg_attr(not(tokio_unstable), allow(dead_code))]
    pub(crate) id: u32,
    /// A bit for each hook that has been called, and [`BLIND`].
    state: AtomicU32,
    runtime: OnceLock<Id>,
}

impl Watched {
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

    pub(crate) fn has_called(&self, hook: Hook) -> bool {
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
