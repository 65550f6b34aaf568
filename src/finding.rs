//! What was found, as plain data: [`Finding`] and the documents around it.
//!
//! With the feature `serde`, the JSON form is the schema `loopscope.findings/1`:
//! durations are seconds as floating point numbers (`total` is
//! `total_seconds`), instants are seconds of the Unix epoch.

use std::fmt;
use std::time::{Duration, SystemTime};

#[cfg(feature = "serde")]
use crate::serde_time;

/// The schema name that [`FindingsDocument::schema`] carries.
pub const FINDINGS_SCHEMA: &str = "loopscope.findings/1";

/// Why a worker did not come back from a poll.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "lowercase"))]
#[non_exhaustive]
pub enum Cause {
    /// Computing: the thread was on a CPU, in user code.
    Cpu,
    /// A synchronous sleep.
    Sleep,
    /// A call on a file or a directory.
    File,
    /// A call on a socket.
    Network,
    /// A host name look-up.
    Dns,
    /// Waiting for a lock that somebody else holds.
    Lock,
    /// Waiting for a message on a synchronous channel.
    Channel,
    /// Waiting for a child process.
    Child,
    /// In the kernel, in a state that nothing can interrupt.
    Uninterruptible,
    /// None of the above could be shown.
    Other,
    /// One task in many polls, each of them under the threshold, that together
    /// held the worker for long while others were ready.
    Hog,
    /// A single poll of many awaits, each of which was ready at once: the task
    /// never gave the worker back.
    Unyielding,
}

impl Cause {
    /// Every cause, in the order in which exporters list them.
    pub const ALL: [Self; 12] = [
        Self::Cpu,
        Self::Sleep,
        Self::File,
        Self::Network,
        Self::Dns,
        Self::Lock,
        Self::Channel,
        Self::Child,
        Self::Uninterruptible,
        Self::Other,
        Self::Hog,
        Self::Unyielding,
    ];

    /// Whether each look may meet another line of the same thing.
    pub(crate) const fn is_computation(self) -> bool {
        matches!(self, Self::Cpu | Self::Hog | Self::Unyielding)
    }

    /// The name as labels and JSON have it, such as `sleep`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Sleep => "sleep",
            Self::File => "file",
            Self::Network => "network",
            Self::Dns => "dns",
            Self::Lock => "lock",
            Self::Channel => "channel",
            Self::Child => "child",
            Self::Uninterruptible => "uninterruptible",
            Self::Other => "other",
            Self::Hog => "hog",
            Self::Unyielding => "unyielding",
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How a stack was got, and so how far it can be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "lowercase"))]
#[non_exhaustive]
pub enum Evidence {
    /// No stack could be had; cause and duration are still true.
    None,
    /// Only the innermost frames are known; the rest is missing.
    Leaf,
    /// The frame pointer was searched for on the stack: the innermost frames
    /// are certain, the ones further out may be stale.
    Reconstructed,
    /// Unwound from a copy of the thread's own registers and stack: exact.
    Stack,
}

impl Evidence {
    /// The name as JSON has it, such as `stack`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Leaf => "leaf",
            Self::Reconstructed => "reconstructed",
            Self::Stack => "stack",
        }
    }
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Whose code a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "lowercase"))]
#[non_exhaustive]
pub enum FrameKind {
    /// The application's own code: neither of the others.
    Application,
    /// A crate from a registry or a git checkout.
    Dependency,
    /// Rust's standard library.
    Std,
    /// Tokio, or loopscope itself.
    Runtime,
    /// The C library, the kernel's vDSO, other native libraries.
    Native,
}

/// One frame of a stack, innermost first. Inlined calls are frames too.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Frame {
    /// The function's readable name, or its address where no symbol is known.
    pub function: String,
    /// The source file, relative to the workspace where that is known.
    pub file: Option<String>,
    /// The line in that file, counted from 1.
    pub line: Option<u32>,
    /// Whose code it is.
    pub kind: FrameKind,
}

/// The line to change: the innermost frame of the application's own code.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Site {
    /// The function that holds the line.
    pub function: String,
    /// The source file, relative to the workspace where that is known.
    pub file: Option<String>,
    /// The line in that file, counted from 1.
    pub line: Option<u32>,
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.file, self.line) {
            (Some(file), Some(line)) => write!(f, "{file}:{line}"),
            (Some(file), None) => f.write_str(file),
            _ => f.write_str(&self.function),
        }
    }
}

/// The task whose poll did not come back.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct TaskInfo {
    /// Its kind: the name it was given, or its spawn location.
    pub kind: String,
    /// Where it was spawned, as `file:line:column`, if known.
    pub spawned_at: Option<String>,
}

/// Where the time of the stalls went.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Split {
    /// Running on a CPU.
    #[cfg_attr(feature = "serde", serde(rename = "on_cpu_seconds", with = "serde_time::seconds"))]
    pub on_cpu: Duration,
    /// Ready to run, without a CPU.
    #[cfg_attr(feature = "serde", serde(rename = "run_queue_seconds", with = "serde_time::seconds"))]
    pub run_queue: Duration,
    /// Waiting for something.
    #[cfg_attr(feature = "serde", serde(rename = "off_cpu_seconds", with = "serde_time::seconds"))]
    pub off_cpu: Duration,
}

/// What is known of the blocking call itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Detail {
    /// The system call the thread was in, by name.
    pub syscall: Option<String>,
    /// What the call's file descriptor refers to.
    pub fd: Option<String>,
    /// The address of the lock that was waited for.
    pub lock: Option<String>,
    /// How many workers waited for it at one time, at most; zero if it was no
    /// lock.
    #[cfg_attr(feature = "serde", serde(default))]
    pub waiters: u64,
    /// Who probably held it, where that is a worker too, and what that one did:
    /// the lock's address lay on its stack.
    #[cfg_attr(feature = "serde", serde(default))]
    pub holder: Option<String>,
}

/// The tasks that the stalls delayed: ready to run, but not polled.
///
/// Only waits that are longer than the threshold are known.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Victims {
    /// How many distinct tasks waited: exact up to
    /// [`MAX_EXACT_TASKS`](Self::MAX_EXACT_TASKS), an estimate beyond.
    pub tasks: u64,
    /// How many waits there were. A task may wait many times.
    #[cfg_attr(feature = "serde", serde(default))]
    pub waits: u64,
    /// How long the waits were together, counting only the time that overlaps
    /// a stall.
    #[cfg_attr(feature = "serde", serde(rename = "delay_seconds", with = "serde_time::seconds"))]
    pub delay: Duration,
}

impl Victims {
    /// Beyond this number, [`tasks`](Self::tasks) is an estimate with a standard
    /// error of 4.4 %.
    pub const MAX_EXACT_TASKS: u64 = 512;

    /// Whether [`tasks`](Self::tasks) is an estimate.
    #[must_use]
    pub const fn is_estimate(&self) -> bool {
        self.tasks > Self::MAX_EXACT_TASKS
    }
}

/// One place in the code that blocked the event loop, with all it did so far.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Finding {
    /// Stable across runs of the same program: made from cause and site.
    pub id: String,
    /// Why the worker did not come back.
    pub cause: Cause,
    /// The call to replace, such as `std::thread::sleep`, if it could be named.
    pub primitive: Option<String>,
    /// The application's line that made the call, if it could be found.
    pub site: Option<Site>,
    /// The task in which it was last seen.
    pub task: TaskInfo,
    /// How many stalls.
    pub count: u64,
    /// How long they were together.
    #[cfg_attr(feature = "serde", serde(rename = "total_seconds", with = "serde_time::seconds"))]
    pub total: Duration,
    /// How long the longest was.
    #[cfg_attr(feature = "serde", serde(rename = "max_seconds", with = "serde_time::seconds"))]
    pub max: Duration,
    /// The age of a stall that has not ended yet.
    #[cfg_attr(
        feature = "serde",
        serde(rename = "ongoing_seconds", with = "serde_time::optional_seconds", default)
    )]
    pub ongoing: Option<Duration>,
    /// Where the time went.
    pub split: Split,
    /// The call.
    pub detail: Detail,
    /// Who waited.
    pub victims: Victims,
    /// What to write instead.
    pub advice: String,
    /// How the stack was got.
    pub evidence: Evidence,
    /// The stack of the best evidence so far, innermost frame first.
    pub stack: Vec<Frame>,
    /// When it was first seen.
    #[cfg_attr(
        feature = "serde",
        serde(rename = "first_seen_unix_seconds", with = "serde_time::unix_seconds")
    )]
    pub first_seen: SystemTime,
    /// When it was last seen.
    #[cfg_attr(
        feature = "serde",
        serde(rename = "last_seen_unix_seconds", with = "serde_time::unix_seconds")
    )]
    pub last_seen: SystemTime,
}

/// Stalls in which the machine, not the code, was at fault.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Starved {
    /// How many polls were long because the thread had no CPU.
    pub count: u64,
    /// How long the threads of all long polls waited for a CPU.
    #[cfg_attr(feature = "serde", serde(rename = "total_seconds", with = "serde_time::seconds"))]
    pub total: Duration,
}

/// The process that was watched.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct ProcessInfo {
    /// Its process id.
    pub pid: u32,
    /// The path of its program.
    pub program: String,
    /// The version of loopscope in it.
    pub loopscope: String,
    /// Whether every task is covered (`--cfg tokio_unstable`), or only
    /// instrumented futures.
    pub all_tasks: bool,
}

/// Everything found so far, with what was left out.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct FindingsDocument {
    /// Always [`FINDINGS_SCHEMA`].
    pub schema: String,
    /// Where this comes from.
    pub process: ProcessInfo,
    /// Polls longer than this are stalls.
    #[cfg_attr(feature = "serde", serde(rename = "threshold_seconds", with = "serde_time::seconds"))]
    pub threshold: Duration,
    /// The findings, the most total time first.
    pub findings: Vec<Finding>,
    /// What the machine did.
    pub starved: Starved,
    /// Reports that the budget kept from log and terminal.
    pub suppressed_reports: u64,
    /// Observations that were lost; anything but zero makes the counts lower
    /// bounds.
    pub dropped: u64,
}

/// One stall, for whoever wants to lay stalls and latencies side by side.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Stall {
    /// When the poll began, in nanoseconds of the Unix epoch.
    #[cfg_attr(feature = "serde", serde(rename = "start_unix_ns", with = "serde_time::unix_nanos"))]
    pub start: SystemTime,
    /// When it ended; `None` while it lasts.
    #[cfg_attr(
        feature = "serde",
        serde(rename = "end_unix_ns", with = "serde_time::optional_unix_nanos", default)
    )]
    pub end: Option<SystemTime>,
    /// The worker's label: its index, or `main` for the root future.
    pub worker: String,
    /// The kind of the task.
    pub task: String,
    /// The finding it was counted to; `None` if it has none (yet).
    pub finding: Option<String>,
}

/// The schema name that [`StallsDocument::schema`] carries.
pub const STALLS_SCHEMA: &str = "loopscope.stalls/1";

/// The most recent stalls, oldest first.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct StallsDocument {
    /// Always [`STALLS_SCHEMA`].
    pub schema: String,
    /// This process's clock as the document was made, in nanoseconds of the
    /// Unix epoch: lets a reader on another machine align its own.
    #[cfg_attr(feature = "serde", serde(rename = "now_unix_ns", with = "serde_time::unix_nanos"))]
    pub now: SystemTime,
    /// The stalls.
    pub stalls: Vec<Stall>,
}
