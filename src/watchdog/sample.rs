//! A sample of a thread: plain data.

use crate::record::clock::Ticks;

/// What a thread does at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ThreadActivity {
    /// The thread is running or runnable, in user code or in the kernel.
    Running,
    /// The thread waits inside a system call.
    InSyscall(InSyscall),
    /// The thread waits outside of a system call, for example for a page from
    /// disk.
    OutsideSyscall,
    /// The kernel does not report the activity. The thread may be in any system
    /// call.
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

/// A thread's CPU times and state at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ThreadSample {
    pub(crate) at: Ticks,
    /// The total CPU time.
    pub(crate) cpu_nanos: u64,
    /// The total time runnable without a CPU. The kernel adds a wait when it
    /// ends.
    pub(crate) run_queue_nanos: u64,
    /// How many times the thread was put on a CPU.
    pub(crate) slices: u64,
    /// The letter of the state in proc(5): R, S, D, ...
    pub(crate) state: u8,
    pub(crate) activity: ThreadActivity,
}

impl ThreadSample {
    /// Returns whether the thread ran or waited for a CPU.
    pub(crate) fn is_runnable(&self) -> bool {
        match self.activity {
            ThreadActivity::Running => true,
            ThreadActivity::Unknown => self.state == b'R',
            ThreadActivity::InSyscall(_) | ThreadActivity::OutsideSyscall => false,
        }
    }
}
