//! What the watchdog sends to the diagnosis: plain data.

use std::hash::{Hash, Hasher};
use std::ops::Range;
use std::sync::Arc;

use crate::finding::{Cause, Evidence};
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
        Self { path: String::new(), identity, first_mapping: 0..0 }
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
}

impl TimeSplit {
    pub(crate) fn total(self) -> u64 {
        self.on_cpu + self.run_queue + self.off_cpu
    }

    /// Returns the time that the thread's code caused: all but the waits for a
    /// CPU.
    pub(crate) fn attributable(self) -> u64 {
        self.on_cpu + self.off_cpu
    }

    /// Splits another total in the same proportions.
    pub(crate) fn scaled_to(self, total: u64) -> Self {
        let old_total = self.total();
        if old_total == 0 {
            return Self { off_cpu: total, ..Self::default() };
        }
        let scale = |nanos: u64| (u128::from(nanos) * u128::from(total) / u128::from(old_total)) as u64;
        let (on_cpu, run_queue) = (scale(self.on_cpu), scale(self.run_queue));
        Self { on_cpu, run_queue, off_cpu: total.saturating_sub(on_cpu + run_queue) }
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

/// What is known of a stall.
#[derive(Debug, Clone)]
pub(crate) struct StallEvidence {
    pub(crate) phase: Phase,
    /// The number of polls: one, or more if a task held the worker over many
    /// polls.
    pub(crate) polls: u64,
    /// The index of the worker and the sequence number of the poll. All
    /// messages about one stall have the same key.
    pub(crate) key: (usize, u64),
    pub(crate) worker: String,
    pub(crate) kind: KindId,
    pub(crate) start_unix_ns: u64,
    /// The start by the recorder's clock, to compare it with other times of
    /// that clock.
    pub(crate) start_nanos: u64,
    pub(crate) duration_nanos: u64,
    pub(crate) times: TimeSplit,
    pub(crate) captures: Vec<Capture>,
}

/// A message to the reporting thread.
#[derive(Debug, Clone)]
pub(crate) enum Message {
    Stall(StallEvidence),
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
    NoStall((usize, u64)),
    /// The last message.
    End,
}
