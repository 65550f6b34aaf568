//! From the facts to what is missing.

use crate::attach::access::facts::Facts;
use crate::attach::error::AttachError;
use crate::os::MemoryAccess;

/// The number of the capability that permits to read every process.
const CAP_SYS_PTRACE: u32 = 19;
const ZOMBIE: u8 = b'Z';
const DEAD: u8 = b'X';
/// With this value or a larger one, Yama permits nothing.
const YAMA_NEVER: u8 = 3;

/// Returns why the process cannot be read; `None` if it can be.
///
/// If several rules refuse the access, the one is named that the other remedies
/// do not help against.
pub(super) fn refusal(facts: &Facts) -> Option<AttachError> {
    let pid = facts.pid;
    let Some(status) = &facts.status else {
        return Some(match (facts.exists, facts.shows_own_processes) {
            (true, true) => AttachError::Hidden { pid },
            (false, true) => AttachError::NotFound { pid },
            (_, false) => AttachError::OtherProc { pid },
        });
    };
    if status.tgid != pid {
        return Some(AttachError::NotAProcess { tid: pid, pid: status.tgid });
    }
    if !facts.shows_own_processes {
        return Some(AttachError::OtherProc { pid });
    }
    if facts.is_kernel_thread {
        return Some(AttachError::KernelThread { pid });
    }
    if matches!(status.state, ZOMBIE | DEAD) {
        let has_threads = status.threads > 1;
        return Some(if has_threads {
            AttachError::FirstThreadEnded { pid }
        } else {
            AttachError::Zombie { pid }
        });
    }
    match facts.memory {
        MemoryAccess::Readable => None,
        MemoryAccess::NoMemory => Some(AttachError::NotFound { pid }),
        MemoryAccess::Refused => Some(missing_right(facts)),
    }
}

/// Returns which right is missing. Root's capability is above all rules but
/// those of another user namespace and of Yama's strictest value.
fn missing_right(facts: &Facts) -> AttachError {
    let pid = facts.pid;
    let Some(status) = &facts.status else { return AttachError::Refused { pid } };
    if let Some(scope) = facts.yama_scope.filter(|scope| *scope >= YAMA_NEVER) {
        return AttachError::Yama { pid, scope };
    }
    if !facts.is_same_user_namespace {
        return AttachError::OtherUserNamespace { pid };
    }
    let own = &facts.own;
    let has_capability = own.effective_capabilities & (1 << CAP_SYS_PTRACE) != 0;
    if !has_capability {
        let (uid, gid) = (own.uids[0], own.gids[0]);
        let is_dumpable = facts.is_dumpable != Some(false);
        if status.uids[0] != uid {
            return AttachError::OtherUser { pid, user: facts.user.clone(), is_dumpable };
        }
        if !is_dumpable {
            return AttachError::NotDumpable { pid };
        }
        if status.uids != [uid; 3] || status.gids != [gid; 3] {
            return AttachError::OtherGroup { pid };
        }
        if status.permitted_capabilities & !own.permitted_capabilities != 0 {
            return AttachError::MoreCapabilities { pid };
        }
        match facts.yama_scope {
            Some(scope @ 2) => return AttachError::Yama { pid, scope },
            Some(scope @ 1) if !facts.is_descendant => return AttachError::Yama { pid, scope },
            _ => {}
        }
    }
    match (own.has_filter, has_capability) {
        (true, _) => AttachError::Seccomp { pid },
        (false, true) => AttachError::SecurityModule { pid },
        (false, false) => AttachError::Refused { pid },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attach::access::status::Status;

    const PID: i32 = 7;
    const ALICE: u32 = 1_000;

    fn status(pid: i32, uid: u32) -> Status {
        Status {
            state: b'S',
            tgid: pid,
            parent: 1,
            threads: 3,
            uids: [uid; 3],
            gids: [uid; 3],
            ..Status::default()
        }
    }

    /// A process of the same user that the kernel refuses to show.
    fn facts() -> Facts {
        Facts {
            pid: PID,
            memory: MemoryAccess::Refused,
            exists: true,
            shows_own_processes: true,
            status: Some(status(PID, ALICE)),
            is_kernel_thread: false,
            user: "alice".to_owned(),
            is_dumpable: Some(true),
            own: status(9, ALICE),
            is_same_user_namespace: true,
            yama_scope: None,
            is_descendant: false,
        }
    }

    type Change = fn(&mut Facts);

    #[test]
    fn each_missing_right_has_a_sentence_with_the_least_that_gives_it() {
        let cases: &[(Change, &str)] = &[
            (|f| f.status = None, "process 7 exists, but /proc is mounted with hidepid"),
            (|f| (f.status, f.exists) = (None, false), "there is no process 7"),
            (|f| (f.status, f.shows_own_processes) = (None, false), "another pid namespace"),
            (|f| f.shows_own_processes = false, "another pid namespace"),
            (|f| f.pid = 8, "8 is a thread of process 7"),
            (|f| f.is_kernel_thread = true, "7 is a thread of the kernel"),
            (|f| (target(f).state, target(f).threads) = (b'Z', 1), "it is a zombie"),
            (|f| target(f).state = b'Z', "the first thread of process 7 has ended"),
            (|f| f.memory = MemoryAccess::NoMemory, "there is no process 7"),
            (
                |f| f.own = status(9, 1_001),
                "run loopscope as that user, such as `sudo -u 'alice' loopscope ps 7`",
            ),
            (
                |f| (f.own, f.is_dumpable) = (status(9, 1_001), Some(false)),
                "belongs to the user alice and is not dumpable, so that only root may read it",
            ),
            (|f| f.is_dumpable = Some(false), "process 7 is not dumpable"),
            (|f| target(f).gids[1] = 5, "other group ids than loopscope, or several user ids"),
            (|f| target(f).uids[2] = 5, "other group ids than loopscope, or several user ids"),
            (|f| target(f).permitted_capabilities = 1 << 10, "capabilities that loopscope does not have"),
            (|f| f.yama_scope = Some(1), "start the program by `loopscope run -- COMMAND`"),
            (|f| f.yama_scope = Some(1), "setcap cap_sys_ptrace=ep"),
            (|f| f.yama_scope = Some(1), "`ScopeBuilder::attachable`"),
            (|f| f.yama_scope = Some(2), "only with a capability"),
            (|f| f.yama_scope = Some(3), "until the machine starts with another value"),
            (
                |f| (f.yama_scope, f.own.effective_capabilities) = (Some(3), u64::MAX),
                "until the machine starts with another value",
            ),
            (|f| f.is_same_user_namespace = false, "another user namespace"),
            (
                |f| (f.is_same_user_namespace, f.own.effective_capabilities) = (false, u64::MAX),
                "another user namespace",
            ),
            (|f| f.own.has_filter = true, "a seccomp filter"),
            (|_| {}, "a security module"),
            (|f| (f.yama_scope, f.is_descendant) = (Some(1), true), "a security module"),
            (
                |f| {
                    (f.own, f.is_dumpable) = (status(9, 0), Some(false));
                    f.own.effective_capabilities = 1 << CAP_SYS_PTRACE;
                },
                "although loopscope has the capability",
            ),
        ];
        for (number, (change, expected)) in cases.iter().enumerate() {
            let mut facts = facts();
            change(&mut facts);
            let error = refusal(&facts).expect("a refusal");
            let text = error.to_string();
            assert!(text.contains(expected), "case {number}: {text}");
            assert!(!text.contains('\n') && !text.ends_with('.'), "{text}");
            let is_not_found = matches!(error, AttachError::NotFound { .. });
            let is_there = facts.exists && facts.memory == MemoryAccess::Refused;
            assert!(!(is_not_found && is_there), "case {number} says `not found` for `not allowed`");
        }
    }

    fn target(facts: &mut Facts) -> &mut Status {
        facts.status.as_mut().expect("a status")
    }

    #[test]
    fn memory_that_can_be_read_is_no_refusal_whatever_the_rules_say() {
        let mut facts = facts();
        facts.memory = MemoryAccess::Readable;
        (facts.yama_scope, facts.is_dumpable) = (Some(3), Some(false));
        assert_eq!(refusal(&facts), None);
    }
}
