//! Many tasks that wait for one lock, which nobody releases.
//!
//! A lock of a busy server always has waiters, and passes from one to the next.
//! So it must not do that for long: the waiter that is the next in line stays
//! the same.

use std::collections::{BTreeMap, HashSet};
use std::time::{Duration, Instant};

use crate::attach::document::{PsLeaf, PsTask, PsTaskState, PsVerdict, PsVerdictKind};
use crate::attach::first_look::FirstLook;
use crate::futures::{FutureReader, Hold};
use crate::report::text;
use crate::tasks::{FoundTask, TaskReader, WaitList};

/// Fewer waiters are no queue.
const MIN_WAITERS: usize = 3;
/// The number of locks that are looked at.
const MAX_LOCKS: usize = 64;
/// The number of tasks that are searched for what holds the locks, for all of
/// them together.
const MAX_SEARCHED: usize = 4_096;
/// A verdict names at most this many tasks.
const MAX_TASKS: usize = 1_000;
/// A permit of a `Semaphore` or a place in a channel may be held for long in
/// normal work.
const LOCKS: [&str; 2] = ["tokio::sync::mutex::", "tokio::sync::rwlock::"];

/// A lock that tasks wait for.
#[derive(Debug)]
struct Lock<'a> {
    /// The address of its semaphore.
    address: u64,
    of: &'a str,
    list: WaitList,
    waiters: Vec<&'a PsTask>,
}

/// The locks that may be stuck.
#[derive(Debug)]
pub(super) struct LockQueues<'a> {
    /// When the first queue was read.
    pub(super) since: Instant,
    locks: Vec<Lock<'a>>,
}

impl<'a> LockQueues<'a> {
    /// Returns the locks with many waiters, without those in `known`.
    pub(super) fn new(first: &FirstLook<'a>, known: &HashSet<u64>) -> Self {
        let mut locks = BTreeMap::<u64, (&str, Vec<&PsTask>)>::new();
        for task in first.tasks.iter().filter(|task| task.state == PsTaskState::Idle) {
            for (address, of) in waits(task.leaf.as_ref()) {
                let waiters = &mut locks.entry(address).or_insert((of, Vec::new())).1;
                if waiters.last().is_none_or(|last| last.address != task.address) {
                    waiters.push(task);
                }
            }
        }
        let long = locks.into_iter().filter(|(_, (_, waiters))| waiters.len() >= MIN_WAITERS);
        let locks = long.filter(|(address, _)| !known.contains(address)).take(MAX_LOCKS);
        let lock = |(address, (of, waiters))| {
            let list = first.task_reader.wait_list(address).filter(|list| list.waiters >= MIN_WAITERS)?;
            Some(Lock { address, of, list, waiters })
        };
        let since = Instant::now();
        Self { since, locks: locks.filter_map(lock).collect() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.locks.is_empty()
    }

    /// Keeps the locks whose next waiter is still the same.
    pub(super) fn retain(&mut self, reader: &TaskReader) {
        self.locks.retain(|lock| {
            let list = reader.wait_list(lock.address);
            list.is_some_and(|list| list.first == lock.list.first && list.waiters >= MIN_WAITERS)
        });
    }

    /// Keeps the tasks that still wait, and the locks with many of them.
    pub(super) fn retain_waiters(&mut self, mut is_unchanged: impl FnMut(&PsTask) -> bool) {
        for lock in &mut self.locks {
            lock.waiters.retain(|task| is_unchanged(task));
        }
        self.locks.retain(|lock| lock.waiters.len() >= MIN_WAITERS);
    }

    /// Returns a verdict for each lock that is left. Its next waiter has been
    /// the same for `time`.
    pub(super) fn verdicts(
        &self,
        first: &FirstLook<'_>,
        futures: &mut FutureReader,
        time: Duration,
    ) -> Vec<PsVerdict> {
        let max_searched = MAX_SEARCHED / self.locks.len().max(1);
        let verdict = |lock: &Lock<'_>| {
            let holders = lock.holders(first, futures, max_searched);
            lock.verdict(&holders, time)
        };
        self.locks.iter().map(verdict).collect()
    }
}

/// Returns the locks that a task waits for, with their types.
fn waits(leaf: Option<&PsLeaf>) -> Vec<(u64, &str)> {
    match leaf {
        Some(PsLeaf::Semaphore { address, of: Some(of), is_granted: Some(false) })
            if LOCKS.iter().any(|module| of.starts_with(module)) =>
        {
            vec![(*address, of)]
        }
        Some(PsLeaf::Several { branches, .. }) => {
            branches.iter().flat_map(|branch| waits(branch.leaf.as_ref())).collect()
        }
        _ => Vec::new(),
    }
}

impl Lock<'_> {
    /// No evidence of the holder is exact: a variable may still have the bytes
    /// of a guard or a future that was moved or dropped.
    fn verdict(&self, holders: &[(Hold, &PsTask)], time: Duration) -> PsVerdict {
        let unpolled = holders.iter().find(|(hold, _)| *hold == Hold::UnpolledFuture);
        let what = match (unpolled, holders) {
            (Some((_, task)), _) => {
                format!("`{}` has a future that was granted the lock and is not polled", task.kind)
            }
            (None, []) => "what holds it is not known".to_owned(),
            (None, [(_, holder)]) => format!("`{}` has a guard of it", holder.kind),
            (None, [(_, holder), ..]) => {
                format!("{} tasks have a guard of it, one is `{}`", holders.len(), holder.kind)
            }
        };
        let tasks = holders.iter().map(|(_, task)| task).chain(&self.waiters).take(MAX_TASKS);
        PsVerdict {
            kind: if unpolled.is_some() { PsVerdictKind::Futurelock } else { PsVerdictKind::LockQueue },
            is_certain: false,
            reason: format!(
                "{} tasks wait for the `{}` at {:#x}, and the next in line has waited for at least {}: {what}",
                self.waiters.len(),
                self.of,
                self.address,
                text::duration(time)
            ),
            tasks: tasks.map(|task| task.address).collect(),
            threads: Vec::new(),
        }
    }

    /// Returns the tasks that have something of the lock in a variable of an
    /// async function.
    fn holders<'t>(
        &self,
        first: &FirstLook<'t>,
        futures: &mut FutureReader,
        max_searched: usize,
    ) -> Vec<(Hold, &'t PsTask)> {
        let pairs = first.found.iter().zip(first.tasks);
        let idle = pairs.filter(|(_, task)| task.state == PsTaskState::Idle && !task.is_blocking);
        let hold = |(found, task): (&FoundTask, &'t PsTask)| {
            Some((futures.hold(found.place(), self.address)?, task))
        };
        idle.take(max_searched).filter_map(hold).collect()
    }
}
