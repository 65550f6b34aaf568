//! A look at a thread: plain data.

use crate::record::clock::Ticks;

/// What a thread does at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ThreadActivity {
    /// Running or runnable, in user code or in the kernel.
    Running,
    /// Waiting inside a system call.
    InSyscall(InSyscall),
    /// The kernel does not say.
    Unknown,
}

/// A system call in progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct InSyscall {
    pub(crate) number: i64,
    pub(crate) arguments: [u64; 6],
    pub(crate) sp: u64,
    pub(crate) pc: u64,
}

/// A thread's accounts at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ThreadSample {
    pub(crate) at: Ticks,
    /// Total CPU time.
    pub(crate) cpu_nanos: u64,
    /// Total time runnable without a CPU, credited as the wait ends.
    pub(crate) run_queue_nanos: u64,
    /// How often it has been put on a CPU.
    pub(crate) slices: u64,
    /// The state's letter in proc(5): R, S, D, ...
    pub(crate) state: u8,
    pub(crate) activity: ThreadActivity,
}
