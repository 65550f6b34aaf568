//! Queries to the operating system about threads. They return `None`, zero or
//! `false` where the system has no answer, and the caller continues without
//! it.

/// A thread as the operating system knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(not(stack_capture), allow(dead_code))]
pub(crate) struct ThreadInfo {
    /// The thread id of the kernel.
    pub(crate) tid: i32,
    /// The end of its stack: the highest address plus one. Zero if unknown.
    pub(crate) stack_top: usize,
    /// The lowest address of its stack. Zero if unknown.
    pub(crate) stack_bottom: usize,
}

#[cfg(target_os = "linux")]
pub(crate) use linux::{
    current_thread, descriptor_limit, fence_all_threads, getpid, has_receive_timeout, read_memory,
    read_memory_until_fault, thread_cpu_nanos,
};

#[cfg(all(target_os = "linux", not(stack_capture)))]
pub(crate) use linux::run_queue_nanos;

#[cfg(all(feature = "attach", stack_capture))]
pub(crate) use linux::{lower_priority, read_memory_into, read_memory_pieces};

#[cfg(stack_capture)]
pub(crate) use linux::{current_thread_id, thread_area};

#[cfg(all(feature = "attach", stack_capture))]
pub(crate) use linux::{MemoryAccess, monotonic_time, page_bytes, process_exists, try_memory};

#[cfg(target_os = "linux")]
pub(crate) use linux::permit_readers;

#[cfg(target_os = "linux")]
#[allow(unsafe_code)]
mod linux {
    use std::cell::Cell;
    use std::fs::File;
    use std::io;
    use std::mem::MaybeUninit;
    use std::os::unix::fs::FileExt;
    #[cfg(all(feature = "attach", stack_capture))]
    use std::time::Duration;

    use crate::os::ThreadInfo;

    /// Returns the calling thread.
    pub(crate) fn current_thread() -> Option<ThreadInfo> {
        // SAFETY: the call has no arguments and accesses no memory.
        let tid = unsafe { libc::gettid() };
        let (stack_bottom, stack_top) = known_stack_bounds().unwrap_or_default();
        Some(ThreadInfo { tid, stack_top, stack_bottom })
    }

    /// Returns the kernel's id of the calling thread.
    #[cfg(stack_capture)]
    pub(crate) fn current_thread_id() -> i32 {
        // SAFETY: the call has no arguments and accesses no memory.
        unsafe { libc::gettid() }
    }

    /// Returns an address in the C library's record of a thread of this
    /// process. This record is at the top of the stack of each thread that the
    /// C library has allocated, above all frames.
    #[cfg(stack_capture)]
    pub(crate) fn thread_area(tid: i32) -> Option<usize> {
        let (mut robust_list, mut length) = (0_usize, 0_usize);
        // SAFETY: the call writes a pointer and a length to the two locals.
        let failed = unsafe {
            libc::syscall(libc::SYS_get_robust_list, tid, &raw mut robust_list, &raw mut length) != 0
        };
        (!failed && robust_list != 0).then_some(robust_list)
    }

    /// Returns the lowest address of the calling thread's stack and its end.
    /// They are found once: on the first thread of the process, the C library
    /// reads `/proc/self/maps` for them. The thread of a forked child keeps its
    /// stack.
    fn known_stack_bounds() -> Option<(usize, usize)> {
        thread_local! {
            static KNOWN: Cell<Option<(usize, usize)>> = const { Cell::new(None) };
        }
        if KNOWN.get().is_none() {
            KNOWN.set(stack_bounds());
        }
        KNOWN.get()
    }

    fn stack_bounds() -> Option<(usize, usize)> {
        let mut attributes = MaybeUninit::<libc::pthread_attr_t>::uninit();
        // SAFETY: the call initialises `attributes` if it returns zero, and
        // only then is it read and destroyed. The out-pointers are locals.
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

    /// Returns the CPU time that a thread of this process has used, or `None`
    /// if the thread has ended.
    pub(crate) fn thread_cpu_nanos(tid: i32) -> Option<u64> {
        // The kernel's encoding of a thread's CPU clock (CPUCLOCK_PERTHREAD |
        // CPUCLOCK_SCHED). pthread_getcpuclockid returns the same, but it needs
        // the pthread_t of a live thread.
        let clock = (!tid << 3) | 6;
        let mut time = MaybeUninit::<libc::timespec>::uninit();
        // SAFETY: the call writes `time`, which is read only if it succeeded.
        let time = unsafe {
            if libc::clock_gettime(clock, time.as_mut_ptr()) != 0 {
                return None;
            }
            time.assume_init()
        };
        Some(time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64)
    }

    /// Returns the time of the clock that `Instant` and Tokio's timers use.
    #[cfg(all(feature = "attach", stack_capture))]
    pub(crate) fn monotonic_time() -> Option<Duration> {
        let mut time = MaybeUninit::<libc::timespec>::uninit();
        // SAFETY: the call writes `time`, which is read only if it succeeded.
        let time = unsafe {
            if libc::clock_gettime(libc::CLOCK_MONOTONIC, time.as_mut_ptr()) != 0 {
                return None;
            }
            time.assume_init()
        };
        Some(Duration::new(time.tv_sec.try_into().ok()?, time.tv_nsec.try_into().ok()?))
    }

    /// Returns the time for which a thread of this process was runnable but did
    /// not run, if the kernel reports it.
    #[cfg(not(stack_capture))]
    pub(crate) fn run_queue_nanos(tid: i32) -> Option<u64> {
        let text = std::fs::read_to_string(format!("/proc/self/task/{tid}/schedstat")).ok()?;
        text.split_whitespace().nth(1)?.parse().ok()
    }

    /// Copies memory of this process, or of the process with the id `pid`.
    /// Returns `None` if an address is not mapped, where a plain read would
    /// crash.
    pub(crate) fn read_memory(pid: Option<i32>, address: usize, length: usize) -> Option<Vec<u8>> {
        let mut bytes = vec![0_u8; length];
        let local = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: length };
        let remote = libc::iovec { iov_base: std::ptr::without_provenance_mut(address), iov_len: length };
        // SAFETY: `local` describes `bytes`, which outlives the call. `remote`
        // is only an address for the kernel, which checks it.
        let read =
            unsafe { libc::process_vm_readv(pid_or_own(pid), &raw const local, 1, &raw const remote, 1, 0) };
        if usize::try_from(read) == Ok(length) {
            return Some(bytes);
        }
        let is_read = is_call_refused()
            && memory_file(pid).is_ok_and(|file| file.read_exact_at(&mut bytes, address as u64).is_ok());
        is_read.then_some(bytes)
    }

    fn pid_or_own(pid: Option<i32>) -> i32 {
        pid.unwrap_or_else(getpid)
    }

    fn memory_file(pid: Option<i32>) -> io::Result<File> {
        match pid {
            None => File::open("/proc/self/mem"),
            Some(pid) => File::open(format!("/proc/{pid}/mem")),
        }
    }

    /// Returns whether the last system call failed because it is not available:
    /// some sandboxes and emulators do not provide `process_vm_readv`.
    fn is_call_refused() -> bool {
        matches!(std::io::Error::last_os_error().raw_os_error(), Some(libc::ENOSYS | libc::EPERM))
    }

    /// Copies memory of this process, or of the process with the id `pid`, from
    /// `address` on, at most `length` bytes, up to the first page that cannot
    /// be read.
    pub(crate) fn read_memory_until_fault(pid: Option<i32>, address: usize, length: usize) -> Vec<u8> {
        const PAGE_BYTES: usize = 4096;
        let mut bytes = vec![0_u8; length];
        let local = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: length };
        // One entry for each page: the call stops after the last entry that it
        // can read.
        let mut remote = Vec::new();
        let Some(end) = address.checked_add(length) else { return Vec::new() };
        let mut start = address;
        while start < end {
            let page_end = (start / PAGE_BYTES + 1).saturating_mul(PAGE_BYTES).min(end);
            let iov_base = std::ptr::without_provenance_mut(start);
            remote.push(libc::iovec { iov_base, iov_len: page_end - start });
            start = page_end;
        }
        // SAFETY: `local` describes `bytes`, and `remote` has the given length;
        // both outlive the call. The addresses in `remote` are only for the
        // kernel, which checks them.
        let read = unsafe {
            let count = remote.len() as libc::c_ulong;
            libc::process_vm_readv(pid_or_own(pid), &raw const local, 1, remote.as_ptr(), count, 0)
        };
        let read = match usize::try_from(read) {
            Ok(read) => read,
            Err(_) if is_call_refused() => {
                memory_file(pid).and_then(|file| file.read_at(&mut bytes, address as u64)).unwrap_or(0)
            }
            Err(_) => 0,
        };
        bytes.truncate(read);
        bytes
    }

    /// Copies memory of this process, or of the process with the id `pid`, to
    /// `buffer`. Returns the number of bytes before the first page that cannot
    /// be read.
    #[cfg(all(feature = "attach", stack_capture))]
    pub(crate) fn read_memory_into(pid: Option<i32>, address: usize, buffer: &mut [u8]) -> usize {
        match read_memory_pieces(pid, &[(address, buffer.len())], buffer) {
            0 if is_call_refused() => {
                memory_file(pid).and_then(|file| file.read_at(buffer, address as u64)).unwrap_or(0)
            }
            read => read,
        }
    }

    /// Lowers the priority of the calling thread. It is no error if that fails.
    #[cfg(all(feature = "attach", stack_capture))]
    pub(crate) fn lower_priority(nice: i32) {
        // SAFETY: the call accesses no memory. In Linux, a priority belongs to
        // a thread, and 0 is the calling one.
        unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, nice) };
    }

    /// Copies pieces of memory, each with its address and length, one after the
    /// other to `buffer`. Returns the number of bytes before the first page
    /// that cannot be read. At most [`MAX_PIECES`] are copied.
    #[cfg(all(feature = "attach", stack_capture))]
    pub(crate) fn read_memory_pieces(
        pid: Option<i32>,
        pieces: &[(usize, usize)],
        buffer: &mut [u8],
    ) -> usize {
        let mut length = 0;
        let mut remote = Vec::with_capacity(pieces.len().min(MAX_PIECES));
        for (address, piece_length) in pieces.iter().take(MAX_PIECES) {
            let iov_len = (*piece_length).min(buffer.len() - length);
            remote.push(libc::iovec { iov_base: std::ptr::without_provenance_mut(*address), iov_len });
            length += iov_len;
        }
        let local = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: length };
        // SAFETY: `local` describes the begin of `buffer`, and `remote` has the
        // given length; both outlive the call. The addresses in `remote` are
        // only for the kernel, which checks them.
        let read = unsafe {
            let count = remote.len() as libc::c_ulong;
            libc::process_vm_readv(pid_or_own(pid), &raw const local, 1, remote.as_ptr(), count, 0)
        };
        usize::try_from(read).unwrap_or(0)
    }

    /// The number of pieces that the kernel copies in one call.
    #[cfg(all(feature = "attach", stack_capture))]
    const MAX_PIECES: usize = libc::UIO_MAXIOV as usize;
    /// What comes of an attempt to read another process's memory.
    #[cfg(all(feature = "attach", stack_capture))]
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(crate) enum MemoryAccess {
        /// The kernel permits it.
        Readable,
        /// There is no such process, or it has no memory.
        NoMemory,
        /// The kernel refuses it.
        Refused,
    }

    /// Returns whether the memory of the process `pid` can be read.
    #[cfg(all(feature = "attach", stack_capture))]
    pub(crate) fn try_memory(pid: i32) -> MemoryAccess {
        let mut word = 0_u64;
        let local = libc::iovec { iov_base: (&raw mut word).cast(), iov_len: size_of::<u64>() };
        // The kernel checks the right first. No process has memory here.
        let remote = libc::iovec { iov_base: std::ptr::without_provenance_mut(8), iov_len: size_of::<u64>() };
        // SAFETY: `local` describes `word`, which outlives the call. `remote`
        // is only an address for the kernel, which checks it.
        let read = unsafe { libc::process_vm_readv(pid, &raw const local, 1, &raw const remote, 1, 0) };
        let error = io::Error::last_os_error().raw_os_error();
        match error {
            _ if read >= 0 => MemoryAccess::Readable,
            Some(libc::EFAULT) => MemoryAccess::Readable,
            Some(libc::ESRCH) => MemoryAccess::NoMemory,
            // A sandbox may refuse the call and permit the file.
            _ if memory_file(Some(pid)).is_ok() => MemoryAccess::Readable,
            _ => MemoryAccess::Refused,
        }
    }

    /// Returns whether there is a process or thread with this id, whatever
    /// `/proc` shows.
    #[cfg(all(feature = "attach", stack_capture))]
    pub(crate) fn process_exists(pid: i32) -> bool {
        // SAFETY: the call gets a number and accesses no memory.
        unsafe { libc::getpgid(pid) >= 0 }
    }

    /// Lets every process of the same user read and trace this one, which the
    /// security module Yama otherwise permits only to its ancestors. Returns
    /// `false` if the kernel has no Yama.
    pub(crate) fn permit_readers() -> bool {
        // SAFETY: the call gets numbers and accesses no memory.
        unsafe { libc::prctl(libc::PR_SET_PTRACER, libc::PR_SET_PTRACER_ANY, 0, 0, 0) == 0 }
    }

    /// Returns whether a descriptor is, or may be, a socket with a receive
    /// timeout.
    pub(crate) fn has_receive_timeout(fd: i32) -> bool {
        let mut timeout = MaybeUninit::<libc::timeval>::zeroed();
        let mut length = size_of::<libc::timeval>() as libc::socklen_t;
        // SAFETY: the call writes at most `length` bytes to `timeout`, which is
        // initialised before and after, because all zero bytes are valid for
        // it.
        let (failed, timeout) = unsafe {
            let out = timeout.as_mut_ptr().cast();
            let failed = libc::getsockopt(fd, libc::SOL_SOCKET, libc::SO_RCVTIMEO, out, &raw mut length);
            (failed != 0, timeout.assume_init())
        };
        if failed {
            return std::io::Error::last_os_error().raw_os_error() != Some(libc::ENOTSOCK);
        }
        (timeout.tv_sec, timeout.tv_usec) != (0, 0)
    }

    /// Makes every running thread of this process execute a full memory fence,
    /// so that their code needs no fence. Returns `false` if the kernel cannot.
    pub(crate) fn fence_all_threads() -> bool {
        let membarrier = |command: libc::c_int| {
            // SAFETY: the arguments are a command and two zeros; no memory is
            // accessed.
            unsafe { libc::syscall(libc::SYS_membarrier, command, 0, 0) == 0 }
        };
        // A process must register once. Repeating that is not an error.
        membarrier(libc::MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED)
            && membarrier(libc::MEMBARRIER_CMD_PRIVATE_EXPEDITED)
    }

    /// Returns how many descriptors this process may have.
    pub(crate) fn descriptor_limit() -> usize {
        let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: the call writes `limit`, a local.
        let failed = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) };
        if failed == 0 { usize::try_from(limit.rlim_cur).unwrap_or(usize::MAX) } else { 0 }
    }

    /// Returns the size of a page of memory.
    #[cfg(all(feature = "attach", stack_capture))]
    pub(crate) fn page_bytes() -> u64 {
        // SAFETY: the call has a number as its argument.
        let bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
        u64::try_from(bytes).ok().filter(|bytes| bytes.is_power_of_two()).unwrap_or(4096)
    }

    /// Returns the id of this process.
    pub(crate) fn getpid() -> i32 {
        // SAFETY: the call has no arguments and cannot fail.
        unsafe { libc::getpid() }
    }
}

/// Copies memory of a process.
#[cfg(not(target_os = "linux"))]
pub(crate) fn read_memory(_pid: Option<i32>, _address: usize, _length: usize) -> Option<Vec<u8>> {
    None
}

/// Copies memory of a process up to the first page that cannot be read.
#[cfg(not(target_os = "linux"))]
pub(crate) fn read_memory_until_fault(_pid: Option<i32>, _address: usize, _length: usize) -> Vec<u8> {
    Vec::new()
}

/// Lets every process of the same user read this one: only Linux asks for it.
#[cfg(not(target_os = "linux"))]
pub(crate) fn permit_readers() -> bool {
    false
}

/// Returns the calling thread.
#[cfg(not(target_os = "linux"))]
pub(crate) fn current_thread() -> Option<ThreadInfo> {
    None
}

/// Makes every running thread of this process execute a full memory fence.
#[cfg(not(target_os = "linux"))]
pub(crate) fn fence_all_threads() -> bool {
    false
}

/// Returns the time for which a thread of this process was runnable but did not
/// run.
#[cfg(not(target_os = "linux"))]
pub(crate) fn run_queue_nanos(_tid: i32) -> Option<u64> {
    None
}

/// Returns the CPU time that a thread of this process has used.
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
    #[cfg(stack_capture)]
    fn the_record_of_a_thread_is_above_its_frames() {
        let check = || {
            let local = 0_u8;
            let here = std::ptr::from_ref(&local).addr();
            let thread = current_thread().unwrap();
            assert_eq!(thread.tid, current_thread_id());
            let area = thread_area(thread.tid).unwrap();
            assert!(here < area && area < thread.stack_top, "{here:x} {area:x} {thread:x?}");
        };
        std::thread::spawn(check).join().unwrap();
        assert_eq!(thread_area(i32::MAX / 8), None);
    }

    #[test]
    fn readers_are_permitted_where_the_kernel_has_yama() {
        let has_yama = std::path::Path::new("/proc/sys/kernel/yama").exists();
        assert_eq!(permit_readers(), has_yama);
    }

    #[test]
    fn reading_unmapped_memory_returns_none() {
        let word = 0x0123_4567_89AB_CDEF_u64;
        let bytes = read_memory(None, std::ptr::from_ref(&word).addr(), 8).unwrap();
        assert_eq!(bytes, word.to_ne_bytes());
        assert_eq!(read_memory(None, 8, 8), None);
    }

    #[test]
    #[allow(unsafe_code)]
    fn memory_is_read_up_to_the_first_page_that_cannot_be_read() {
        let page = 4096;
        // SAFETY: a new private mapping, of which this test unmaps the last
        // page; nothing else knows the addresses.
        let start = unsafe {
            let protection = libc::PROT_READ | libc::PROT_WRITE;
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
            let start = libc::mmap(std::ptr::null_mut(), 3 * page, protection, flags, -1, 0);
            assert_ne!(start, libc::MAP_FAILED);
            assert_eq!(libc::munmap(start.byte_add(2 * page), page), 0);
            start.addr()
        };
        assert_eq!(read_memory_until_fault(None, start + 100, 3 * page).len(), 2 * page - 100);
        assert_eq!(read_memory_until_fault(None, start + 100, 10), [0; 10]);
        assert!(read_memory_until_fault(None, 8, page).is_empty());
        assert!(read_memory_until_fault(None, usize::MAX - 8, page).is_empty());
    }
}
