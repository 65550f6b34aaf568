//! What a thread does at one moment, without its stack.

use crate::process::Process;
use crate::watchdog::procfs::{self, ProcReader};
use crate::watchdog::sample::{InSyscall, ThreadActivity};

/// What a thread does, without its stack. Two equal ones show one and the same
/// wait if the thread waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Look {
    pub(super) activity: ThreadActivity,
    /// How many times it has slept.
    pub(super) sleeps: Option<u64>,
}

impl Look {
    /// Returns what the thread does now.
    pub(super) fn at(process: Process, tid: i32) -> Self {
        let reader = ProcReader::new(process, tid);
        Self { activity: procfs::read_activity(process, tid), sleeps: reader.sleeps() }
    }

    /// Returns the call in which the thread waits.
    pub(super) fn call(&self) -> Option<InSyscall> {
        match self.activity {
            ThreadActivity::InSyscall(call) => Some(call),
            ThreadActivity::Running | ThreadActivity::OutsideSyscall | ThreadActivity::Unknown => None,
        }
    }

    /// Returns whether the thread waits, and has done nothing else since
    /// `before`.
    pub(super) fn is_same_wait(&self, before: &Self) -> bool {
        self == before && self.call().is_some() && self.sleeps.is_some()
    }
}
