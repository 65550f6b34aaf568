//! Blocks signals on the threads of loopscope. A signal to the process, which
//! the kernel delivers to any thread that does not block it, then reaches a
//! thread of the application or waits for its `sigwait`, as it does without
//! loopscope. A write to a closed pipe returns an error and raises no signal.
#![allow(unsafe_code)]

#[cfg(unix)]
pub(crate) use unix::BlockedSignals;

#[cfg(unix)]
mod unix {
    use std::mem::MaybeUninit;
    use std::ptr;

    /// Signals that a thread causes by its own instructions. If a thread blocks
    /// one of them and causes it, the kernel ends the process.
    const OF_OWN_INSTRUCTIONS: [i32; 6] =
        [libc::SIGSEGV, libc::SIGBUS, libc::SIGFPE, libc::SIGILL, libc::SIGTRAP, libc::SIGSYS];

    /// Blocks signals on the calling thread until it is dropped there. A thread
    /// that is spawned in the meantime inherits that, and keeps it.
    pub(crate) struct BlockedSignals {
        previous: libc::sigset_t,
    }

    impl BlockedSignals {
        pub(crate) fn new() -> Option<Self> {
            let mut blocked = MaybeUninit::<libc::sigset_t>::uninit();
            let mut previous = MaybeUninit::<libc::sigset_t>::uninit();
            // SAFETY: `blocked` is initialised by the first call and valid for
            // the others. `previous` is written by the last call and read only
            // if that call succeeded.
            unsafe {
                libc::sigfillset(blocked.as_mut_ptr());
                for signal in OF_OWN_INSTRUCTIONS {
                    libc::sigdelset(blocked.as_mut_ptr(), signal);
                }
                let failed = libc::pthread_sigmask(libc::SIG_BLOCK, blocked.as_ptr(), previous.as_mut_ptr());
                (failed == 0).then(|| Self { previous: previous.assume_init() })
            }
        }
    }

    impl Drop for BlockedSignals {
        fn drop(&mut self) {
            // SAFETY: `previous` is a set of signals that the system has
            // returned. The call with null writes no previous set.
            unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.previous, ptr::null_mut()) };
        }
    }
}

/// There are no signals to block.
#[cfg(not(unix))]
pub(crate) struct BlockedSignals;

#[cfg(not(unix))]
impl BlockedSignals {
    pub(crate) fn new() -> Option<Self> {
        None
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::{fs, thread};

    use super::*;

    fn blocked_signals() -> u64 {
        let status = fs::read_to_string("/proc/thread-self/status").unwrap();
        let mask = status.lines().find_map(|line| line.strip_prefix("SigBlk:")).unwrap();
        u64::from_str_radix(mask.trim(), 16).unwrap()
    }

    #[test]
    fn a_spawned_thread_keeps_signals_blocked_and_the_spawning_thread_does_not() {
        let is_blocked = |mask: u64, signal: i32| mask >> (signal - 1) & 1 == 1;
        let before = blocked_signals();
        let blocked = BlockedSignals::new();
        let thread = thread::spawn(blocked_signals);
        drop(blocked);
        assert_eq!(blocked_signals(), before);
        let inherited = thread.join().unwrap();
        for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGUSR1, libc::SIGPIPE, libc::SIGRTMAX()] {
            assert!(is_blocked(inherited, signal), "{signal}");
        }
        for signal in [libc::SIGSEGV, libc::SIGBUS, libc::SIGFPE, libc::SIGILL, libc::SIGSYS] {
            assert!(!is_blocked(inherited, signal), "{signal}");
        }
    }
}
