//! What the watchdog sends to the diagnosis: plain data.

use std::sync::Arc;

use crate::finding::{Cause, Evidence};
use crate::record::hook_status::Hook;
use crate::record::kinds::KindId;

/// An address in a program or library, relative to its file.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct CodeAddress {
    pub(crate) module: Arc<str>,
    pub(crate) address: u64,
}

/// The system call that a thread was executing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CallInfo {
    /// The name, or the number if the table of system calls does not contain
    /// it.
    pub(crate) name: String,
    pub(crate) cause: Cause,
    /// The object that the descriptor refers to.
    pub(crate) fd: Option<String>,
    /// The type in std that reads and writes this kind of descriptor. It is
    /// needed because identical functions of several types may be merged into
    /// one.
    pub(crate) fd_type: Option<&'static str>,
    /// The address of the lock that the thread waits for.
    pub(crate) lock: Option<u64>,
    /// The number of the worker that probably holds that lock.
    pub(crate) holder: Option<usize>,
}

/// The stack and the state of a stalled thread at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Capture {
    /// The age of the stall at that moment.
    pub(crate) age_nanos: u64,
    pub(crate) evidence: Evidence,
    /// Code addresses, innermost first; empty without a stack.
    pub(crate) stack: Vec<CodeAddress>,
    /// Whether the thread was computing, and did not wait in a system call.
    pub(crate) on_cpu: bool,
    /// Whether the thread was in uninterruptible sleep (state D).
    pub(crate) uninterruptible: bool,
    /// The system call, if it is known.
    pub(crate) call: Option<CallInfo>,
}

impl Capture {
    /// Creates a capture that has the thread's activity, but no stack.
    pub(crate) fn without_stack(age_nanos: u64, on_cpu: bool, call: Option<CallInfo>) -> Self {
        Self { age_nanos, evidence: Evidence::None, stack: Vec::new(), on_cpu, uninterruptible: false, call }
    }
}

/// A time in nanoseconds, split by what the thread did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct TimeSplit {
    /// The thread ran.
    pub(crate) on_cpu: u64,
    /// The thread was runnable and waited for a CPU.
    pub(crate) run_queue: u64,
    /// The thread waited for something else.
    pub(crate) off_cpu: u64,
    /// Nothing shows what the thread did.
    pub(crate) unknown: u64,
}

impl TimeSplit {
    /// Returns the time that the thread's code certainly caused: neither a wait
    /// for a CPU, nor time of which nothing is known.
    pub(crate) fn own(self) -> u64 {
        self.on_cpu + self.off_cpu
    }

    /// Returns the part of `total` that is on-CPU time if the own time is
    /// scaled to it. Without own time, that is zero.
    pub(crate) fn on_cpu_of(self, total: u64) -> u64 {
        let own = u128::from(self.own().max(1));
        (u128::from(self.on_cpu) * u128::from(total) / own) as u64
    }
}

/// The progress of a stall.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// The stall has just passed the threshold.
    Began,
    /// The stall has lasted long enough for a report before its end.
    Lasts,
    /// The stall is over.
    Ended,
}

/// The index of a worker and the sequence number of its poll.
pub(crate) type StallKey = (usize, u64);

/// A stall of at least this length is reported once, whether it lasts or has
/// ended: the first of the times at which the watchdog reports a stall again.
pub(crate) const LONG_STALL_NANOS: u64 = 1_000_000_000;

/// What is known of a stall.
#[derive(Debug, Clone)]
pub(crate) struct StallEvidence {
    pub(crate) phase: Phase,
    /// The number of polls: one, or more if a task held the worker over many
    /// polls.
    pub(crate) polls: u64,
    /// All messages about one stall have the same key.
    pub(crate) key: StallKey,
    pub(crate) worker: String,
    pub(crate) kind: KindId,
    /// The start by the recorder's clock.
    pub(crate) start_nanos: u64,
    /// The time from start to end, or until now, with all pauses.
    pub(crate) duration_nanos: u64,
    /// What the thread did in that time. Pauses of the process are left out.
    pub(crate) times: TimeSplit,
    pub(crate) captures: Vec<Capture>,
}

impl StallEvidence {
    /// Returns whether no capture has a stack.
    pub(crate) fn has_no_stack(&self) -> bool {
        self.captures.iter().all(|capture| capture.stack.is_empty())
    }

    /// Returns whether the only stack was captured in the first third of the
    /// own time. Captures are due at one, two and four thresholds, so others
    /// are missing, for example because the capture budget was used up.
    pub(crate) fn rests_on_one_early_sample(&self) -> bool {
        let mut stacks = self.captures.iter().filter(|capture| !capture.stack.is_empty());
        let is_early = |capture: &Capture| self.times.own() / 3 > capture.age_nanos;
        stacks.next().is_some_and(is_early) && stacks.next().is_none()
    }

    /// Returns the part of the duration in which the process was paused.
    pub(crate) fn paused_nanos(&self) -> u64 {
        let TimeSplit { run_queue, unknown, .. } = self.times;
        self.duration_nanos.saturating_sub(self.times.own() + run_queue + unknown)
    }
}

/// A message to the reporting thread.
#[derive(Debug, Clone)]
pub(crate) enum Message {
    Stall(StallEvidence),
    /// A reported stall lasts: what the latest sample shows of it.
    Progress {
        key: StallKey,
        duration_nanos: u64,
        times: TimeSplit,
    },
    /// A ready task waited during this time, by the recorder's clock.
    Wait {
        start_nanos: u64,
        end_nanos: u64,
        /// The task's number.
        task: u64,
    },
    /// The program replaced one of the recorder's hooks.
    Replaced(Hook),
    /// The reported stall with this key was not caused by the task's code.
    NoStall(StallKey),
}

impl Message {
    /// Returns the stall that the message is about.
    pub(crate) fn stall_key(&self) -> Option<StallKey> {
        match self {
            Self::Stall(StallEvidence { key, .. }) | Self::Progress { key, .. } | Self::NoStall(key) => {
                Some(*key)
            }
            Self::Wait { .. } | Self::Replaced(_) => None,
        }
    }

    /// Returns whether the message says that a stall is over, or was none.
    pub(crate) fn is_end(&self) -> bool {
        match self {
            Self::Stall(stall) => stall.phase == Phase::Ended,
            Self::NoStall(_) => true,
            Self::Progress { .. } | Self::Wait { .. } | Self::Replaced(_) => false,
        }
    }
}
