//! The system calls in which a worker may block: their names, their causes, and
//! whether the program notices a signal to a thread inside the call.
//!
//! After a signal with `SA_RESTART` the kernel restarts some calls by itself.
//! Others return `EINTR`, which a program may take for a failure. Measured on
//! Linux 6.18: `clock_nanosleep`, `epoll_wait`, `poll`, `select`, a futex with
//! a timeout and a `recv` with `SO_RCVTIMEO` return it. `read` of a pipe,
//! `recv` and `accept` without a timeout, `flock`, `wait4` and a futex without
//! a timeout do not (signal(7) says the same).

use crate::finding::Cause;

/// When the kernel restarts a call after a signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Restart {
    /// The kernel always restarts the call.
    Always,
    /// The kernel restarts the call if this argument, a pointer to a timeout,
    /// is null.
    IfNull(usize),
    /// The kernel restarts the call if the descriptor in argument 0 has no
    /// receive timeout.
    IfNoReceiveTimeout,
    /// The kernel restarts the call if the descriptor in argument 0 has no send
    /// timeout.
    IfNoSendTimeout,
    /// The kernel does not restart the call. A signal is safe only if the
    /// caller is known to repeat the call.
    Never,
}

/// A row of the table.
#[derive(Debug)]
pub(crate) struct Syscall {
    pub(crate) number: i64,
    pub(crate) name: &'static str,
    /// The cause of a stall in this call, unless the stack shows a more exact
    /// one.
    pub(crate) cause: Cause,
    pub(crate) restart: Restart,
    /// Which descriptor shows more about the call.
    pub(crate) descriptor: Fd,
}

/// Where the descriptor of a call is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fd {
    None,
    /// In argument 0.
    Argument,
    /// In the first word that argument 0 points to.
    Polled,
}

const fn call(number: i64, name: &'static str, cause: Cause, restart: Restart, descriptor: Fd) -> Syscall {
    Syscall { number, name, cause, restart, descriptor }
}

/// The known system calls. Newer CPU architectures do not have some of the old
/// calls; there the C library uses the newer calls instead.
///
/// A running call on a file is not interrupted, because a disk is not a slow
/// device in the sense of signal(7). Hence `Always`.
static TABLE: &[Syscall] = &[
    call(libc::SYS_clock_nanosleep, "clock_nanosleep", Cause::Sleep, Restart::Never, Fd::None),
    call(libc::SYS_nanosleep, "nanosleep", Cause::Sleep, Restart::Never, Fd::None),
    call(libc::SYS_futex, "futex", Cause::Lock, Restart::IfNull(3), Fd::None),
    call(libc::SYS_fsync, "fsync", Cause::File, Restart::Always, Fd::Argument),
    call(libc::SYS_fdatasync, "fdatasync", Cause::File, Restart::Always, Fd::Argument),
    call(libc::SYS_sync_file_range, "sync_file_range", Cause::File, Restart::Always, Fd::Argument),
    call(libc::SYS_syncfs, "syncfs", Cause::File, Restart::Always, Fd::Argument),
    call(libc::SYS_sync, "sync", Cause::File, Restart::Always, Fd::None),
    call(libc::SYS_msync, "msync", Cause::File, Restart::Always, Fd::None),
    #[cfg(target_arch = "x86_64")]
    call(libc::SYS_open, "open", Cause::File, Restart::Always, Fd::None),
    call(libc::SYS_openat, "openat", Cause::File, Restart::Always, Fd::None),
    call(libc::SYS_close, "close", Cause::File, Restart::Always, Fd::Argument),
    call(libc::SYS_pread64, "pread64", Cause::File, Restart::Always, Fd::Argument),
    call(libc::SYS_pwrite64, "pwrite64", Cause::File, Restart::Always, Fd::Argument),
    call(libc::SYS_read, "read", Cause::Other, Restart::IfNoReceiveTimeout, Fd::Argument),
    call(libc::SYS_readv, "readv", Cause::Other, Restart::IfNoReceiveTimeout, Fd::Argument),
    call(libc::SYS_write, "write", Cause::Other, Restart::IfNoSendTimeout, Fd::Argument),
    call(libc::SYS_writev, "writev", Cause::Other, Restart::IfNoSendTimeout, Fd::Argument),
    call(libc::SYS_sendfile, "sendfile", Cause::File, Restart::Always, Fd::Argument),
    call(libc::SYS_copy_file_range, "copy_file_range", Cause::File, Restart::Always, Fd::Argument),
    call(libc::SYS_fallocate, "fallocate", Cause::File, Restart::Always, Fd::Argument),
    call(libc::SYS_ftruncate, "ftruncate", Cause::File, Restart::Always, Fd::Argument),
    call(libc::SYS_truncate, "truncate", Cause::File, Restart::Always, Fd::None),
    call(libc::SYS_getdents64, "getdents64", Cause::File, Restart::Always, Fd::Argument),
    #[cfg(target_arch = "x86_64")]
    call(libc::SYS_stat, "stat", Cause::File, Restart::Always, Fd::None),
    #[cfg(target_arch = "x86_64")]
    call(libc::SYS_lstat, "lstat", Cause::File, Restart::Always, Fd::None),
    call(libc::SYS_fstat, "fstat", Cause::File, Restart::Always, Fd::Argument),
    call(libc::SYS_statx, "statx", Cause::File, Restart::Always, Fd::None),
    call(libc::SYS_newfstatat, "newfstatat", Cause::File, Restart::Always, Fd::None),
    #[cfg(target_arch = "x86_64")]
    call(libc::SYS_access, "access", Cause::File, Restart::Always, Fd::None),
    #[cfg(target_arch = "x86_64")]
    call(libc::SYS_unlink, "unlink", Cause::File, Restart::Always, Fd::None),
    call(libc::SYS_unlinkat, "unlinkat", Cause::File, Restart::Always, Fd::None),
    #[cfg(target_arch = "x86_64")]
    call(libc::SYS_rename, "rename", Cause::File, Restart::Always, Fd::None),
    call(libc::SYS_renameat, "renameat", Cause::File, Restart::Always, Fd::None),
    call(libc::SYS_renameat2, "renameat2", Cause::File, Restart::Always, Fd::None),
    #[cfg(target_arch = "x86_64")]
    call(libc::SYS_mkdir, "mkdir", Cause::File, Restart::Always, Fd::None),
    call(libc::SYS_mkdirat, "mkdirat", Cause::File, Restart::Always, Fd::None),
    #[cfg(target_arch = "x86_64")]
    call(libc::SYS_rmdir, "rmdir", Cause::File, Restart::Always, Fd::None),
    call(libc::SYS_flock, "flock", Cause::File, Restart::Always, Fd::Argument),
    call(libc::SYS_fcntl, "fcntl", Cause::File, Restart::Always, Fd::Argument),
    call(libc::SYS_connect, "connect", Cause::Network, Restart::Never, Fd::Argument),
    call(libc::SYS_accept, "accept", Cause::Network, Restart::IfNoReceiveTimeout, Fd::Argument),
    call(libc::SYS_accept4, "accept4", Cause::Network, Restart::IfNoReceiveTimeout, Fd::Argument),
    call(libc::SYS_recvfrom, "recvfrom", Cause::Network, Restart::IfNoReceiveTimeout, Fd::Argument),
    call(libc::SYS_recvmsg, "recvmsg", Cause::Network, Restart::IfNoReceiveTimeout, Fd::Argument),
    call(libc::SYS_recvmmsg, "recvmmsg", Cause::Network, Restart::Never, Fd::Argument),
    call(libc::SYS_sendto, "sendto", Cause::Network, Restart::IfNoSendTimeout, Fd::Argument),
    call(libc::SYS_sendmsg, "sendmsg", Cause::Network, Restart::IfNoSendTimeout, Fd::Argument),
    #[cfg(target_arch = "x86_64")]
    call(libc::SYS_poll, "poll", Cause::Other, Restart::Never, Fd::Polled),
    call(libc::SYS_ppoll, "ppoll", Cause::Other, Restart::Never, Fd::Polled),
    #[cfg(target_arch = "x86_64")]
    call(libc::SYS_select, "select", Cause::Other, Restart::Never, Fd::None),
    call(libc::SYS_pselect6, "pselect6", Cause::Other, Restart::Never, Fd::None),
    #[cfg(target_arch = "x86_64")]
    call(libc::SYS_epoll_wait, "epoll_wait", Cause::Other, Restart::Never, Fd::None),
    call(libc::SYS_epoll_pwait, "epoll_pwait", Cause::Other, Restart::Never, Fd::None),
    call(libc::SYS_epoll_pwait2, "epoll_pwait2", Cause::Other, Restart::Never, Fd::None),
    call(libc::SYS_io_uring_enter, "io_uring_enter", Cause::Other, Restart::Never, Fd::None),
    call(libc::SYS_wait4, "wait4", Cause::Child, Restart::Always, Fd::None),
    call(libc::SYS_waitid, "waitid", Cause::Child, Restart::Always, Fd::None),
    #[cfg(target_arch = "x86_64")]
    call(libc::SYS_vfork, "vfork", Cause::Child, Restart::Always, Fd::None),
    call(libc::SYS_clone, "clone", Cause::Child, Restart::Always, Fd::None),
    call(libc::SYS_clone3, "clone3", Cause::Child, Restart::Always, Fd::None),
    call(libc::SYS_mmap, "mmap", Cause::Other, Restart::Always, Fd::None),
    call(libc::SYS_munmap, "munmap", Cause::Other, Restart::Always, Fd::None),
    call(libc::SYS_madvise, "madvise", Cause::Other, Restart::Always, Fd::None),
    call(libc::SYS_brk, "brk", Cause::Other, Restart::Always, Fd::None),
    call(libc::SYS_sched_yield, "sched_yield", Cause::Cpu, Restart::Always, Fd::None),
];

/// Returns the call with this number, if the table contains it.
pub(crate) fn find(number: i64) -> Option<&'static Syscall> {
    TABLE.iter().find(|syscall| syscall.number == number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_unique() {
        for syscall in TABLE {
            assert_eq!(find(syscall.number).unwrap().name, syscall.name);
        }
    }
}
