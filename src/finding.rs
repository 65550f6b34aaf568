//! Findings and stalls as plain data: [`Finding`] and the documents around it.

use std::fmt;
use std::time::{Duration, SystemTime};

use crate::recording::Recording;
#[cfg(feature = "serde")]
use crate::serde_time;

/// The value of [`FindingsDocument::schema`].
pub const FINDINGS_SCHEMA: &str = "loopscope.findings/1";

/// Why a worker did not return from a poll.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "lowercase"))]
#[non_exhaustive]
pub enum Cause {
    /// A computation: the thread was running on a CPU, in user code.
    Cpu,
    /// A synchronous sleep, such as `std::thread::sleep`.
    Sleep,
    /// A call on a file or a directory.
    File,
    /// A call on a socket.
    Network,
    /// A host name lookup.
    Dns,
    /// A wait for a lock that another thread holds.
    Lock,
    /// A wait for a message on a synchronous channel.
    Channel,
    /// A wait for a child process.
    Child,
    /// The thread was in the kernel, in uninterruptible sleep (state D), and no
    /// other cause is known.
    Uninterruptible,
    /// Another or an unknown cause.
    Other,
    /// Many consecutive polls of one task, each shorter than the threshold,
    /// that together held the worker while other tasks were ready.
    Hog,
    /// One poll of a task in which every await was ready immediately, so that
    /// the task did not yield.
    Unyielding,
}

impl Cause {
    /// All causes, in the order in which exporters list them.
    pub const ALL: &'static [Self] = &[
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

    /// Returns whether captures of one finding may show different lines of a
    /// loop.
    pub(crate) const fn is_computation(self) -> bool {
        matches!(self, Self::Cpu | Self::Hog | Self::Unyielding)
    }

    /// Returns whether a call with this cause does nothing but wait.
    pub(crate) const fn is_wait(self) -> bool {
        matches!(self, Self::Sleep | Self::Lock | Self::Channel | Self::Child | Self::Uninterruptible)
    }

    /// Returns the name as in labels and JSON, such as `sleep`.
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

/// How a stack was captured, and so how far it can be trusted. Better evidence
/// compares as greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "lowercase"))]
#[non_exhaustive]
pub enum Evidence {
    /// No stack was captured. Cause and durations are measured without it.
    None,
    /// The stack has only its innermost frames.
    Leaf,
    /// The frame pointer was found by a search on the stack. The innermost
    /// frames are certain; the outer ones may be left over from earlier calls.
    Reconstructed,
    /// The stack was unwound from a copy of the thread's registers and memory.
    /// It is exact.
    Stack,
}

impl Evidence {
    /// Returns the name as in JSON, such as `stack`.
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

/// Which code a frame belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "lowercase"))]
#[non_exhaustive]
pub enum FrameKind {
    /// The application: the packages of the workspace that the program belongs
    /// to. Without debug information, only the crate of the program and the
    /// crates that are named after it.
    Application,
    /// A package from a registry, a git checkout or a vendor folder, or a path
    /// dependency outside of the workspace.
    Dependency,
    /// Rust's standard library: `std`, `core`, `alloc`, and the crates compiled
    /// into it.
    Std,
    /// Tokio, tokio-console's subscriber, or loopscope itself.
    Runtime,
    /// The C library, the kernel's vDSO or another native library.
    Native,
}

impl FrameKind {
    /// Returns the name of the kind as it appears in JSON, such as
    /// `application`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Application => "application",
            Self::Dependency => "dependency",
            Self::Std => "std",
            Self::Runtime => "runtime",
            Self::Native => "native",
        }
    }
}

impl fmt::Display for FrameKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One frame of a stack. An inlined call is a frame too.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Frame {
    /// The name of the function without type parameters, or its address if it
    /// has no symbol. An inlined closure or async function has only a module in
    /// line tables: `app::session::{async fn}`.
    pub function: String,
    /// The source file. The path of a file in the workspace is relative to the
    /// workspace; any other path begins with its package, as in
    /// `axum-0.8.9/src/serve/mod.rs`. `None` without debug information.
    pub file: Option<String>,
    /// The line in that file, counted from 1. `None` without debug information,
    /// and for instructions that the compiler added.
    pub line: Option<u32>,
    /// The column in that line at which the code begins, or the call of the
    /// next inner frame: counted from 1 in bytes of UTF-8, as debug information
    /// has it. `None` without a line, and in documents of versions that did not
    /// know it.
    #[cfg_attr(feature = "serde", serde(default))]
    pub column: Option<u32>,
    /// Which code the function belongs to.
    pub kind: FrameKind,
    /// Whether the frame was not on the stack, because the compiler had turned
    /// the function's last call into a jump. The function and the line follow
    /// from the code: only this jump leads from the function that was called to
    /// the next inner frame. If the compiler has merged the function with
    /// others that have the same code, the call may have been to one of those.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "std::ops::Not::not"))]
    pub recovered: bool,
}

/// The line to change: the innermost frame of the application's own code.
///
/// Its `Display` form is `file:line`, or what is known of it: the file, else
/// the function.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Site {
    /// The readable name of the function that contains the line.
    pub function: String,
    /// The source file. The path of a file in the workspace is relative to the
    /// workspace. `None` without debug information.
    pub file: Option<String>,
    /// The line in that file, counted from 1. `None` without debug information.
    pub line: Option<u32>,
    /// The column of the call in that line: see [`Frame::column`]. A finding is
    /// identified by its line, so it may have calls at other columns too.
    #[cfg_attr(feature = "serde", serde(default))]
    pub column: Option<u32>,
    /// Whether the frame of this line was not on the stack: see
    /// [`Frame::recovered`].
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "std::ops::Not::not"))]
    pub recovered: bool,
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

/// The task whose poll blocked its worker.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct TaskInfo {
    /// The kind of the task: its name, if it has one, or its spawn location.
    pub kind: String,
    /// The spawn location of the kind's tasks, as `file:line:column`. `None` if
    /// it is not known.
    pub spawned_at: Option<String>,
}

/// The stalls of a finding in tasks of one kind.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct TaskShare {
    /// The kind, as [`TaskInfo::kind`].
    pub kind: String,
    /// The spawn location, as [`TaskInfo::spawned_at`].
    pub spawned_at: Option<String>,
    /// The number of stalls.
    pub count: u64,
    /// Their time, as [`Finding::total`].
    #[cfg_attr(feature = "serde", serde(rename = "total_seconds", with = "serde_time::seconds"))]
    pub total: Duration,
}

/// How a finding's stalls spent their time, as the kernel accounts it for the
/// stalled thread.
///
/// Only stalls that have ended are included. [`own`](Self::own) is the time
/// that the code caused, and [`Finding::total`] counts nothing else.
/// [`not_own`](Self::not_own) is the rest of the time from the start to the end
/// of the stalls, which the code did not cause, or may not have caused.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Split {
    /// Time on a CPU.
    #[cfg_attr(feature = "serde", serde(rename = "on_cpu_seconds", with = "serde_time::seconds"))]
    pub on_cpu: Duration,
    /// Time in which the thread was ready to run but had no CPU. The machine,
    /// or the process's CPU quota, is the cause.
    #[cfg_attr(feature = "serde", serde(rename = "run_queue_seconds", with = "serde_time::seconds"))]
    pub run_queue: Duration,
    /// Time in which the thread waited, for example in a system call.
    #[cfg_attr(feature = "serde", serde(rename = "off_cpu_seconds", with = "serde_time::seconds"))]
    pub off_cpu: Duration,
    /// Time in which the whole process was stopped, or the machine suspended.
    /// Zero in documents of versions that did not measure it.
    #[cfg_attr(feature = "serde", serde(default, rename = "paused_seconds", with = "serde_time::seconds"))]
    pub paused: Duration,
    /// Time of which nothing shows what the thread did. Zero in documents of
    /// versions that did not tell it apart.
    #[cfg_attr(feature = "serde", serde(default, rename = "unknown_seconds", with = "serde_time::seconds"))]
    pub unknown: Duration,
}

impl Split {
    /// Returns the time that the code certainly caused: on a CPU, and waiting
    /// for anything but a CPU.
    #[must_use]
    pub fn own(&self) -> Duration {
        self.on_cpu + self.off_cpu
    }

    /// Returns the time for which the code is not blamed: the thread had no
    /// CPU, the process was stopped, or nothing is known.
    #[must_use]
    pub fn not_own(&self) -> Duration {
        self.run_queue + self.paused + self.unknown
    }
}

/// What is known about the blocking call itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Detail {
    /// The name of the system call that the thread was in, such as `futex`, or
    /// its number if the name is not known. If the kernel hides the call, as in
    /// a process that is not dumpable, the kernel's function in which the
    /// thread waited, such as `hrtimer_nanosleep`. `None` if the thread was
    /// computing, or if the kernel reported neither.
    pub syscall: Option<String>,
    /// What the file descriptor of the system call refers to, such as a path.
    /// `None` if the call has no descriptor, or if it is not known.
    pub fd: Option<String>,
    /// The address of the lock that the thread waited for, in hexadecimal.
    /// `None` if it did not wait for a lock.
    pub lock: Option<String>,
    /// The largest number of workers that were observed waiting for the lock at
    /// the same time, including the stalled worker. Zero if the call is not a
    /// wait for a lock.
    #[cfg_attr(feature = "serde", serde(default))]
    pub waiters: u64,
    /// The thread that probably held the lock, and what it did: a worker with
    /// its task, or another thread of the process. Or that a suspended task
    /// probably kept the guard, because no thread had the address of the lock
    /// on its stack while the wait lasted. `None` if neither is known, or if
    /// several threads had the address on their stacks.
    #[cfg_attr(feature = "serde", serde(default))]
    pub holder: Option<String>,
}

/// The tasks that a finding's stalls delayed.
///
/// A wait lasts from the wake of a task to its next poll. It counts for a
/// finding if it lasts for at least the blocking threshold and overlaps a stall
/// of the finding, on any worker of the same runtime, by more than 10 µs. Only
/// stalls that have ended count. [`delay`](Self::delay) is zero if no such wait
/// was recorded, for example because no waiting task has a name and the program
/// was built without `--cfg tokio_unstable`. The other fields also count tasks
/// that were [`released`](Self::released).
///
/// # The driver
///
/// One worker at a time drives the I/O and the timers of a runtime. If that
/// worker begins a poll while all other workers are parked, nothing serves
/// sockets and timers until the poll ends: no task is woken, so no task waits
/// in the sense above, and still everything stands still. Such a stall sets
/// [`driver_held`](Self::driver_held). The tasks that are woken within 1 ms
/// after its end count as [`released`](Self::released): most of them were due
/// earlier, but how much earlier is not known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Victims {
    /// The number of distinct tasks that waited or were released. A task that
    /// waits several times counts once. The number is exact up to
    /// [`MAX_EXACT_TASKS`](Self::MAX_EXACT_TASKS), and an estimate beyond.
    pub tasks: u64,
    /// The number of waits, including those of released tasks. A wait that
    /// overlaps several stalls of the finding counts once. Zero in documents of
    /// versions that did not count waits.
    #[cfg_attr(feature = "serde", serde(default))]
    pub waits: u64,
    /// The time for which waits overlapped stalls of the finding, added up over
    /// all waits. A moment of a wait counts once, even if several stalls of the
    /// finding overlap it; two findings may both count it. The sum may exceed
    /// [`Finding::total`], because many tasks wait at the same time. It does
    /// not contain the time that released tasks were late.
    #[cfg_attr(feature = "serde", serde(rename = "delay_seconds", with = "serde_time::seconds"))]
    pub delay: Duration,
    /// Whether a stall of the finding held the driver, see
    /// [above](#the-driver). `false` if it is not known. It can be known only
    /// on Linux, and only after one worker was observed in the driver.
    #[cfg_attr(feature = "serde", serde(default))]
    pub driver_held: bool,
    /// Whether a runtime whose driver was held has other workers. Only then the
    /// driver can be handed over: `enable_eager_driver_handoff` of Tokio's
    /// runtime builder. `false` in documents of versions that did not record
    /// it.
    #[cfg_attr(feature = "serde", serde(default))]
    pub has_other_workers: bool,
    /// The number of tasks that were woken right after stalls that held the
    /// driver. A task that is released several times counts each time.
    #[cfg_attr(feature = "serde", serde(default))]
    pub released: u64,
}

impl Victims {
    /// The largest exact number of [`tasks`](Self::tasks). Beyond it, the
    /// number is an estimate with a standard error of 4.4 %.
    pub const MAX_EXACT_TASKS: u64 = 512;

    /// Returns whether [`tasks`](Self::tasks) is an estimate.
    #[must_use]
    pub const fn is_estimate(&self) -> bool {
        // Documents of older versions have no waits; their tasks are waits.
        self.waits > 0 && self.tasks > Self::MAX_EXACT_TASKS
    }
}

/// One place in the code that blocked the event loop, with the totals of all of
/// its stalls so far.
///
/// Stalls with the same cause and the same site are one finding. At most 500
/// findings are kept; stalls of further ones count as
/// [dropped](FindingsDocument::dropped).
///
/// # Examples
///
/// ```
/// # fn main() -> Result<(), loopscope::StartError> {
/// let scope = loopscope::Scope::builder()
///     .on_finding(|finding| {
///         let call = finding.primitive.as_deref().unwrap_or("a stall");
///         match &finding.site {
///             Some(site) => eprintln!("{call} at {site}, {:?}", finding.total),
///             None => eprintln!("{call}, {:?}", finding.total),
///         }
///     })
///     .start()?;
/// # drop(scope);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Finding {
    /// An identifier of 16 hexadecimal digits, made from the cause and the
    /// site: its function, and its line unless the cause is a computation. It
    /// is the same in every run as long as these do not change.
    pub id: String,
    /// Why the worker did not return from the poll.
    pub cause: Cause,
    /// The call to replace, such as `std::thread::sleep`. `None` if the site
    /// itself computes, or if the call is not known.
    pub primitive: Option<String>,
    /// The line of the application that made the call. `None` without a stack,
    /// and if the stack has no frame of the application.
    pub site: Option<Site>,
    /// The task of the most recent stall. [`tasks`](Self::tasks) has all kinds.
    pub task: TaskInfo,
    /// The kinds of all stalls, the one with the most time first. Their counts
    /// and times add up to [`count`](Self::count) and [`total`](Self::total).
    /// At most 16: then the last one, `other`, is all the rest. Empty in
    /// documents of versions that did not have it.
    #[cfg_attr(feature = "serde", serde(default))]
    pub tasks: Vec<TaskShare>,
    /// The number of stalls, including those in progress. A run of short polls
    /// of one task ([`Cause::Hog`]) is one stall.
    ///
    /// If two calls of one poll both took the threshold, the poll is a stall of
    /// two findings, each with its own part of the time. The parts add up to
    /// the poll's own time: a measured time that the captures show for one call
    /// belongs to this call, and all the rest to the call with the most time.
    pub count: u64,
    /// The own time of all stalls together: the time that the code caused. Time
    /// in which the thread had no CPU is not included, see [`Split`]. A stall
    /// in progress counts with the own time that samples have proven so far.
    /// That follows the truth at a distance of up to an eighth, or one second.
    #[cfg_attr(feature = "serde", serde(rename = "total_seconds", with = "serde_time::seconds"))]
    pub total: Duration,
    /// The own time of the longest stall. A stall in progress counts as in
    /// [`total`](Self::total).
    #[cfg_attr(feature = "serde", serde(rename = "max_seconds", with = "serde_time::seconds"))]
    pub max: Duration,
    /// The age of the oldest stall in progress at this moment. `None` if no
    /// stall is in progress. A stall that is over stays in progress, with the
    /// age that is proven, until its end is processed, but for at most 250 ms.
    /// In a report, it does not.
    #[cfg_attr(
        feature = "serde",
        serde(rename = "ongoing_seconds", with = "serde_time::optional_seconds", default)
    )]
    pub ongoing: Option<Duration>,
    /// How the stalls that have ended spent their time.
    pub split: Split,
    /// What is known about the blocking call.
    pub detail: Detail,
    /// The tasks that the stalls delayed.
    pub victims: Victims,
    /// What to write instead, as a phrase in English.
    pub advice: String,
    /// How [`stack`](Self::stack) was captured.
    pub evidence: Evidence,
    /// How many of the stalls that have ended have no stack of their own, for
    /// example because the [capture budget] was used up. They count here
    /// because tasks of their kind were seen to block nowhere else.
    ///
    /// [capture budget]: crate::ScopeBuilder::captures_per_second
    #[cfg_attr(feature = "serde", serde(default))]
    pub without_stack: u64,
    /// How many of the stalls that have ended have only one stack, from the
    /// first third of their time, or one stack for the finding's part of a poll
    /// that blocked at several lines. Most of their time may belong to another
    /// line.
    #[cfg_attr(feature = "serde", serde(default))]
    pub sampled_once: u64,
    /// How many of the stalls that have ended have a time that is a lower
    /// bound: they were recorded with
    /// [`Recording::Detect`](crate::Recording::Detect), so their start is when
    /// the watchdog has found them.
    #[cfg_attr(feature = "serde", serde(default))]
    pub lower_bounds: u64,
    /// The stack with the best evidence so far, innermost frame first. Empty if
    /// no stack was captured. Among stacks of equal evidence, the line and call
    /// that were sampled most often are shown.
    pub stack: Vec<Frame>,
    /// Why frames of [`stack`](Self::stack) have no line, as a sentence. For
    /// example, the debug information is in a file that was not found, or a
    /// library was replaced after it was loaded. `None` if nothing is missing,
    /// and in documents of versions that did not report it.
    #[cfg_attr(feature = "serde", serde(default))]
    pub lines_missing: Option<String>,
    /// When loopscope's reporting thread first processed a stall of this
    /// finding, usually shortly after the stall passed the threshold.
    #[cfg_attr(
        feature = "serde",
        serde(rename = "first_seen_unix_seconds", with = "serde_time::unix_seconds")
    )]
    pub first_seen: SystemTime,
    /// When the reporting thread last processed a stall of this finding.
    #[cfg_attr(
        feature = "serde",
        serde(rename = "last_seen_unix_seconds", with = "serde_time::unix_seconds")
    )]
    pub last_seen: SystemTime,
}

/// Long polls that the machine, not the code, made long. They are not among the
/// findings.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Starved {
    /// The number of polls that were long only because the thread had no CPU,
    /// because the whole process was stopped, or for a time of which nothing is
    /// known.
    pub count: u64,
    /// The time of all long polls, those of findings included, that is not the
    /// code's own: the threads waited for a CPU or were stopped with the whole
    /// process, or nothing is known. The sum of [`Split::not_own`] over all
    /// findings is a part of it.
    #[cfg_attr(feature = "serde", serde(rename = "total_seconds", with = "serde_time::seconds"))]
    pub total: Duration,
}

/// The process that a document comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct ProcessInfo {
    /// The process id.
    pub pid: u32,
    /// The path of the program. Empty if it is not known.
    pub program: String,
    /// The version of loopscope in the program.
    pub loopscope: String,
    /// Whether polls of every task are recorded (`--cfg tokio_unstable`). If
    /// false, only polls of named futures are.
    pub all_tasks: bool,
}

/// All findings so far, and what they do not include.
///
/// [`Scope::findings`](crate::Scope::findings) returns it; the telemetry thread
/// serves it as `/findings`.
///
/// # JSON
///
/// With the feature `serde`, durations are seconds as floating point numbers,
/// and times are seconds of the Unix epoch. The name of such a field has its
/// unit: [`Finding::total`] is `total_seconds`, and [`Finding::first_seen`] is
/// `first_seen_unix_seconds`. All other fields have the same name as in Rust.
///
/// # Examples
///
/// Reading a document from JSON needs the feature `serde`.
///
#[cfg_attr(feature = "serde", doc = "```")]
#[cfg_attr(not(feature = "serde"), doc = "```ignore")]
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let scope = loopscope::Scope::builder().start()?;
/// # let json = serde_json::to_string(&scope.findings())?;
/// // `json` is, for example, the body of a response to `GET /findings`.
/// let document: loopscope::FindingsDocument = serde_json::from_str(&json)?;
/// assert_eq!(document.schema, loopscope::FINDINGS_SCHEMA);
/// for finding in &document.findings {
///     println!("{}, {:?} in total", finding.cause, finding.total);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct FindingsDocument {
    /// The name of the schema, [`FINDINGS_SCHEMA`]. Readers of JSON should
    /// check it.
    pub schema: String,
    /// The process that this document comes from.
    pub process: ProcessInfo,
    /// The blocking threshold: a poll is a stall if the code, not the machine,
    /// makes it last at least this long.
    #[cfg_attr(feature = "serde", serde(rename = "threshold_seconds", with = "serde_time::seconds"))]
    pub threshold: Duration,
    /// The findings, the one with the most total time first.
    pub findings: Vec<Finding>,
    /// Long polls that the machine, not the code, made long.
    pub starved: Starved,
    /// The number of reports that the rate limit kept out of the log and the
    /// terminal. The findings include their stalls.
    pub suppressed_reports: u64,
    /// The number of lost observations: long polls, waits or stacks. If it is
    /// not zero, the counts of the findings are lower bounds.
    pub dropped: u64,
    /// The number of observations, such as long polls and waits, that are not
    /// part of the findings yet because loopscope's threads have not processed
    /// them. [`Scope::flush`](crate::Scope::flush) waits until they have. Zero
    /// in documents of versions that did not have it.
    #[cfg_attr(feature = "serde", serde(default))]
    pub pending: u64,
    /// What is recorded now, unless the scope `is_paused`. With
    /// [`Recording::Detect`] the times of stalls are lower bounds, and findings
    /// do not say which tasks waited.
    #[cfg_attr(feature = "serde", serde(default))]
    pub recording: Recording,
    /// Whether the scope is [paused](crate::Scope::pause), and finds nothing
    /// new.
    #[cfg_attr(feature = "serde", serde(default))]
    pub is_paused: bool,
}

/// One stall with its times, for example to compare stalls with latencies.
///
/// A poll of several findings (see [`Finding::count`]) is one stall of each
/// after its end. They follow one another in the order in which their calls
/// were seen, each with the length of its part, and together take the time of
/// the poll. While the poll lasts, it is one stall, of the finding with the
/// most time so far.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Stall {
    /// When the poll, or the stall's part of it, began. In JSON, nanoseconds of
    /// the Unix epoch. The time from start to end is by the clock: unlike
    /// [`Finding::total`], it includes time in which the thread had no CPU.
    #[cfg_attr(feature = "serde", serde(rename = "start_unix_ns", with = "serde_time::unix_nanos"))]
    pub start: SystemTime,
    /// When the poll, or the stall's part of it, ended. `None` if it is in
    /// progress, as in [`Finding::ongoing`]. If its end has not been processed
    /// by then, the last time at which it was seen.
    #[cfg_attr(
        feature = "serde",
        serde(rename = "end_unix_ns", with = "serde_time::optional_unix_nanos", default)
    )]
    pub end: Option<SystemTime>,
    /// The label of the worker: its index, after the name of its runtime if
    /// that has one (`io/3`), or the name of a thread that is not a worker,
    /// such as `main`.
    pub worker: String,
    /// The kind of the task, as in [`TaskInfo::kind`].
    pub task: String,
    /// The [`Finding::id`] of the finding that counts the stall. `None` if it
    /// has no finding.
    pub finding: Option<String>,
}

/// The value of [`StallsDocument::schema`].
pub const STALLS_SCHEMA: &str = "loopscope.stalls/1";

/// The most recent stalls: up to 4,096 that have ended, and all in progress.
///
/// The telemetry thread serves it as `/stalls`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct StallsDocument {
    /// The name of the schema, [`STALLS_SCHEMA`].
    pub schema: String,
    /// The time of this process's clock when the document was made. A reader on
    /// another machine can use it to align its own clock. In JSON, nanoseconds
    /// of the Unix epoch.
    #[cfg_attr(feature = "serde", serde(rename = "now_unix_ns", with = "serde_time::unix_nanos"))]
    pub now: SystemTime,
    /// When the scope started: stalls before it are not known. In JSON,
    /// nanoseconds of the Unix epoch. `None` in documents of versions that did
    /// not have it.
    #[cfg_attr(
        feature = "serde",
        serde(rename = "scope_start_unix_ns", with = "serde_time::optional_unix_nanos", default)
    )]
    pub scope_start: Option<SystemTime>,
    /// The stalls, ordered by their start.
    pub stalls: Vec<Stall>,
}
