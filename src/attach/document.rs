//! What `loopscope ps` knows of a process, as plain data.

use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::finding::{Cause, Evidence, Frame};
use crate::serde_time;

/// The value of [`PsDocument::schema`].
pub const PS_SCHEMA: &str = "loopscope.ps/1";

/// The runtimes, threads and tasks of one Tokio process at one moment.
///
/// The process runs on while it is read, so two values may belong to two
/// moments a few milliseconds apart. [`PsCoverage`] says what could not be read
/// whole.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PsDocument {
    /// [`PS_SCHEMA`].
    pub schema: String,
    /// The id of the process.
    pub pid: i32,
    /// The path of the program, as the process knows it.
    pub program: String,
    /// When the reading began. In JSON, seconds of the Unix epoch.
    #[serde(with = "serde_time::unix_seconds")]
    pub at: SystemTime,
    /// The runtimes, sorted by their first appearance among the threads.
    pub runtimes: Vec<PsRuntime>,
    /// The threads, sorted by thread id.
    pub threads: Vec<PsThread>,
    /// The tasks, sorted by id.
    pub tasks: Vec<PsTask>,
    /// The futures that threads run with `block_on`, sorted by thread id: as
    /// far as they could be found.
    #[serde(default)]
    pub roots: Vec<PsRoot>,
    /// What is certainly or probably wrong.
    pub verdicts: Vec<PsVerdict>,
    /// What was read, and what was not.
    pub coverage: PsCoverage,
}

/// A runtime of Tokio.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PsRuntime {
    /// The address of the scheduler's handle, which all tasks of the runtime
    /// point to.
    pub handle: u64,
    /// Which scheduler it has.
    pub kind: PsRuntimeKind,
    /// The number of worker threads of a multi-thread runtime; `None` if it was
    /// not found.
    pub workers: Option<usize>,
    /// The number of tasks, without those of the blocking pool.
    pub tasks: usize,
}

/// A kind of scheduler.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum PsRuntimeKind {
    /// Several worker threads.
    MultiThread,
    /// One thread: the one that calls `block_on`.
    CurrentThread,
    /// A `LocalSet`.
    LocalSet,
    /// Not known.
    Unknown,
}

/// A thread of the process.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PsThread {
    /// The thread id.
    pub tid: i32,
    /// The name, as printable text.
    pub name: String,
    /// What the thread is for.
    pub role: PsRole,
    /// What the thread does.
    pub state: PsThreadState,
    /// The system call in which it waits.
    pub call: Option<String>,
    /// The object of that call, for example a path.
    pub object: Option<String>,
    /// Why it does not return to the runtime, if it is blocked, or to the
    /// blocking pool.
    pub cause: Option<Cause>,
    /// The function that blocks, such as `std::thread::sleep`.
    #[serde(default)]
    pub primitive: Option<String>,
    /// What to write instead, if it is blocked.
    #[serde(default)]
    pub advice: Option<String>,
    /// The address of the header of the task that it polls, if that is known.
    pub task: Option<u64>,
    /// For how long it has certainly been in this state, in seconds; `None` if
    /// one look cannot tell.
    pub seconds: Option<f64>,
    /// The line of the application that it is at.
    pub site: Option<Frame>,
    /// The stack, innermost first.
    pub stack: Vec<Frame>,
    /// How far the stack can be trusted.
    pub evidence: Evidence,
}

/// What a thread is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum PsRole {
    /// A worker of a multi-thread runtime.
    Worker,
    /// A thread of the blocking pool.
    Blocking,
    /// A thread that runs a `block_on`: its future, or a current-thread
    /// runtime.
    BlockOn,
    /// A thread with a runtime's name whose stack does not show what it is for.
    Runtime,
    /// A thread that belongs to no runtime, as far as its stack shows.
    Other,
}

/// What a thread does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum PsThreadState {
    /// It waits for work, on a futex.
    Parked,
    /// It waits for I/O and timers for the whole runtime.
    DrivingIo,
    /// It waits in a system call within a poll: it is blocked.
    Blocked,
    /// It runs within a poll, or seems to.
    Polling,
    /// It runs something else: the scheduler, or a job of the blocking pool. Or
    /// it runs, and its stack was not read.
    Running,
    /// It waits in a system call outside of a poll: a job of the blocking pool,
    /// or a thread of the application.
    Waiting,
    /// It could not be read, or it waits and its stack does not show for what.
    Unknown,
}

/// A task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PsTask {
    /// The address of its header, which is unique while it lives.
    pub address: u64,
    /// Tokio's id of the task.
    pub id: Option<u64>,
    /// The name of its future, such as `app::session`; the address of its poll
    /// function if the program has no names.
    pub kind: String,
    /// The [`PsRuntime::handle`] of its runtime; `None` for a job of the
    /// blocking pool.
    pub runtime: Option<u64>,
    /// Whether it is a job of the blocking pool.
    pub is_blocking: bool,
    /// What it does.
    pub state: PsTaskState,
    /// The number of references to it.
    pub references: u64,
    /// How many wakers of it are alive, at most: abort handles count too.
    pub wakers: u64,
    /// Whether a `JoinHandle` of it is alive.
    pub has_join_handle: bool,
    /// Where it was spawned; only programs built with `tokio_unstable` have it.
    pub spawned_at: Option<String>,
    /// What it awaits, outermost first.
    pub chain: Vec<PsAwait>,
    /// What the innermost await waits for.
    pub leaf: Option<PsLeaf>,
    /// Why the chain is empty or ends early, as a sentence.
    pub chain_missing: Option<String>,
}

/// What a task does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum PsTaskState {
    /// It waits to be woken.
    Idle,
    /// It was woken and waits to be polled.
    Notified,
    /// It is being polled.
    Running,
    /// It has ended; its output waits to be taken.
    Complete,
}

/// The future that a thread runs with `block_on`, such as that of `main`. It is
/// no task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PsRoot {
    /// The [`PsThread::tid`] of the thread.
    pub tid: i32,
    /// The line that has called `block_on`.
    pub site: Option<Frame>,
    /// The name of the future, such as `app::main`.
    pub kind: String,
    /// What it awaits, outermost first.
    pub chain: Vec<PsAwait>,
    /// What the innermost await waits for.
    pub leaf: Option<PsLeaf>,
    /// Why the chain is empty or ends early, as a sentence.
    pub chain_missing: Option<String>,
}

/// One await of a chain: a future that waits for the next one.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PsAwait {
    /// The name of the async function or of the future's type.
    pub function: String,
    /// The source file of the await.
    pub file: Option<String>,
    /// The line of the await, counted from 1.
    pub line: Option<u32>,
}

/// What a future without a further await waits for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
#[non_exhaustive]
pub enum PsLeaf {
    /// A timer.
    Sleep {
        /// The seconds until it fires; negative if it should have fired.
        seconds_left: Option<f64>,
    },
    /// A permit of a semaphore: of a `Mutex`, an `RwLock`, a `Semaphore` or a
    /// bounded channel.
    Semaphore {
        /// The address of the semaphore.
        address: u64,
        /// What it belongs to, such as `tokio::sync::mutex::Mutex`.
        of: Option<String>,
        /// Whether the permits were granted although the future was not polled
        /// since.
        is_granted: Option<bool>,
    },
    /// A message of a channel.
    Channel {
        /// The channel, such as `tokio::sync::mpsc`.
        of: String,
        /// The address of what sender and receiver share.
        address: Option<u64>,
    },
    /// The end of another task.
    Join {
        /// The address of that task's header.
        task: u64,
    },
    /// A socket or another descriptor.
    Io {
        /// The descriptor.
        fd: Option<i32>,
        /// What it refers to, such as `tcp to 127.0.0.1:80`.
        object: Option<String>,
    },
    /// A `Notify`.
    Notify {
        /// The address of the `Notify`.
        address: Option<u64>,
    },
    /// Several futures at once.
    Several {
        /// What holds them, such as `FuturesUnordered` or `select!`.
        of: String,
        /// How many there are, if that is known.
        count: Option<usize>,
        /// What each of them awaits, for those that could be read. At most 64.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        branches: Vec<PsBranch>,
    },
    /// Another type.
    Other {
        /// The name of the type.
        of: String,
    },
}

/// One of several futures that a task polls at once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PsBranch {
    /// What it awaits, outermost first.
    pub chain: Vec<PsAwait>,
    /// What its innermost await waits for.
    pub leaf: Option<PsLeaf>,
    /// Why the chain is empty or ends early, as a sentence.
    pub chain_missing: Option<String>,
}

/// Something that is wrong.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PsVerdict {
    /// What is wrong.
    pub kind: PsVerdictKind,
    /// Whether the evidence is exact. Otherwise the verdict is a suspicion.
    pub is_certain: bool,
    /// One sentence with the evidence.
    pub reason: String,
    /// The addresses of the headers of the tasks.
    pub tasks: Vec<u64>,
    /// The ids of the threads.
    pub threads: Vec<i32>,
}

/// A kind of [`PsVerdict`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum PsVerdictKind {
    /// A worker does not return from a poll.
    BlockedWorker,
    /// Every worker of a runtime is blocked.
    BlockedRuntime,
    /// Nothing can wake the task any more.
    NeverWoken,
    /// The task was woken a second ago or longer and was not polled since,
    /// although the threads of its runtime do not run, or do not exist.
    NotScheduled,
    /// A future holds or was granted what others wait for, and is not polled.
    Futurelock,
    /// Tasks wait for each other.
    Cycle,
    /// Many tasks wait for one lock, which is not released for a second or
    /// longer. If tasks seem to hold it, they are the first of the tasks.
    LockQueue,
    /// The blocking pool is full.
    PoolFull,
    /// A signal, a debugger or a control group has stopped the process.
    Stopped,
}

/// What was read, and what was not.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PsCoverage {
    /// The time that the reading took, in seconds.
    pub seconds: f64,
    /// The CPU time that the reading took, in seconds.
    pub cpu_seconds: f64,
    /// The bytes of memory that were searched for tasks.
    pub scanned_bytes: u64,
    /// The bytes that were not searched, because of a limit.
    pub skipped_bytes: u64,
    /// The number of places that look like a task.
    pub candidates: usize,
    /// How many of them are tasks by every check.
    pub consistent: usize,
    /// Those that changed or vanished while they were read.
    pub torn: usize,
    /// What is not covered, and what would add it: sentences.
    pub notes: Vec<String>,
}

/// A document for tests.
#[cfg(test)]
pub(crate) mod ps_sample {
    use super::*;

    pub(crate) fn document() -> PsDocument {
        let step = |function: &str, line| PsAwait {
            function: function.to_owned(),
            file: Some("src/session.rs".to_owned()),
            line: Some(line),
        };
        let task = |id| PsTask {
            address: 0x1000 + 0x80 * id,
            id: Some(id),
            kind: "app::session".to_owned(),
            runtime: Some(0x7f00),
            is_blocking: false,
            state: PsTaskState::Idle,
            references: 2,
            wakers: 1,
            has_join_handle: false,
            spawned_at: Some("src/server.rs:61:9".to_owned()),
            chain: vec![step("app::session", 88), step("app::send", 21)],
            leaf: Some(PsLeaf::Sleep { seconds_left: Some(1.5) }),
            chain_missing: None,
        };
        PsDocument {
            schema: PS_SCHEMA.to_owned(),
            pid: 4_242,
            program: "/opt/app".to_owned(),
            at: SystemTime::UNIX_EPOCH,
            runtimes: Vec::new(),
            threads: Vec::new(),
            tasks: [3, 4].map(task).into(),
            roots: Vec::new(),
            verdicts: Vec::new(),
            coverage: PsCoverage { cpu_seconds: 0.01, consistent: 2, ..PsCoverage::default() },
        }
    }
}
