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

/// Where a parked thread waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(not(stack_capture), allow(dead_code))]
pub(crate) enum ParkPlace {
    /// In a call that waits for I/O, such as `epoll_wait`.
    Driver,
    /// On a futex.
    Condvar,
    /// The thread is running or runnable.
    Nowhere,
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

impl InSyscall {
    fn is_futex(&self) -> bool {
        #[cfg(target_os = "linux")]
        let is_futex = self.number == libc::SYS_futex;
        #[cfg(not(target_os = "linux"))]
        let is_futex = false;
        is_futex
    }
}

/// A thread's CPU times at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ThreadTimes {
    pub(crate) at: Ticks,
    /// The total CPU time.
    pub(crate) cpu_nanos: u64,
    /// The total time runnable without a CPU. The kernel adds a wait when it
    /// ends. `None` if it could not be read.
    pub(crate) run_queue_nanos: Option<u64>,
    /// How many times the thread was put on a CPU. Zero if it could not be
    /// read.
    pub(crate) slices: u64,
}

impl Default for ThreadTimes {
    /// Returns the CPU times of a thread at its start.
    fn default() -> Self {
        Self { at: 0, cpu_nanos: 0, run_queue_nanos: Some(0), slices: 0 }
    }
}

impl ThreadTimes {
    /// Returns the growth of the run-queue time since `before`; zero if it is
    /// not known.
    pub(crate) fn known_wait_since(&self, before: Option<u64>) -> u64 {
        self.wait_since(before).unwrap_or(0)
    }

    /// Returns the growth of the run-queue time since `before`; `None` if one
    /// of the two could not be read.
    pub(crate) fn wait_since(&self, before: Option<u64>) -> Option<u64> {
        Some(self.run_queue_nanos?.saturating_sub(before?))
    }
}

/// A thread's CPU times and state at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ThreadSample {
    pub(crate) times: ThreadTimes,
    /// Whether the thread's CPU time grew during the sample: it was on a CPU.
    pub(crate) is_on_cpu: bool,
    /// The letter of the state in proc(5): R, S, D, ... It is `?` if it could
    /// not be read, or is that of a later moment than the CPU times.
    pub(crate) state: u8,
    pub(crate) activity: ThreadActivity,
}

impl ThreadSample {
    /// Returns whether the thread does not wait for a CPU at this moment. Then
    /// the kernel has added all of its waits for a CPU.
    pub(crate) fn has_no_pending_wait(&self) -> bool {
        self.is_on_cpu || self.is_asleep()
    }

    /// Returns whether the thread sleeps. A state that could not be read shows
    /// nothing.
    pub(crate) fn is_asleep(&self) -> bool {
        matches!(self.state, b'S' | b'D')
    }

    /// Returns whether the thread runs although a capture found it waiting, or
    /// waits although the capture found it running.
    pub(crate) fn contradicts(&self, was_on_cpu: bool) -> bool {
        match self.activity {
            ThreadActivity::Running => !was_on_cpu,
            ThreadActivity::InSyscall(_) => was_on_cpu,
            ThreadActivity::OutsideSyscall | ThreadActivity::Unknown => false,
        }
    }

    /// Returns whether the thread waits in a system call that no other thread
    /// of the process ends: not for a lock or a message.
    pub(crate) fn waits_for_no_thread(&self) -> bool {
        self.is_asleep() && !matches!(self.activity, ThreadActivity::InSyscall(call) if call.is_futex())
    }

    /// Returns whether the thread was stopped, alone or with its process.
    pub(crate) fn is_stopped(&self) -> bool {
        matches!(self.state, b'T' | b't')
    }

    /// Returns whether the thread ran or waited for a CPU.
    pub(crate) fn is_runnable(&self) -> bool {
        match self.activity {
            ThreadActivity::Running => true,
            ThreadActivity::Unknown => self.state == b'R',
            ThreadActivity::InSyscall(_) | ThreadActivity::OutsideSyscall => false,
        }
    }
}
