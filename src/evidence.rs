//! What the watchdog sends to the diagnosis: plain data.

use std::hash::{Hash, Hasher};
use std::ops::Range;
use std::sync::Arc;

use crate::finding::{Cause, Evidence};
use crate::process::Process;
use crate::record::hook_status::Hook;
use crate::record::kinds::KindId;

/// What tells an image from others that were loaded from the same path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ImageIdentity {
    /// The linker's hash of the contents.
    BuildId(Vec<u8>),
    /// What is known of an image that has no build id.
    File {
        /// Its first bytes: the headers, and what follows them.
        first_bytes: Arc<[u8]>,
        /// The number of its file.
        inode: u64,
        /// When the file was last modified, in seconds and nanoseconds of the
        /// Unix epoch. `None` if another file was at its path.
        modified: Option<(i64, i64)>,
    },
}

/// The file that a program or library was loaded from.
#[derive(Debug, Clone)]
pub(crate) struct CodeFile {
    /// The process that has loaded it.
    pub(crate) process: Process,
    /// The path at which the file was opened, or a name such as `[vdso]`.
    /// Another file may be there now. Empty for code that is in no file.
    pub(crate) path: String,
    pub(crate) identity: ImageIdentity,
    /// The addresses of its first mapping, by which the kernel gives access to
    /// a file that was deleted.
    pub(crate) first_mapping: Range<u64>,
}

impl CodeFile {
    /// Returns what stands for code that is in no file.
    pub(crate) fn none() -> Self {
        let identity = ImageIdentity::BuildId(Vec::new());
        Self { process: Process::Own, path: String::new(), identity, first_mapping: 0..0 }
    }
}

/// The addresses do not matter: the same file may be mapped elsewhere later.
impl PartialEq for CodeFile {
    fn eq(&self, other: &Self) -> bool {
        self.path == other.path && self.identity == other.identity
    }
}

impl Eq for CodeFile {}

impl Hash for CodeFile {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.path.hash(state);
    }
}

/// An address in a program or library, relative to its file.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct CodeAddress {
    pub(crate) file: Arc<CodeFile>,
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
    /// The threads that may hold that lock; `None` before they were searched.
    pub(crate) holders: Option<LockHolders>,
}

/// The threads that wait for something else and have the address of a lock on
/// their stacks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct LockHolders {
    /// The numbers of workers that are in a poll.
    pub(crate) workers: Vec<usize>,
    pub(crate) threads: Vec<HolderThread>,
    /// Whether the stacks of all threads were read, none of which was running,
    /// and a holder has the lock's address on its stack.
    pub(crate) has_read_all: bool,
    /// Whether there are more such threads than are kept, or the search ended
    /// early: none of them is known to be the holder.
    pub(crate) is_ambiguous: bool,
}

/// A thread that may hold a lock, and is no worker in a poll.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HolderThread {
    pub(crate) name: String,
    pub(crate) capture: Box<Capture>,
}

impl LockHolders {
    /// Returns whether there is exactly one such thread.
    pub(crate) fn is_single(&self) -> bool {
        !self.is_ambiguous && self.workers.len() + self.threads.len() == 1
    }
}

/// A part of a poll in which every sample found the thread waiting in one and
/// the same call, or every sample found it running.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Stretch {
    /// Counted from one within the poll. Zero stands for no known stretch.
    pub(crate) number: u32,
    /// The own time between its first and its last sample: a lower bound.
    pub(crate) own_nanos: u64,
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
    /// The stretch of the poll that contains this moment.
    pub(crate) stretch: Stretch,
}

impl Capture {
    /// Creates a capture that has the thread's activity, but no stack.
    pub(crate) fn without_stack(age_nanos: u64, on_cpu: bool, call: Option<CallInfo>) -> Self {
        Self {
            age_nanos,
            evidence: Evidence::None,
            stack: Vec::new(),
            on_cpu,
            uninterruptible: false,
            call,
            stretch: Stretch::default(),
        }
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

/// The driver of a runtime, held by a stalled worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HeldDriver {
    /// Whether the runtime has other workers, which could have run it.
    pub(crate) has_other_workers: bool,
}

/// What is known of a stall.
#[derive(Debug, Clone)]
pub(crate) struct StallEvidence {
    pub(crate) phase: Phase,
    /// The number of polls: one, or more if a task held the worker over many
    /// polls.
    pub(crate) polls: u64,
    /// All messages about one stall have the same key, and no other stall has
    /// it.
    pub(crate) key: StallKey,
    pub(crate) worker: String,
    /// The id of the worker's thread.
    pub(crate) tid: u32,
    /// The label of the worker's runtime.
    pub(crate) runtime: Arc<str>,
    /// Is set if the worker drove the I/O and the timers of its runtime, so
    /// that nothing served them during the stall.
    pub(crate) held_driver: Option<HeldDriver>,
    pub(crate) kind: KindId,
    /// The start by the recorder's clock.
    pub(crate) start_nanos: u64,
    /// Whether it has begun earlier, at an unknown time: the start is when the
    /// watchdog has found it.
    pub(crate) is_lower_bound: bool,
    /// The time from start to end, or until now, with all pauses.
    pub(crate) duration_nanos: u64,
    /// What the thread did in that time. Pauses of the process are left out.
    pub(crate) times: TimeSplit,
    /// The blocking threshold.
    pub(crate) threshold_nanos: u64,
    pub(crate) captures: Vec<Capture>,
}

impl StallEvidence {
    /// Returns an ended poll of the first worker, which took no other time than
    /// `times`.
    #[cfg(test)]
    pub(crate) fn ended(times: TimeSplit, captures: Vec<Capture>) -> Self {
        Self {
            phase: Phase::Ended,
            polls: 1,
            key: (0, 1),
            worker: "0".to_owned(),
            tid: 1,
            runtime: Arc::from("main"),
            held_driver: None,
            kind: KindId::OTHER,
            start_nanos: 0,
            is_lower_bound: false,
            duration_nanos: times.on_cpu + times.run_queue + times.off_cpu + times.unknown,
            times,
            threshold_nanos: 1,
            captures,
        }
    }

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
}

/// The wait of a ready task, from its wake to its poll.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TaskWait {
    /// By the recorder's clock.
    pub(crate) nanos: Range<u64>,
    /// The task's number.
    pub(crate) task: u64,
    /// The label of the runtime that polled the task.
    pub(crate) runtime: Arc<str>,
    /// Whether the wait lasted for at least the threshold. A shorter wait is
    /// reported only after a stall that held the driver.
    pub(crate) is_long: bool,
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
    Wait(TaskWait),
    /// The program replaced one of the recorder's hooks.
    Replaced(Hook),
    /// Other code has claimed the signal that copies stacks, or all signals.
    SignalTaken {
        given_up: Option<i32>,
        replacement: Option<i32>,
    },
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
            Self::Wait(_) | Self::Replaced(_) | Self::SignalTaken { .. } => None,
        }
    }

    /// Returns whether the message says that a stall is over, or was none.
    pub(crate) fn is_end(&self) -> bool {
        match self {
            Self::Stall(stall) => stall.phase == Phase::Ended,
            Self::NoStall(_) => true,
            Self::Progress { .. } | Self::Wait(_) | Self::Replaced(_) | Self::SignalTaken { .. } => false,
        }
    }
}
