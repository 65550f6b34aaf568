//! What the watchdog hands over to be diagnosed: plain data.

use std::sync::Arc;

use crate::finding::{Cause, Evidence};
use crate::record::hook_status::Hook;
use crate::record::kinds::KindId;

/// An address in a program or library, as its own file counts.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct CodeAddress {
    pub(crate) module: Arc<str>,
    pub(crate) address: u64,
}

/// The system call that a thread was in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CallInfo {
    /// Its name, or its number where the table has none.
    pub(crate) name: String,
    pub(crate) cause: Cause,
    /// What its descriptor refers to.
    pub(crate) fd: Option<String>,
    /// The type in std that reads and writes such a descriptor: identical
    /// functions of several types may have been merged into one.
    pub(crate) fd_type: Option<&'static str>,
    /// The address of the lock it waits for.
    pub(crate) lock: Option<u64>,
    /// The number of the worker that probably holds it.
    pub(crate) holder: Option<usize>,
}

/// A look at the stalled thread.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Capture {
    /// How old the stall was by then.
    pub(crate) at_nanos: u64,
    pub(crate) evidence: Evidence,
    /// Innermost first.
    pub(crate) stack: Vec<CodeAddress>,
    /// Whether the thread was computing, not inside a system call.
    pub(crate) on_cpu: bool,
    /// Whether the thread was in a state that nothing can interrupt.
    pub(crate) uninterruptible: bool,
    /// The call, if the kernel said which.
    pub(crate) call: Option<CallInfo>,
}

impl Capture {
    /// A look that showed nothing but the thread's activity.
    pub(crate) fn without_stack(at_nanos: u64, on_cpu: bool, call: Option<CallInfo>) -> Self {
        Self { at_nanos, evidence: Evidence::None, stack: Vec::new(), on_cpu, uninterruptible: false, call }
    }
}

/// Time since the first sample, split in three.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct TimeSplit {
    pub(crate) on_cpu: u64,
    pub(crate) run_queue: u64,
    pub(crate) off_cpu: u64,
}

impl TimeSplit {
    pub(crate) fn total(self) -> u64 {
        self.on_cpu + self.run_queue + self.off_cpu
    }

    /// The time that is not the machine's fault.
    pub(crate) fn own(self) -> u64 {
        self.on_cpu + self.off_cpu
    }

    /// The same proportions, for another total.
    pub(crate) fn scaled_to(self, total: u64) -> Self {
        let whole = self.total();
        if whole == 0 {
            return Self { off_cpu: total, ..Self::default() };
        }
        let part = |of: u64| (u128::from(of) * u128::from(total) / u128::from(whole)) as u64;
        let (on_cpu, run_queue) = (part(self.on_cpu), part(self.run_queue));
        Self { on_cpu, run_queue, off_cpu: total.saturating_sub(on_cpu + run_queue) }
    }
}

/// How far a stall is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// It has just passed the threshold.
    Began,
    /// It has lasted long enough to be reported before its end.
    Lasts,
    /// It is over.
    Ended,
}

/// A stall, as far as it is known.
#[derive(Debug, Clone)]
pub(crate) struct StallEvidence {
    pub(crate) phase: Phase,
    /// One, or how many polls of one task together held the worker.
    pub(crate) polls: u64,
    /// The same in all messages about one stall.
    pub(crate) key: (usize, u64),
    pub(crate) worker: String,
    pub(crate) kind: KindId,
    pub(crate) start_unix_ns: u64,
    /// The same by the recorder's own clock, to be compared exactly.
    pub(crate) start_nanos: u64,
    pub(crate) duration_nanos: u64,
    pub(crate) times: TimeSplit,
    pub(crate) captures: Vec<Capture>,
}

/// A message to the reporting thread.
#[derive(Debug, Clone)]
pub(crate) enum Message {
    Stall(StallEvidence),
    /// A ready task waited from then to then, by the recorder's own clock.
    Wait {
        start_nanos: u64,
        end_nanos: u64,
        /// The task's number.
        task: u64,
    },
    /// Somebody has set a hook of ours anew.
    Replaced(Hook),
    /// A stall that was told of turned out to be the machine's fault.
    NoStall((usize, u64)),
    /// Nothing more comes.
    End,
}
