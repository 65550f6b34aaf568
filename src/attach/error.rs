//! Why a process cannot be read.

use std::fmt;

use crate::os;

/// Why a process cannot be read. The `Display` text is one sentence: what is
/// missing, and the least that helps.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum AttachError {
    /// There is no process with this id.
    NotFound {
        /// The id.
        pid: i32,
    },
    /// The id is that of a thread other than the first one of its process.
    NotAProcess {
        /// The id of the thread.
        tid: i32,
        /// The id of its process.
        pid: i32,
    },
    /// The process is a zombie: it has ended, and its parent has not yet taken
    /// its exit code.
    Zombie {
        /// The id of the process.
        pid: i32,
    },
    /// The first thread of the process has ended while others run on. The
    /// kernel then shows no memory under the id of the process.
    FirstThreadEnded {
        /// The id of the process.
        pid: i32,
    },
    /// A thread of the kernel has no memory of its own.
    KernelThread {
        /// Its id.
        pid: i32,
    },
    /// `/proc` is missing, or shows the processes of another pid namespace.
    OtherProc {
        /// The id that was asked for.
        pid: i32,
    },
    /// `/proc` hides the processes that this one may not read: those of other
    /// users, and others.
    Hidden {
        /// The id of the process.
        pid: i32,
    },
    /// The process belongs to another user.
    OtherUser {
        /// The id of the process.
        pid: i32,
        /// The name of its user, or the user id as text.
        user: String,
        /// Whether that user may read it. `false` if the process is not
        /// dumpable.
        is_dumpable: bool,
    },
    /// The process has another group than this one, or several user ids.
    OtherGroup {
        /// The id of the process.
        pid: i32,
    },
    /// The process is in another user namespace, in which the capabilities of
    /// this process do not count.
    OtherUserNamespace {
        /// The id of the process.
        pid: i32,
    },
    /// The process is not dumpable.
    NotDumpable {
        /// The id of the process.
        pid: i32,
    },
    /// The process has capabilities that this one does not have.
    MoreCapabilities {
        /// The id of the process.
        pid: i32,
    },
    /// The security module Yama refuses the access.
    Yama {
        /// The id of the process.
        pid: i32,
        /// The value of `/proc/sys/kernel/yama/ptrace_scope`.
        scope: u8,
    },
    /// A seccomp filter of this process refuses the call that reads memory.
    Seccomp {
        /// The id of the process.
        pid: i32,
    },
    /// The memory can be read, but the files of the process in `/proc` belong
    /// to another user, so that its pages and threads are not known.
    FilesOfOtherUser {
        /// The id of the process.
        pid: i32,
    },
    /// The kernel refuses the access although this process has the capability.
    SecurityModule {
        /// The id of the process.
        pid: i32,
    },
    /// The kernel refuses the access, and nothing shows why.
    Refused {
        /// The id of the process.
        pid: i32,
    },
    /// The program has 32-bit addresses.
    Is32Bit {
        /// The id of the process.
        pid: i32,
    },
    /// The program is for another processor than this one.
    OtherArchitecture {
        /// The id of the process.
        pid: i32,
    },
    /// A file with debug information cannot be used.
    DebugInfo {
        /// The path of the file.
        path: String,
        /// Why, as a phrase.
        reason: String,
    },
    /// The program has a version of Tokio that is too old.
    OldTokio {
        /// The id of the process.
        pid: i32,
        /// The version, such as `1.5.0`.
        version: String,
    },
    /// The program has no Tokio.
    NotTokio {
        /// The id of the process.
        pid: i32,
        /// The path of the program.
        program: String,
    },
}

/// What lets a tool read any process whose files in `/proc` belong to the
/// tool's user.
const AS_ROOT: &str = "run loopscope as root, or give it the capability by \
     `sudo setcap cap_sys_ptrace=ep PATH_OF_LOOPSCOPE`";
/// What lets a tool read any process: the files in `/proc` belong to another
/// user.
const AS_ROOT_WITH_FILES: &str = "run loopscope as root, or give it the capabilities by \
     `sudo setcap cap_sys_ptrace,cap_dac_read_search=ep PATH_OF_LOOPSCOPE`";

impl fmt::Display for AttachError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotDumpable { pid } | Self::FilesOfOtherUser { pid } if *pid == os::getpid() => write!(
                f,
                "the files of this process in /proc belong to another user, because the process is not dumpable: \
                 its program has capabilities of its file or cannot be read, or it has changed its user; \
                 prctl(PR_SET_DUMPABLE, 1) gives them back, and lets processes of the same user read its memory"
            ),
            Self::NotFound { pid } => write!(f, "there is no process {pid}"),
            Self::NotAProcess { tid, pid } => {
                write!(f, "{tid} is a thread of process {pid}: give the id of the process")
            }
            Self::Zombie { pid } => {
                write!(f, "process {pid} has ended: it is a zombie, which has no memory any more")
            }
            Self::FirstThreadEnded { pid } => write!(
                f,
                "the first thread of process {pid} has ended, and without it the kernel does not show the \
                 memory of the process"
            ),
            Self::KernelThread { pid } => {
                write!(f, "{pid} is a thread of the kernel: give the id of a program's process")
            }
            Self::OtherProc { pid } => write!(
                f,
                "process {pid} cannot be found, because /proc is missing or belongs to another pid namespace: \
                 run loopscope where /proc shows its own processes"
            ),
            Self::Hidden { pid } => write!(
                f,
                "process {pid} exists, but /proc is mounted with hidepid, and loopscope may not read the \
                 process: run loopscope as the user of the process or as root"
            ),
            Self::OtherUser { pid, user, is_dumpable: true } => write!(
                f,
                "process {pid} belongs to the user {user}: run loopscope as that user, such as \
                 `sudo -u '{user}' loopscope ps {pid}`, or as root"
            ),
            Self::OtherUser { pid, user, is_dumpable: false } => write!(
                f,
                "process {pid} belongs to the user {user} and is not dumpable, so that only root may read it: \
                 {AS_ROOT_WITH_FILES}"
            ),
            Self::OtherGroup { pid } => write!(
                f,
                "process {pid} has other group ids than loopscope, or several user ids, as a setuid program \
                 has: run loopscope as root, or with the same ids"
            ),
            Self::OtherUserNamespace { pid } => write!(
                f,
                "process {pid} is in another user namespace, such as that of a container, in which the rights \
                 of loopscope do not count: run loopscope in that namespace, or as root of the host"
            ),
            Self::NotDumpable { pid } => write!(
                f,
                "process {pid} is not dumpable, because it called prctl(PR_SET_DUMPABLE, 0), changed its user, \
                 has capabilities of its file, or its file is not readable: {AS_ROOT_WITH_FILES}"
            ),
            Self::MoreCapabilities { pid } => {
                write!(f, "process {pid} has capabilities that loopscope does not have: {AS_ROOT}")
            }
            Self::Yama { pid, scope: 1 } => write!(
                f,
                "process {pid} did not start from loopscope, and kernel.yama.ptrace_scope is 1: start the \
                 program by `loopscope run -- COMMAND`, or {AS_ROOT}, or build the program with \
                 `ScopeBuilder::attachable`"
            ),
            Self::Yama { pid, scope: 2 } => write!(
                f,
                "process {pid} may be read only with a capability, because kernel.yama.ptrace_scope is 2: \
                 {AS_ROOT}"
            ),
            Self::Yama { pid, scope } => write!(
                f,
                "process {pid} cannot be read, because kernel.yama.ptrace_scope is {scope}: nothing permits it \
                 until the machine starts with another value"
            ),
            Self::Seccomp { pid } => write!(
                f,
                "process {pid} cannot be read, and loopscope runs under a seccomp filter, which may refuse the \
                 call process_vm_readv: run loopscope outside of this sandbox, or allow the call (in a \
                 container, by the capability SYS_PTRACE)"
            ),
            Self::FilesOfOtherUser { pid } => write!(
                f,
                "the memory of process {pid} can be read, but its files in /proc belong to another user, and \
                 without them nothing is known of its threads: {AS_ROOT_WITH_FILES}"
            ),
            Self::SecurityModule { pid } => write!(
                f,
                "the kernel refuses to let loopscope read process {pid}, although loopscope has the capability \
                 CAP_SYS_PTRACE: a security module such as AppArmor, SELinux or Landlock does that, so run \
                 loopscope outside of the profile or sandbox that it is in"
            ),
            Self::Refused { pid } => write!(
                f,
                "the kernel refuses to let loopscope read process {pid}, perhaps by a security module such as \
                 AppArmor or SELinux: {AS_ROOT}"
            ),
            Self::Is32Bit { pid } => {
                write!(f, "process {pid} runs a 32-bit program: loopscope reads 64-bit programs only")
            }
            Self::OtherArchitecture { pid } => write!(
                f,
                "process {pid} runs a program for another processor: use a loopscope that was built for that \
                 processor"
            ),
            Self::DebugInfo { path, reason } => {
                write!(f, "the debug information in {path} cannot be used: {reason}")
            }
            Self::OldTokio { pid, version } => write!(
                f,
                "process {pid} uses Tokio {version}, of which nothing certain can be said: loopscope reads Tokio \
                 1.32 or later"
            ),
            Self::NotTokio { pid, program } => write!(
                f,
                "no task table of Tokio was found in {program} of process {pid} or in its libraries: give the \
                 id of a process that uses Tokio 1.32 or later"
            ),
        }
    }
}

impl std::error::Error for AttachError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_reads_itself_is_not_told_to_run_another_program() {
        let pid = os::getpid();
        for error in [AttachError::NotDumpable { pid }, AttachError::FilesOfOtherUser { pid }] {
            let text = error.to_string();
            assert!(text.contains("prctl(PR_SET_DUMPABLE, 1)") && !text.contains("run loopscope"), "{text}");
        }
        let other = AttachError::FilesOfOtherUser { pid: pid + 1 }.to_string();
        assert!(other.contains(AS_ROOT_WITH_FILES), "{other}");
    }
}
