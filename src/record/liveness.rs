//! Whether a scope still records.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU32};

use crate::fork::{self, ProcessIdentity};
use crate::stderr::{self, StderrMode};

/// What a forked child that uses the scope prints, once.
const WARNING_LINE: &str = "loopscope: this process was forked after its scope had started, so loopscope does not watch \
                            it; start the scope after the fork\n";

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
    has_printed: AtomicBool,
    has_emitted: AtomicBool,
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
            has_printed: AtomicBool::new(false),
            has_emitted: AtomicBool::new(false),
            is_printed: false,
        }
    }

    pub(crate) fn end(&self) {
        self.live_in.store(ENDED, Relaxed);
    }

    /// Returns whether the scope records in this process. Hooks may call it: in
    /// a forked child it only prints a warning.
    #[inline]
    pub(crate) fn is_live(&self) -> bool {
        self.live_in.load(Relaxed) == fork::generation() || self.print_if_forked()
    }

    /// Returns `false`, and prints the warning in a forked child.
    #[cold]
    fn print_if_forked(&self) -> bool {
        self.print_warning();
        false
    }

    /// Returns whether this process is a forked child of the one that started
    /// the scope. It makes a system call.
    pub(crate) fn is_in_child(&self) -> bool {
        !self.process.is_current()
    }

    /// Warns in a forked child, by an event too. Only calls of the application
    /// may call it: the subscriber may take locks.
    pub(crate) fn warn(&self) {
        self.print_warning();
        if self.is_warning_due(&self.has_emitted) {
            let text = WARNING_LINE.trim_start_matches("loopscope: ").trim_end();
            fork::warn_in_child(text);
        }
    }

    fn print_warning(&self) {
        let is_shown = || self.is_printed && stderr::mode() != StderrMode::RawTerminal;
        if self.is_warning_due(&self.has_printed) && is_shown() {
            stderr::print(WARNING_LINE);
        }
    }

    /// Returns once whether to say that the scope does not watch this process:
    /// not if the scope has ended before, or if another one watches it.
    fn is_warning_due(&self, is_done: &AtomicBool) -> bool {
        let has_ended = self.live_in.load(Relaxed) == ENDED;
        !has_ended && !is_done.swap(true, Relaxed) && !fork::has_started_scope()
    }
}
