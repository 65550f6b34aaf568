//! Judges what is wrong in a process.
//!
//! A verdict is certain only where the evidence is exact. What may also be a
//! moment of normal work is a suspicion, or is not reported.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use crate::attach::document::{
    PsLeaf, PsRole, PsTask, PsTaskState, PsThread, PsThreadState, PsVerdict, PsVerdictKind,
};
use crate::finding::Evidence;
use crate::report::text;

/// A shorter wait in a poll is not reported: the default threshold of a watch.
const MIN_BLOCKED_SECONDS: f64 = 0.01;
/// A verdict names at most this many tasks.
const MAX_TASKS: usize = 1_000;

/// Returns what is wrong. `is_unchanged` says whether a task is in the same
/// state as when it was read, some time later.
pub(super) fn verdicts(
    tasks: &[PsTask],
    threads: &[PsThread],
    mut is_unchanged: impl FnMut(&PsTask) -> bool,
) -> Vec<PsVerdict> {
    let mut verdicts = Vec::new();
    blocked_workers(tasks, threads, &mut verdicts);
    never_woken(tasks, &mut is_unchanged, &mut verdicts);
    granted_but_not_polled(tasks, &mut is_unchanged, &mut verdicts);
    join_cycles(tasks, &mut is_unchanged, &mut verdicts);
    full_pool(tasks, threads, &mut verdicts);
    verdicts
}

/// Threads with an event loop that have been waiting in a poll for some time.
fn blocked_workers(tasks: &[PsTask], threads: &[PsThread], verdicts: &mut Vec<PsVerdict>) {
    let has_loop = |thread: &&PsThread| matches!(thread.role, PsRole::Worker | PsRole::BlockOn);
    let is_long = |thread: &&PsThread| {
        thread.state == PsThreadState::Blocked
            && thread.seconds.is_some_and(|seconds| seconds >= MIN_BLOCKED_SECONDS)
    };
    let workers: Vec<_> = threads.iter().filter(|thread| thread.role == PsRole::Worker).collect();
    let blocked: Vec<_> = threads.iter().filter(has_loop).filter(is_long).collect();
    // A thread whose stack does not show what it is may be a worker that runs.
    let is_any_unknown = threads.iter().any(|thread| thread.role == PsRole::Runtime);
    if !workers.is_empty() && workers.iter().all(is_long) && !is_any_unknown {
        verdicts.push(PsVerdict {
            kind: PsVerdictKind::BlockedRuntime,
            is_certain: blocked.iter().all(|thread| has_exact_stack(thread)),
            reason: format!(
                "all {} workers are blocked in polls: no other task can run on them",
                workers.len()
            ),
            tasks: workers.iter().filter_map(|thread| thread.task).collect(),
            threads: workers.iter().map(|thread| thread.tid).collect(),
        });
    }
    for thread in blocked {
        let what = thread.primitive.as_deref().or(thread.call.as_deref()).unwrap_or("a call");
        let waited = Duration::try_from_secs_f64(thread.seconds.unwrap_or_default()).unwrap_or_default();
        let task = thread.task.and_then(|polled| tasks.iter().find(|task| task.address == polled));
        let polled = task.map_or(String::new(), |task| format!("it polls `{}`, and ", task.kind));
        verdicts.push(PsVerdict {
            kind: PsVerdictKind::BlockedWorker,
            is_certain: has_exact_stack(thread),
            reason: format!(
                "a {} is blocked in `{what}` for at least {}: {polled}no other task can run on it",
                if thread.role == PsRole::Worker { "worker" } else { "thread with a `block_on`" },
                text::duration(waited)
            ),
            tasks: thread.task.into_iter().collect(),
            threads: vec![thread.tid],
        });
    }
}

fn has_exact_stack(thread: &PsThread) -> bool {
    thread.evidence == Evidence::Stack
}

/// Tasks without a waker. Tokio counts every waker as a reference, so that is
/// exact.
fn never_woken(
    tasks: &[PsTask],
    is_unchanged: &mut impl FnMut(&PsTask) -> bool,
    verdicts: &mut Vec<PsVerdict>,
) {
    let mut is_lost = |task: &&PsTask| {
        task.state == PsTaskState::Idle && !task.is_blocking && task.wakers == 0 && is_unchanged(task)
    };
    let lost: Vec<_> = tasks.iter().filter(|task| is_lost(task)).collect();
    let Some(first) = lost.first() else { return };
    let is_abortable = lost.iter().any(|task| task.has_join_handle);
    let cure = if is_abortable { "; its `JoinHandle` can only abort it" } else { "" };
    verdicts.push(PsVerdict {
        kind: PsVerdictKind::NeverWoken,
        is_certain: true,
        reason: match lost.len() {
            1 => format!(
                "the task `{}` can never run again: it waits, and no waker of it is alive{cure}",
                first.kind
            ),
            n => format!(
                "{n} tasks can never run again: they wait, and no waker of any of them is alive; one is `{}`",
                first.kind
            ),
        },
        tasks: lost.iter().take(MAX_TASKS).map(|task| task.address).collect(),
        threads: Vec::new(),
    });
}

/// Tasks that hold what others wait for without knowing it: a semaphore has
/// granted them their permits, and they are not polled.
fn granted_but_not_polled(
    tasks: &[PsTask],
    is_unchanged: &mut impl FnMut(&PsTask) -> bool,
    verdicts: &mut Vec<PsVerdict>,
) {
    let mut waiting = HashMap::<u64, usize>::new();
    for task in tasks {
        if let Some(PsLeaf::Semaphore { address, is_granted: Some(false), .. }) = task.leaf {
            *waiting.entry(address).or_default() += 1;
        }
    }
    for task in tasks {
        let Some(PsLeaf::Semaphore { address, is_granted: Some(true), of }) = &task.leaf else { continue };
        if task.state != PsTaskState::Idle || !is_unchanged(task) {
            continue;
        }
        let of = of.as_deref().unwrap_or("semaphore");
        let others = match waiting.get(address) {
            Some(n) => format!(", and {n} others wait for it"),
            None => String::new(),
        };
        verdicts.push(PsVerdict {
            kind: PsVerdictKind::Futurelock,
            is_certain: true,
            reason: format!(
                "the task `{}` was granted the `{of}` at {address:#x}, but the future that waits for it is not \
                 polled{others}",
                task.kind
            ),
            tasks: vec![task.address],
            threads: Vec::new(),
        });
    }
}

/// Tasks that await each other's end.
fn join_cycles(
    tasks: &[PsTask],
    is_unchanged: &mut impl FnMut(&PsTask) -> bool,
    verdicts: &mut Vec<PsVerdict>,
) {
    let awaited = |task: &PsTask| match (task.state, &task.leaf) {
        (PsTaskState::Idle, Some(PsLeaf::Join { task })) => Some(*task),
        _ => None,
    };
    let next: HashMap<_, _> = tasks.iter().filter_map(|task| Some((task.address, awaited(task)?))).collect();
    let by_address: HashMap<_, _> = tasks.iter().map(|task| (task.address, task)).collect();
    let mut seen = HashSet::new();
    for start in tasks.iter().map(|task| task.address) {
        let mut path = Vec::new();
        let mut at = start;
        // Each task is visited once in all, so this ends.
        while seen.insert(at) {
            path.push(at);
            let Some(awaited) = next.get(&at) else { break };
            at = *awaited;
        }
        let Some(begin) = path.iter().position(|address| *address == at) else { continue };
        let cycle = &path[begin..];
        let members: Vec<_> = cycle.iter().filter_map(|address| by_address.get(address)).collect();
        let closes = next.get(cycle.last().unwrap_or(&at)) == Some(&at);
        if closes && members.len() == cycle.len() && members.iter().all(|task| is_unchanged(task)) {
            let kinds: Vec<_> = members.iter().take(5).map(|task| format!("`{}`", task.kind)).collect();
            let reason = match members.len() {
                1 => format!("the task {} waits for its own end, which never comes", kinds.join("")),
                n => format!("{n} tasks wait for each other's end, which never comes: {}", kinds.join(", ")),
            };
            verdicts.push(PsVerdict {
                kind: PsVerdictKind::Cycle,
                is_certain: true,
                reason,
                tasks: cycle.iter().take(MAX_TASKS).copied().collect(),
                threads: Vec::new(),
            });
        }
    }
}

/// Jobs that wait for a thread of the blocking pool, none of which is idle.
/// Tokio may be starting another thread, so this is a suspicion.
fn full_pool(tasks: &[PsTask], threads: &[PsThread], verdicts: &mut Vec<PsVerdict>) {
    let pool: Vec<_> = threads.iter().filter(|thread| thread.role == PsRole::Blocking).collect();
    let is_idle =
        |thread: &&&PsThread| matches!(thread.state, PsThreadState::Parked | PsThreadState::Unknown);
    let idle = pool.iter().filter(is_idle).count();
    let is_stuck = |thread: &&&PsThread| {
        thread.state == PsThreadState::Waiting
            && thread.seconds.is_some_and(|seconds| seconds >= MIN_BLOCKED_SECONDS)
    };
    let stuck = pool.iter().filter(is_stuck).count();
    let is_queued =
        |task: &&PsTask| task.is_blocking && matches!(task.state, PsTaskState::Idle | PsTaskState::Notified);
    let queued = tasks.iter().filter(is_queued).count();
    if queued == 0 || pool.is_empty() || idle > 0 || stuck < pool.len() {
        return;
    }
    verdicts.push(PsVerdict {
        kind: PsVerdictKind::PoolFull,
        is_certain: false,
        reason: format!(
            "{queued} jobs wait for a thread of the blocking pool, and all {} threads of it wait in their jobs",
            pool.len()
        ),
        tasks: Vec::new(),
        threads: pool.iter().take(MAX_TASKS).map(|thread| thread.tid).collect(),
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(address: u64, leaf: Option<PsLeaf>) -> PsTask {
        PsTask {
            address,
            id: Some(address),
            kind: format!("app::task{address}"),
            runtime: Some(1),
            is_blocking: false,
            state: PsTaskState::Idle,
            references: 2,
            wakers: 1,
            has_join_handle: false,
            spawned_at: None,
            chain: Vec::new(),
            leaf,
            chain_missing: None,
        }
    }

    fn kinds(tasks: &[PsTask]) -> Vec<(PsVerdictKind, Vec<u64>)> {
        let found = verdicts(tasks, &[], |_| true);
        found.into_iter().map(|verdict| (verdict.kind, verdict.tasks)).collect()
    }

    #[test]
    fn a_waiting_task_without_a_waker_is_never_woken() {
        let lost = PsTask { wakers: 0, references: 1, ..task(1, None) };
        assert_eq!(kinds(std::slice::from_ref(&lost)), [(PsVerdictKind::NeverWoken, vec![1])]);
        assert!(verdicts(std::slice::from_ref(&lost), &[], |_| false).is_empty(), "it has changed since");
        for state in [PsTaskState::Notified, PsTaskState::Running, PsTaskState::Complete] {
            assert!(kinds(&[PsTask { state, ..lost.clone() }]).is_empty());
        }
        assert!(kinds(&[PsTask { is_blocking: true, ..lost }]).is_empty());
    }

    #[test]
    fn a_granted_permit_of_a_task_that_is_not_polled_is_a_futurelock() {
        let waits = |address, is_granted| {
            let of = Some("tokio::sync::mutex::Mutex".to_owned());
            task(address, Some(PsLeaf::Semaphore { address: 64, of, is_granted }))
        };
        let tasks = [waits(1, Some(true)), waits(2, Some(false)), waits(3, Some(false)), waits(4, None)];
        assert_eq!(kinds(&tasks), [(PsVerdictKind::Futurelock, vec![1])]);
        let reason = &verdicts(&tasks, &[], |_| true)[0].reason;
        assert!(reason.ends_with("is not polled, and 2 others wait for it"), "{reason}");
        assert!(kinds(&tasks[1..]).is_empty());
    }

    #[test]
    fn tasks_that_await_each_other_are_a_cycle() {
        let joins = |address, awaited| task(address, Some(PsLeaf::Join { task: awaited }));
        let cycle = [joins(1, 2), joins(2, 3), joins(3, 2), joins(4, 1), joins(5, 99)];
        assert_eq!(kinds(&cycle), [(PsVerdictKind::Cycle, vec![2, 3])]);
        assert_eq!(kinds(&[joins(7, 7)]), [(PsVerdictKind::Cycle, vec![7])]);
        assert!(kinds(&[joins(1, 2), joins(2, 3), task(3, None)]).is_empty());
        let all = [joins(1, 2), joins(2, 1)];
        assert!(verdicts(&all, &[], |task| task.address != 2).is_empty(), "one has changed since");
    }
}
