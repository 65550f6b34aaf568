//! What decides whether a process can be read.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::MetadataExt;

use crate::attach::access::status::Status;
use crate::os::{self, MemoryAccess};
use crate::process::Process;

/// A process has fewer ancestors. Ids that are used again could form a circle.
const MAX_ANCESTORS: usize = 1_000;
/// `/etc/passwd` is read up to this length.
const MAX_USERS_BYTES: u64 = 4 << 20;
/// The kernel's flag of its own threads, in the field `flags` of
/// `/proc/PID/stat`.
const PF_KTHREAD: u64 = 0x0020_0000;

/// The facts about one process and about this one.
#[derive(Debug, Clone)]
pub(super) struct Facts {
    pub(super) pid: i32,
    /// What came of an attempt to read memory.
    pub(super) memory: MemoryAccess,
    /// Whether the kernel knows the process, apart from `/proc`.
    pub(super) exists: bool,
    /// Whether `/proc` shows this process under its own id.
    pub(super) shows_own_processes: bool,
    /// What the kernel says of the process; `None` if `/proc` hides it.
    pub(super) status: Option<Status>,
    pub(super) is_kernel_thread: bool,
    /// The name of the real user, or the user id.
    pub(super) user: String,
    /// `None` where it cannot be seen.
    pub(super) is_dumpable: Option<bool>,
    /// What the kernel says of this process.
    pub(super) own: Status,
    pub(super) is_same_user_namespace: bool,
    /// The value of `kernel.yama.ptrace_scope`; `None` without Yama.
    pub(super) yama_scope: Option<u8>,
    /// Whether this process is an ancestor of that one.
    pub(super) is_descendant: bool,
}

impl Facts {
    pub(super) fn collect(pid: i32) -> Self {
        let status = if pid > 0 { Status::read(&pid.to_string()) } else { None };
        let own_pid = os::getpid();
        let user = status.as_ref().map_or_else(String::new, |status| user_name(status.uids[0]));
        Self {
            pid,
            memory: if pid > 0 { os::try_memory(pid) } else { MemoryAccess::NoMemory },
            exists: pid > 0 && os::process_exists(pid),
            shows_own_processes: fs::read_link("/proc/self")
                .is_ok_and(|link| link.as_os_str() == &*own_pid.to_string()),
            is_kernel_thread: is_kernel_thread(pid, status.as_ref()),
            user,
            is_dumpable: is_dumpable(pid, status.as_ref()),
            own: Status::read("self").unwrap_or_default(),
            is_same_user_namespace: is_same_user_namespace(pid),
            yama_scope: read_text("/proc/sys/kernel/yama/ptrace_scope", 16)
                .and_then(|text| text.trim().parse().ok()),
            is_descendant: is_descendant(status.as_ref(), own_pid),
            status,
        }
    }
}

fn read_text(path: &str, max_bytes: u64) -> Option<String> {
    let mut bytes = Vec::new();
    File::open(path).ok()?.take(max_bytes).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

fn is_kernel_thread(pid: i32, status: Option<&Status>) -> bool {
    if let Some(is_kernel_thread) = status.and_then(|status| status.is_kernel_thread) {
        return is_kernel_thread;
    }
    let text = read_text(&Process::Other(pid).proc_path("stat"), 4096).unwrap_or_default();
    // The name in parentheses may contain anything.
    let after_name = text.rsplit_once(')').map_or("", |(_, fields)| fields);
    let flags = after_name.split_whitespace().nth(6).and_then(|field| field.parse::<u64>().ok());
    flags.is_some_and(|flags| flags & PF_KTHREAD != 0)
}

/// The files of a process in `/proc` belong to its effective user. If it is not
/// dumpable, they belong to root.
fn is_dumpable(pid: i32, status: Option<&Status>) -> Option<bool> {
    let uid = status?.uids[1];
    let owner = fs::metadata(Process::Other(pid).proc_path("status")).ok()?.uid();
    if owner != uid {
        return Some(false);
    }
    (uid != 0).then_some(true)
}

/// Returns whether the two processes have the same user namespace, as far as
/// that can be seen: the link may be hidden, and then two namespaces with the
/// same map of user ids look the same.
fn is_same_user_namespace(pid: i32) -> bool {
    let link = |process: Process| fs::read_link(process.proc_path("ns/user")).ok();
    if let (Some(own), Some(other)) = (link(Process::Own), link(Process::Other(pid))) {
        return own == other;
    }
    let map = |process: Process| read_text(&process.proc_path("uid_map"), 16 << 10);
    map(Process::Own) == map(Process::Other(pid))
}

fn is_descendant(status: Option<&Status>, own_pid: i32) -> bool {
    let mut parent = status.map_or(0, |status| status.parent);
    for _ in 0..MAX_ANCESTORS {
        if parent == own_pid {
            return true;
        }
        match Status::read(&parent.to_string()) {
            Some(status) if parent > 1 => parent = status.parent,
            _ => return false,
        }
    }
    false
}

/// Returns the name of a user, or the id if the system's list of users does not
/// have it.
fn user_name(uid: u32) -> String {
    let users = read_text("/etc/passwd", MAX_USERS_BYTES).unwrap_or_default();
    name_in(&users, uid).unwrap_or_else(|| format!("#{uid}"))
}

fn name_in(users: &str, uid: u32) -> Option<String> {
    let names = users.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let (name, id) = (fields.next()?, fields.nth(1)?);
        (id.parse() == Ok(uid)).then_some(name)
    });
    let is_plain = |name: &&str| {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '$');
        (1..=64).contains(&name.len()) && name.chars().all(is_plain)
    };
    names.filter(is_plain).map(str::to_owned).next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_has_a_name_or_an_id() {
        let users =
            "root:x:0:0:root:/root:/bin/sh\n\nbad\u{1b}[31m:x:6:6::/:/\nalice:x:1000:1000::/home:/bin/sh\n";
        assert_eq!(name_in(users, 1000).as_deref(), Some("alice"));
        assert_eq!(name_in(users, 0).as_deref(), Some("root"));
        assert_eq!(name_in(users, 6), None, "the name could reach the terminal");
        assert_eq!(name_in(users, 7), None);
        assert_eq!(user_name(u32::MAX - 3), format!("#{}", u32::MAX - 3));
    }

    #[test]
    fn a_child_is_a_descendant_and_this_process_is_not() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let facts = Facts::collect(i32::try_from(child.id()).unwrap());
        let own = Facts::collect(os::getpid());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(
            facts.is_descendant && facts.exists && facts.is_same_user_namespace && !facts.is_kernel_thread
        );
        assert_eq!(facts.memory, MemoryAccess::Readable);
        assert!(!own.is_descendant);
    }
}
