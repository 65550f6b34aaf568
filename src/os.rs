//! What loopscope asks of the operating system about threads. Where a system
//! has no answer, `None` says so and the caller does with less.

/// A thread as the operating system knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(not(stack_capture), allow(dead_code))]
pub(crate) struct ThreadInfo {
    /// The kernel's id of the thread.
    pub(crate) tid: i32,
    /// The highest address of its stack, exclusive; zero if not known.
    pub(crate) stack_top: usize,
    /// The lowest address of its stack.
    pub(crate) stack_bottom: usize,
}

#[cfg(target_os = "linux")]
pub(crate) use linux::{
    current_thread, fence_all_threads, getpid, has_receive_timeout, has_send_timeout, read_memory,
    run_queue_nanos, thread_cpu_nanos,
};

#[cfg(target_os = "linux")]
#[allow(unsafe_code)]
mod linux {
    use std::fs::File;
    use std::mem::MaybeUninit;
    use std::os::unix::fs::FileExt;

    use crate::os::ThreadInfo;

    /// The calling thread.
    pub(crate) fn current_thread() -> Option<ThreadInfo> {
        // SAFETY: no arguments, no memory involved.
        let tid = unsafe { libc::gettid() };
        let (stack_bottom, stack_top) = stack_bounds().unwrap_or_default();
        Some(ThreadInfo { tid, stack_top, stack_bottom })
    }

    fn stack_bounds() -> Option<(usize, usize)> {
        let mut attributes = MaybeUninit::<libc::pthread_attr_t>::uninit();
        // SAFETY: the call initialises `attributes` where it returns zero, and
        // only then is it read and destroyed; the out-pointers are locals.
        unsafe {
            if libc::pthread_getattr_np(libc::pthread_self(), attributes.as_mut_ptr()) != 0 {
                return None;
            }
            let (mut low, mut size) = (std::ptr::null_mut(), 0);
            let failed = libc::pthread_attr_getstack(attributes.as_ptr(), &raw mut low, &raw mut size);
            libc::pthread_attr_destroy(attributes.as_mut_ptr());
            (failed == 0).then(|| (low.addr(), low.addr() + size))
        }
    }

    /// CPU time that a thread of this process has used, or `None` once it has
    /// ended.
    pub(crate) fn thread_cpu_nanos(tid: i32) -> Option<u64> {
        // The kernel's encoding of a thread's CPU clock (CPUCLOCK_PERTHREAD |
        // CPUCLOCK_SCHED), which pthread_getcpuclockid makes too, but from a
        // pthread_t that must still be alive.
        let clock = (!tid << 3) | 6;
        let mut time = MaybeUninit::<libc::timespec>::uninit();
        // SAFETY: `time` is written by the call and read only where it succeeded.
        let time = unsafe {
            if libc::clock_gettime(clock, time.as_mut_ptr()) != 0 {
                return None;
            }
            time.assume_init()
        };
        Some(time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64)
    }

    /// Time that a thread of this process has been runnable without running;
    /// zero where the kernel does not say.
    pub(crate) fn run_queue_nanos(tid: i32) -> u64 {
        let text = std::fs::read_to_string(format!("/proc/self/task/{tid}/schedstat")).unwrap_or_default();
        text.split_whitespace().nth(1).and_then(|field| field.parse().ok()).unwrap_or(0)
    }

    /// Copies memory of this process, or `None` where there is none: an address
    /// that is not mapped is an answer here, not a crash.
    pub(crate) fn read_memory(address: usize, length: usize) -> Option<Vec<u8>> {
        let mut bytes = vec![0_u8; length];
        let local = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: length };
        let remote = libc::iovec { iov_base: std::ptr::without_provenance_mut(address), iov_len: length };
        // SAFETY: `local` describes `bytes`, which outlives the call; `remote`
        // is only an address to the kernel, which checks it.
        let read =
            unsafe { libc::process_vm_readv(libc::getpid(), &raw const local, 1, &raw const remote, 1, 0) };
        if usize::try_from(read) == Ok(length) {
            return Some(bytes);
        }
        // The call is not everywhere: some sandboxes and emulators do without it.
        let refused =
            matches!(std::io::Error::last_os_error().raw_os_error(), Some(libc::ENOSYS | libc::EPERM));
        (refused && read_from_file(address, &mut bytes).is_ok()).then_some(bytes)
    }

    fn read_from_file(address: usize, bytes: &mut [u8]) -> std::io::Result<()> {
        File::open("/proc/self/mem")?.read_exact_at(bytes, address as u64)
    }

    /// Whether a descriptor is a socket whose reads time out, or may be one.
    pub(crate) fn has_receive_timeout(fd: i32) -> bool {
        has_timeout(fd, libc::SO_RCVTIMEO)
    }

    /// Whether a descriptor is a socket whose writes time out, or may be one.
    pub(crate) fn has_send_timeout(fd: i32) -> bool {
        has_timeout(fd, libc::SO_SNDTIMEO)
    }

    fn has_timeout(fd: i32, option: i32) -> bool {
        let mut timeout = MaybeUninit::<libc::timeval>::zeroed();
        let mut length = size_of::<libc::timeval>() as libc::socklen_t;
        // SAFETY: at most `length` bytes are written to `timeout`, which is
        // initialised before and after: all-zero is valid for it.
        let (failed, timeout) = unsafe {
            let out = timeout.as_mut_ptr().cast();
            let failed = libc::getsockopt(fd, libc::SOL_SOCKET, option, out, &raw mut length);
            (failed != 0, timeout.assume_init())
        };
        if failed {
            return std::io::Error::last_os_error().raw_os_error() != Some(libc::ENOTSOCK);
        }
        (timeout.tv_sec, timeout.tv_usec) != (0, 0)
    }

    /// Makes every running thread of this process pass a full memory fence, so
    /// that they need none of their own; `false` where the kernel cannot.
    pub(crate) fn fence_all_threads() -> bool {
        let membarrier = |command: libc::c_int| {
            // SAFETY: a command and two zeros, no memory involved.
            unsafe { libc::syscall(libc::SYS_membarrier, command, 0, 0) == 0 }
        };
        // A process registers once, and again is no error.
        membarrier(libc::MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED)
            && membarrier(libc::MEMBARRIER_CMD_PRIVATE_EXPEDITED)
    }

    /// This process.
    pub(crate) fn getpid() -> i32 {
        // SAFETY: no arguments, cannot fail.
        unsafe { libc::getpid() }
    }
}

/// The calling thread.
#[cfg(not(target_os = "linux"))]
pub(crate) fn current_thread() -> Option<ThreadInfo> {
    None
}

/// Makes every running thread of this process pass a full memory fence.
#[cfg(not(target_os = "linux"))]
pub(crate) fn fence_all_threads() -> bool {
    false
}

/// Time that a thread of this process has been runnable without running.
#[cfg(not(target_os = "linux"))]
pub(crate) fn run_queue_nanos(_tid: i32) -> u64 {
    0
}

/// CPU time that a thread of this process has used.
#[cfg(not(target_os = "linux"))]
pub(crate) fn thread_cpu_nanos(_tid: i32) -> Option<u64> {
    None
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn this_thread_has_a_stack_and_a_cpu_clock() {
        let local = 0_u8;
        let thread = current_thread().unwrap();
        let here = std::ptr::from_ref(&local).addr();
        assert!((thread.stack_bottom..thread.stack_top).contains(&here));
        let before = thread_cpu_nanos(thread.tid).unwrap();
        let mut n = 0_u64;
        while thread_cpu_nanos(thread.tid).unwrap() == before {
            n = std::hint::black_box(n + 1);
        }
        assert_eq!(thread_cpu_nanos(i32::MAX / 8), None);
    }

    #[test]
    fn memory_that_is_not_there_is_none() {
        let word = 0x0123_4567_89AB_CDEF_u64;
        let bytes = read_memory(std::ptr::from_ref(&word).addr(), 8).unwrap();
        assert_eq!(bytes, word.to_ne_bytes());
        assert_eq!(read_memory(8, 8), None);
    }
}
