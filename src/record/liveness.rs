//! Whether a scope still records.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU32};

use crate::fork::{self, ProcessIdentity};

/// The value of `live_in` after the scope has ended.
const ENDED: u32 = 0;

/// The time from a scope's start to its end, in the process that started it. A
/// scope is not live in a forked child: there, no thread reads what the hooks
/// record, and a lock may be held for ever. So the hooks do nothing.
#[derive(Debug)]
pub(crate) struct Liveness {
    /// The generation of the process, or [`ENDED`].
    live_in: AtomicU32,
    process: ProcessIdentity,
    has_warned: AtomicBool,
    /// Whether the warning is also printed to stderr.
    pub(crate) is_printed: bool,
}

impl Liveness {
    pub(crate) fn begin() -> Self {
        fork::count_forks();
        let process = ProcessIdentity::current();
        Self {
            live_in: AtomicU32::new(fork::generation()),
            process,
            has_warned: AtomicBool::new(false),
            is_printed: false,
        }
    }

    pub(crate) fn end(&self) {
        self.live_in.store(ENDED, Relaxed);
    }

    #[inline]
    pub(crate) fn is_live(&self) -> bool {
        self.live_in.load(Relaxed) == fork::generation() || self.warn_if_forked()
    }

    /// Warns in a forked child. Returns `false`.
    #[cold]
    fn warn_if_forked(&self) -> bool {
        self.warn();
        false
    }

    /// Returns whether this process is a forked child of the one that started
    /// the scope. It makes a system call.
    pub(crate) fn is_in_child(&self) -> bool {
        !self.process.is_current()
    }

    /// Says once that the scope does not watch this process, unless the scope
    /// has ended before.
    pub(crate) fn warn(&self) {
        if self.live_in.load(Relaxed) != ENDED && !self.has_warned.swap(true, Relaxed) {
            let text = "this process was forked after its scope had started, so loopscope does not watch it; start the \
                        scope after the fork";
            fork::warn_in_child(text, self.is_printed);
        }
    }
}
