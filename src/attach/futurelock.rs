//! Tasks and futures of `block_on` that wait for a lock which a future of their
//! own was granted: the future is kept, but not polled, so nothing gives the
//! lock back.

use std::collections::HashSet;

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

/// Returns the addresses of the locks that the verdicts are about: all that
/// the tasks and futures wait for which they name.
pub(super) fn locks<'a>(
    verdicts: &[PsVerdict],
    tasks: &[PsTask],
    roots: impl Iterator<Item = &'a PsRoot>,
) -> HashSet<u64> {
    let futurelocks = || verdicts.iter().filter(|verdict| verdict.kind == PsVerdictKind::Futurelock);
    let named: HashSet<u64> = futurelocks().flat_map(|verdict| verdict.tasks.iter().copied()).collect();
    let threads: HashSet<i32> = futurelocks().flat_map(|verdict| verdict.threads.iter().copied()).collect();
    let of_tasks = tasks.iter().filter(|task| named.contains(&task.address)).map(|task| task.leaf.as_ref());
    let of_roots = roots.filter(|root| threads.contains(&root.tid)).map(|root| root.leaf.as_ref());
    let mut found = HashSet::new();
    of_tasks.chain(of_roots).for_each(|leaf| add_semaphores(leaf, &mut found));
    found
}

fn add_semaphores(leaf: Option<&PsLeaf>, found: &mut HashSet<u64>) {
    match leaf {
        Some(PsLeaf::Semaphore { address, .. }) => {
            found.insert(*address);
        }
        Some(PsLeaf::Several { branches, .. }) => {
            branches.iter().for_each(|branch| add_semaphores(branch.leaf.as_ref(), found));
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attach::document::{PsBranch, ps_sample};

    fn semaphore(address: u64) -> Option<PsLeaf> {
        Some(PsLeaf::Semaphore { address, of: None, is_granted: Some(false) })
    }

    #[test]
    fn a_futurelock_is_about_all_locks_that_its_task_or_future_waits_for() {
        let branch = |address| PsBranch { chain: Vec::new(), leaf: semaphore(address), chain_missing: None };
        let several =
            PsLeaf::Several { of: "select!".to_owned(), count: None, branches: vec![branch(1), branch(2)] };
        let [one, other] = ps_sample::document().tasks.try_into().unwrap();
        let one = PsTask { leaf: Some(several), ..one };
        let other = PsTask { leaf: semaphore(3), ..other };
        let root = |tid, address| PsRoot {
            tid,
            site: None,
            kind: "a future".to_owned(),
            chain: Vec::new(),
            leaf: semaphore(address),
            chain_missing: None,
        };
        let roots = [root(7, 4), root(8, 5)];
        let verdicts = [of_task(&one, "future"), of_root(&roots[0], "future")];
        let tasks = [one, other];
        let found = |verdicts| locks(verdicts, &tasks, roots.iter());
        assert_eq!(found(&verdicts), HashSet::from([1, 2, 4]));
        let queue = PsVerdict { kind: PsVerdictKind::LockQueue, ..verdicts[0].clone() };
        assert!(found(&[queue]).is_empty());
    }
}
