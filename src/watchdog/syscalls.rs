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

/// When the program cannot notice that a signal interrupted a call: the kernel
/// restarts the call, and the call has not done a part of its work. See
/// [`is_restarted`](crate::watchdog::restart::is_restarted).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Restart {
    /// Always.
    Always,
    /// If this argument, a pointer to a timeout, is null.
    IfNull(usize),
    /// While the thread waits uninterruptibly. The call is on a file. A disk is
    /// not a slow device in the sense of signal(7), but a file system in user
    /// space is: there the first wait is interruptible.
    IfUninterruptible,
    /// If the socket in argument 0 has no receive timeout, and this argument,
    /// if there is one, does not ask for all bytes. A call that waits for all
    /// bytes returns those that have arrived.
    Receive(Option<Flags>),
    /// The descriptor in argument 0 decides: as [`Self::Receive`] for a socket
    /// or a pipe, as [`Self::IfUninterruptible`] for a file.
    Read,
    /// As [`Self::IfUninterruptible`] for a file. A write to a socket or a pipe
    /// waits because there is no room for all bytes. It may have moved some of
    /// them, and then it returns their number.
    Write,
    /// Never, or it is not certain. A signal is safe only if the caller is
    /// known to repeat the call.
    Never,
}

/// The argument with the flags of a call that receives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Flags(pub(crate) usize);

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

/// Writes the rows of the table, in groups of one cause, restart and
/// descriptor. The name of a call is that of its number without `SYS_`.
macro_rules! calls {
    ($($cause:ident, $restart:expr, $descriptor:ident: $($(#[$condition:meta])? $number:ident)*;)*) => {
        &[$($($(#[$condition])? Syscall {
            number: libc::$number,
            name: stringify!($number).split_at(SYS.len()).1,
            cause: Cause::$cause,
            restart: $restart,
            descriptor: Fd::$descriptor,
        },)*)*]
    };
}

const SYS: &str = "SYS_";

/// The known system calls. Newer CPU architectures do not have some of the old
/// calls; there the C library uses the newer calls instead.
///
/// `Never` have: a call that does not wait; one that returns the number of
/// bytes that it has moved, such as `sendfile`; and one for which it is not
/// certain that the kernel restarts it. `close` waits for a socket with
/// `SO_LINGER`; `fallocate` of a file in memory returns `EINTR`. A signal that
/// is pending at the end of `execve` ends the new program: it has no handler.
#[rustfmt::skip]
static TABLE: &[Syscall] = calls! {
    Sleep, Restart::Never, None: SYS_clock_nanosleep SYS_nanosleep;
    Sleep, Restart::Never, None: #[cfg(target_arch = "x86_64")] SYS_pause;
    Lock, Restart::IfNull(3), None: SYS_futex;
    Lock, Restart::Never, None: SYS_futex_waitv SYS_semop SYS_semtimedop;
    Channel, Restart::Never, None: SYS_msgrcv SYS_msgsnd SYS_mq_timedreceive SYS_mq_timedsend;

    // Calls on a file that is open.
    File, Restart::IfUninterruptible, Argument:
        SYS_fsync SYS_fdatasync SYS_sync_file_range SYS_syncfs
        SYS_pread64 SYS_pwrite64 SYS_preadv SYS_pwritev SYS_preadv2 SYS_pwritev2
        SYS_ftruncate SYS_lseek SYS_readahead
        SYS_getdents64 SYS_fstat SYS_fstatfs SYS_fchdir SYS_fchmod SYS_fchown SYS_flock SYS_fcntl
        SYS_fgetxattr SYS_fsetxattr SYS_flistxattr SYS_fremovexattr
        #[cfg(target_arch = "x86_64")] SYS_fadvise64
        #[cfg(target_arch = "x86_64")] SYS_getdents;
    File, Restart::Never, Argument:
        SYS_close SYS_copy_file_range SYS_fallocate SYS_tee SYS_vmsplice;
    Other, Restart::Read, Argument: SYS_read SYS_readv;
    Other, Restart::Write, Argument: SYS_write SYS_writev;
    Other, Restart::Never, Argument: SYS_ioctl SYS_sendfile SYS_splice;

    // Calls on a path, and on all files.
    File, Restart::IfUninterruptible, None:
        SYS_sync SYS_msync SYS_openat SYS_openat2 SYS_truncate SYS_statx SYS_newfstatat SYS_statfs
        SYS_faccessat SYS_faccessat2 SYS_fchmodat SYS_fchownat SYS_utimensat SYS_readlinkat SYS_linkat
        SYS_symlinkat SYS_unlinkat SYS_renameat SYS_renameat2 SYS_mkdirat SYS_mknodat SYS_chdir SYS_getcwd
        SYS_chroot SYS_mount SYS_umount2 SYS_pivot_root
        SYS_getxattr SYS_lgetxattr SYS_setxattr SYS_lsetxattr SYS_listxattr SYS_removexattr
        #[cfg(target_arch = "x86_64")] SYS_open
        #[cfg(target_arch = "x86_64")] SYS_creat
        #[cfg(target_arch = "x86_64")] SYS_stat
        #[cfg(target_arch = "x86_64")] SYS_lstat
        #[cfg(target_arch = "x86_64")] SYS_access
        #[cfg(target_arch = "x86_64")] SYS_chmod
        #[cfg(target_arch = "x86_64")] SYS_chown
        #[cfg(target_arch = "x86_64")] SYS_lchown
        #[cfg(target_arch = "x86_64")] SYS_utime
        #[cfg(target_arch = "x86_64")] SYS_utimes
        #[cfg(target_arch = "x86_64")] SYS_readlink
        #[cfg(target_arch = "x86_64")] SYS_link
        #[cfg(target_arch = "x86_64")] SYS_symlink
        #[cfg(target_arch = "x86_64")] SYS_unlink
        #[cfg(target_arch = "x86_64")] SYS_rename
        #[cfg(target_arch = "x86_64")] SYS_mkdir
        #[cfg(target_arch = "x86_64")] SYS_mknod
        #[cfg(target_arch = "x86_64")] SYS_rmdir;
    File, Restart::Never, None:
        SYS_io_uring_enter SYS_io_uring_setup SYS_io_uring_register SYS_io_setup SYS_io_submit SYS_io_getevents
        SYS_io_destroy SYS_execve SYS_execveat;

    // Sockets.
    Network, Restart::Never, Argument:
        SYS_connect SYS_recvmmsg SYS_sendmmsg SYS_bind SYS_listen SYS_shutdown SYS_getsockname SYS_getpeername
        SYS_setsockopt SYS_getsockopt SYS_sendto SYS_sendmsg;
    Network, Restart::Receive(None), Argument: SYS_accept SYS_accept4;
    Network, Restart::Receive(Some(Flags(3))), Argument: SYS_recvfrom;
    Network, Restart::Receive(Some(Flags(2))), Argument: SYS_recvmsg;
    Network, Restart::Never, None: SYS_socket SYS_socketpair;

    // Waits for one of several descriptors, and descriptors of other kinds.
    Other, Restart::Never, Polled: SYS_ppoll #[cfg(target_arch = "x86_64")] SYS_poll;
    Other, Restart::Never, None:
        SYS_pselect6 SYS_epoll_pwait SYS_epoll_pwait2 SYS_epoll_ctl SYS_epoll_create1 SYS_eventfd2
        SYS_timerfd_create SYS_timerfd_settime SYS_timerfd_gettime SYS_signalfd4 SYS_inotify_init1
        SYS_inotify_add_watch SYS_inotify_rm_watch SYS_fanotify_init SYS_fanotify_mark SYS_pipe2 SYS_dup SYS_dup3
        SYS_memfd_create SYS_close_range SYS_pidfd_open SYS_pidfd_getfd SYS_pidfd_send_signal
        #[cfg(target_arch = "x86_64")] SYS_select
        #[cfg(target_arch = "x86_64")] SYS_epoll_wait
        #[cfg(target_arch = "x86_64")] SYS_epoll_create
        #[cfg(target_arch = "x86_64")] SYS_eventfd
        #[cfg(target_arch = "x86_64")] SYS_signalfd
        #[cfg(target_arch = "x86_64")] SYS_inotify_init
        #[cfg(target_arch = "x86_64")] SYS_pipe
        #[cfg(target_arch = "x86_64")] SYS_dup2;

    // Processes and signals.
    Child, Restart::Always, None:
        SYS_wait4 SYS_waitid SYS_clone SYS_clone3
        #[cfg(target_arch = "x86_64")] SYS_vfork
        #[cfg(target_arch = "x86_64")] SYS_fork;
    Other, Restart::Never, None:
        SYS_rt_sigsuspend SYS_rt_sigtimedwait SYS_rt_sigaction SYS_rt_sigprocmask SYS_rt_sigpending
        SYS_rt_sigqueueinfo SYS_rt_tgsigqueueinfo SYS_rt_sigreturn SYS_sigaltstack SYS_kill SYS_tkill SYS_tgkill
        SYS_restart_syscall SYS_exit SYS_exit_group SYS_ptrace SYS_process_vm_readv SYS_process_vm_writev;

    // Memory.
    Other, Restart::Always, None:
        SYS_mmap SYS_munmap SYS_madvise SYS_brk SYS_mprotect SYS_mremap SYS_mlock SYS_mlock2 SYS_munlock
        SYS_mlockall SYS_munlockall SYS_mincore;
    Other, Restart::Never, None:
        SYS_membarrier SYS_pkey_mprotect SYS_mbind SYS_move_pages SYS_migrate_pages SYS_set_mempolicy
        SYS_get_mempolicy SYS_process_madvise SYS_userfaultfd SYS_shmget SYS_shmat SYS_shmdt SYS_shmctl;

    // The CPU, clocks and properties of the process: these do not wait.
    Cpu, Restart::Always, None: SYS_sched_yield;
    Cpu, Restart::Never, None:
        SYS_clock_gettime SYS_clock_getres SYS_gettimeofday SYS_times SYS_getrusage SYS_sysinfo SYS_uname SYS_getcpu
        SYS_getpid SYS_getppid SYS_gettid SYS_getuid SYS_geteuid SYS_getgid SYS_getegid SYS_getpgid SYS_getsid
        SYS_getpriority SYS_prlimit64 SYS_getrlimit SYS_capget SYS_prctl SYS_umask SYS_set_robust_list SYS_rseq
        #[cfg(target_arch = "x86_64")] SYS_time
        #[cfg(target_arch = "x86_64")] SYS_getpgrp
        #[cfg(target_arch = "x86_64")] SYS_arch_prctl;
    Other, Restart::Never, None:
        SYS_getrandom SYS_sched_setaffinity SYS_sched_getaffinity SYS_sched_setscheduler SYS_sched_getscheduler
        SYS_sched_setattr SYS_sched_getattr SYS_setpriority SYS_setrlimit SYS_setuid SYS_setgid SYS_setresuid
        SYS_setresgid SYS_setgroups SYS_setsid SYS_setpgid SYS_capset SYS_setns SYS_unshare SYS_seccomp SYS_bpf
        SYS_perf_event_open SYS_timer_create SYS_timer_settime SYS_timer_gettime SYS_timer_delete SYS_setitimer
        SYS_getitimer SYS_clock_settime SYS_msgget SYS_msgctl SYS_semget SYS_semctl SYS_mq_open SYS_mq_unlink
        SYS_add_key SYS_request_key SYS_keyctl SYS_syslog
        #[cfg(target_arch = "x86_64")] SYS_alarm;
};

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

    #[test]
    fn common_calls_have_a_name_and_a_cause() {
        for (number, name, cause) in [
            (libc::SYS_clock_gettime, "clock_gettime", Cause::Cpu),
            (libc::SYS_ioctl, "ioctl", Cause::Other),
            (libc::SYS_openat2, "openat2", Cause::File),
            (libc::SYS_msgrcv, "msgrcv", Cause::Channel),
            (libc::SYS_futex, "futex", Cause::Lock),
            (libc::SYS_epoll_pwait, "epoll_pwait", Cause::Other),
        ] {
            let found = find(number).unwrap();
            assert_eq!((found.name, found.cause), (name, cause));
        }
    }

    /// The list of signal(7), "never restarted after being interrupted by a
    /// signal handler, regardless of the use of SA_RESTART", and calls that
    /// return after a part of their work, or into another program.
    #[test]
    fn calls_that_the_kernel_never_restarts_get_no_signal() {
        for number in [
            libc::SYS_clock_nanosleep,
            libc::SYS_nanosleep,
            libc::SYS_ppoll,
            libc::SYS_pselect6,
            libc::SYS_epoll_pwait,
            libc::SYS_epoll_pwait2,
            libc::SYS_rt_sigsuspend,
            libc::SYS_rt_sigtimedwait,
            libc::SYS_msgrcv,
            libc::SYS_msgsnd,
            libc::SYS_semop,
            libc::SYS_semtimedop,
            libc::SYS_io_getevents,
            libc::SYS_close,
            libc::SYS_sendfile,
            libc::SYS_sendto,
            libc::SYS_sendmsg,
            libc::SYS_execve,
            libc::SYS_execveat,
        ] {
            let found = find(number).unwrap();
            assert_eq!(found.restart, Restart::Never, "{}", found.name);
        }
    }
}
