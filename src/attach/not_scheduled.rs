//! Tasks that were woken and are not polled.
//!
//! A task that waits in a queue of a busy runtime looks the same as a lost one.
//! So it must stay in that state while no thread runs that could poll it: each
//! has been in one and the same wait since before the task was read.

use crate::attach::document::{
    PsRole, PsRuntime, PsRuntimeKind, PsTask, PsTaskState, PsThread, PsThreadState, PsVerdict, PsVerdictKind,
};
use crate::attach::first_look::FirstLook;
use crate::report::text;

/// A verdict names at most this many tasks.
const MAX_TASKS: usize = 1_000;

/// Why no thread polls the tasks of a runtime.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Evidence {
    /// None of its workers has run.
    Workers,
    /// No thread of the process has run.
    AllThreads,
    /// Threads have run, but none of those that run a `block_on`.
    BlockOns,
}

/// The tasks of one runtime that are not polled.
#[derive(Debug)]
struct Unpolled<'a> {
    runtime: &'a PsRuntime,
    evidence: Evidence,
    /// The threads that must not run.
    threads: Vec<i32>,
    tasks: Vec<&'a PsTask>,
}

/// The tasks that may be lost.
#[derive(Debug)]
pub(super) struct NotScheduled<'a> {
    runtimes: Vec<Unpolled<'a>>,
}

impl<'a> NotScheduled<'a> {
    /// Returns the woken tasks of runtimes of which no thread seems to run.
    pub(super) fn new(first: &FirstLook<'a>) -> Self {
        let unpolled = |runtime: &'a PsRuntime| {
            let is_woken = |task: &&PsTask| {
                task.runtime == Some(runtime.handle)
                    && !task.is_blocking
                    && task.state == PsTaskState::Notified
            };
            let tasks: Vec<_> = first.tasks.iter().filter(is_woken).collect();
            if tasks.is_empty() {
                return None;
            }
            let have_not_run = |tids: &[i32]| first.thread_reader.have_not_run(tids);
            let (evidence, threads) = evidence(runtime, first.runtimes, first.threads, have_not_run)?;
            Some(Unpolled { runtime, evidence, threads, tasks })
        };
        Self { runtimes: first.runtimes.iter().filter_map(unpolled).collect() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.runtimes.is_empty()
    }

    /// Keeps what has not changed since the first look.
    pub(super) fn retain(&mut self, first: &FirstLook<'_>, mut is_unchanged: impl FnMut(&PsTask) -> bool) {
        let reader = first.thread_reader;
        for runtime in &mut self.runtimes {
            runtime.tasks.retain(|task| is_unchanged(task));
            let has_new_thread = || {
                let ids = reader.current_ids();
                runtime.evidence == Evidence::AllThreads
                    && ids.iter().any(|tid| !runtime.threads.contains(tid))
            };
            if !reader.have_not_run(&runtime.threads) || has_new_thread() {
                runtime.tasks.clear();
            }
        }
        self.runtimes.retain(|runtime| !runtime.tasks.is_empty());
    }

    /// Returns a verdict for each runtime that is left.
    pub(super) fn verdict(&self, first: &FirstLook<'_>) -> Vec<PsVerdict> {
        self.runtimes.iter().map(|runtime| runtime.verdict(first)).collect()
    }
}

/// Returns the threads that could poll the tasks of a runtime, if none of them
/// has run since the first look. `None` if one has, or if a verdict on the
/// threads says why the tasks wait.
fn evidence(
    runtime: &PsRuntime,
    runtimes: &[PsRuntime],
    threads: &[PsThread],
    have_not_run: impl Fn(&[i32]) -> bool,
) -> Option<(Evidence, Vec<i32>)> {
    let with = |roles: &[PsRole]| -> Vec<i32> {
        threads.iter().filter(|thread| roles.contains(&thread.role)).map(|thread| thread.tid).collect()
    };
    let is_blocked =
        |role| move |thread: &&PsThread| thread.role == role && thread.state == PsThreadState::Blocked;
    let all = || threads.iter().map(|thread| thread.tid).collect::<Vec<_>>();
    let of_kind = |kind| runtimes.iter().filter(move |runtime| runtime.kind == kind);
    match runtime.kind {
        PsRuntimeKind::MultiThread => {
            let workers = with(&[PsRole::Worker]);
            let blocked = threads.iter().filter(is_blocked(PsRole::Worker)).count();
            if !workers.is_empty() && blocked == workers.len() {
                return None;
            }
            // A runtime without tasks is not known, and its workers are.
            let known = of_kind(PsRuntimeKind::MultiThread).map(|runtime| runtime.workers);
            let known = known.sum::<Option<usize>>();
            let (evidence, pollers) = if known == Some(workers.len()) {
                (Evidence::Workers, with(&[PsRole::Worker, PsRole::Runtime]))
            } else {
                (Evidence::AllThreads, all())
            };
            have_not_run(&pollers).then_some((evidence, pollers))
        }
        _ if threads.iter().any(|thread| is_blocked(PsRole::BlockOn)(&thread)) => None,
        _ if have_not_run(&all()) => Some((Evidence::AllThreads, all())),
        PsRuntimeKind::CurrentThread | PsRuntimeKind::LocalSet => {
            let pollers = with(&[PsRole::BlockOn, PsRole::Runtime]);
            have_not_run(&pollers).then_some((Evidence::BlockOns, pollers))
        }
        PsRuntimeKind::Unknown => None,
    }
}

impl Unpolled<'_> {
    fn verdict(&self, first: &FirstLook<'_>) -> PsVerdict {
        let time = text::duration(first.at.elapsed());
        let kind = self.tasks.first().map_or("", |task| task.kind.as_str());
        let what = match self.tasks.len() {
            1 => format!("the task `{kind}` was woken at least {time} ago and was not polled since"),
            n => {
                format!("{n} tasks were woken at least {time} ago and were not polled since, one is `{kind}`")
            }
        };
        PsVerdict {
            kind: PsVerdictKind::NotScheduled,
            // A program may run its current-thread runtime now and then.
            is_certain: self.runtime.kind == PsRuntimeKind::MultiThread,
            reason: format!("{what}: {}", self.why(first.threads)),
            tasks: self.tasks.iter().take(MAX_TASKS).map(|task| task.address).collect(),
            threads: Vec::new(),
        }
    }

    fn why(&self, threads: &[PsThread]) -> String {
        let workers = || threads.iter().filter(|thread| thread.role == PsRole::Worker);
        let blocked = workers().filter(|thread| thread.state == PsThreadState::Blocked).count();
        let is_idle =
            |thread: &PsThread| matches!(thread.state, PsThreadState::Parked | PsThreadState::DrivingIo);
        let are_all_idle = self.evidence == Evidence::Workers && workers().all(is_idle);
        let was_seen_only = self.evidence == Evidence::BlockOns;
        let no_thread = if was_seen_only { "no thread was seen that runs" } else { "no thread runs" };
        match self.runtime.kind {
            PsRuntimeKind::MultiThread if workers().count() == 0 => {
                "no worker of its runtime was found, and no thread has run meanwhile".to_owned()
            }
            PsRuntimeKind::MultiThread if blocked > 0 => {
                "the other workers wait for work, so a blocked worker has it in its own queue or LIFO slot"
                    .to_owned()
            }
            PsRuntimeKind::MultiThread if are_all_idle => {
                "all workers wait for work, so the runtime has lost the wake-up".to_owned()
            }
            PsRuntimeKind::MultiThread => "no worker of its runtime has run meanwhile".to_owned(),
            PsRuntimeKind::LocalSet => format!("{no_thread} its `LocalSet`"),
            PsRuntimeKind::CurrentThread => {
                format!("{no_thread} its current-thread runtime: only a `block_on` polls its tasks")
            }
            PsRuntimeKind::Unknown => "no thread of the process has run meanwhile".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding;

    fn thread(tid: i32, role: PsRole, state: PsThreadState) -> PsThread {
        PsThread {
            tid,
            name: String::new(),
            role,
            state,
            call: None,
            object: None,
            cause: None,
            primitive: None,
            advice: None,
            task: None,
            seconds: None,
            site: None,
            stack: Vec::new(),
            evidence: finding::Evidence::Stack,
        }
    }

    fn runtime(kind: PsRuntimeKind, workers: Option<usize>) -> PsRuntime {
        PsRuntime { handle: 1, kind, workers, tasks: 1 }
    }

    /// Returns the evidence if only the threads `asleep` have not run.
    fn of(runtime: &PsRuntime, threads: &[PsThread], asleep: &[i32]) -> Option<Evidence> {
        let have_not_run = |tids: &[i32]| tids.iter().all(|tid| asleep.contains(tid));
        let runtimes = std::slice::from_ref(runtime);
        evidence(runtime, runtimes, threads, have_not_run).map(|(evidence, _)| evidence)
    }

    #[test]
    fn a_task_is_lost_only_if_no_worker_has_run() {
        use PsRole::{BlockOn, Worker};
        use PsThreadState::{Blocked, DrivingIo, Parked};
        let multi = runtime(PsRuntimeKind::MultiThread, Some(2));
        let threads = [thread(1, Worker, Parked), thread(2, Worker, DrivingIo), thread(3, BlockOn, Parked)];
        assert_eq!(of(&multi, &threads, &[1, 2]), Some(Evidence::Workers));
        assert_eq!(of(&multi, &threads, &[1, 3]), None, "a worker has run");
        // Not all workers are known.
        let unknown = runtime(PsRuntimeKind::MultiThread, Some(3));
        assert_eq!(of(&unknown, &threads, &[1, 2]), None);
        assert_eq!(of(&unknown, &threads, &[1, 2, 3]), Some(Evidence::AllThreads));
        let blocked = [thread(1, Worker, Blocked), thread(2, Worker, Blocked)];
        assert_eq!(of(&multi, &blocked, &[1, 2]), None, "another verdict says that all are blocked");
        let one_blocked = [thread(1, Worker, Blocked), thread(2, Worker, Parked)];
        assert_eq!(of(&multi, &one_blocked, &[1, 2]), Some(Evidence::Workers));
    }

    #[test]
    fn a_runtime_without_a_block_on_is_suspected_while_other_threads_run() {
        use PsRole::{BlockOn, Other, Worker};
        use PsThreadState::{Blocked, Parked, Polling, Waiting};
        let current = runtime(PsRuntimeKind::CurrentThread, None);
        let threads = [thread(1, Worker, Polling), thread(2, Other, Waiting)];
        assert_eq!(of(&current, &threads, &[2]), Some(Evidence::BlockOns));
        assert_eq!(of(&current, &threads, &[1, 2]), Some(Evidence::AllThreads));
        let driven = [thread(1, BlockOn, Parked), thread(2, Other, Waiting)];
        assert_eq!(of(&current, &driven, &[2]), None, "the thread with the `block_on` has run");
        let blocked = [thread(1, BlockOn, Blocked)];
        assert_eq!(of(&current, &blocked, &[1]), None, "the blocked thread is another verdict");
        let unknown = runtime(PsRuntimeKind::Unknown, None);
        assert_eq!(of(&unknown, &threads, &[2]), None);
        assert_eq!(of(&unknown, &threads, &[1, 2]), Some(Evidence::AllThreads));
    }
}
