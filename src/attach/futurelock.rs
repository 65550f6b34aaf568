//! Tasks and futures of `block_on` that wait for a lock which a future of their
//! own was granted: the future is kept, but not polled, so nothing gives the
//! lock back.

use crate::attach::document::{PsLeaf, PsRoot, PsTask, PsVerdict, PsVerdictKind};

/// Returns the verdict on a task that keeps the future `variable`.
pub(super) fn of_task(task: &PsTask, variable: &str) -> PsVerdict {
    let reason = reason(&format!("the task `{}`", task.kind), task.leaf.as_ref(), variable);
    verdict(reason, vec![task.address], Vec::new())
}

/// Returns the verdict on the future of a `block_on` that keeps the future
/// `variable`.
pub(super) fn of_root(root: &PsRoot, variable: &str) -> PsVerdict {
    let reason = reason(&format!("the future `{}` of a `block_on`", root.kind), root.leaf.as_ref(), variable);
    verdict(reason, Vec::new(), vec![root.tid])
}

fn reason(who: &str, leaf: Option<&PsLeaf>, variable: &str) -> String {
    let lock = match leaf {
        Some(PsLeaf::Semaphore { of: Some(of), address, .. }) => format!("the `{of}` at {address:#x}"),
        _ => "a semaphore".to_owned(),
    };
    format!(
        "{who} waits for {lock}, which was granted to its own future `{variable}`; it does not poll `{variable}` \
         meanwhile, so neither goes on"
    )
}

/// The memory of a future that was dropped may look the same, so this is a
/// suspicion.
fn verdict(reason: String, tasks: Vec<u64>, threads: Vec<i32>) -> PsVerdict {
    PsVerdict { kind: PsVerdictKind::Futurelock, is_certain: false, reason, tasks, threads }
}
