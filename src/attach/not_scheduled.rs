//! Tasks that were woken and are not polled.
//!
//! A task that waits in a queue of a busy runtime looks the same as a lost one.
//! So it must stay in that state while no thread runs that could poll it: each
//! has been in one and the same wait since before the task was read.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use crate::attach::document::{
    PsRole, PsRuntime, PsRuntimeKind, PsTask, PsTaskState, PsThread, PsThreadState, PsVerdict, PsVerdictKind,
};
use crate::attach::first_look::FirstLook;
use crate::report::text;
use crate::threads::role;

/// So many runtimes are looked at.
const MAX_RUNTIMES: usize = 64;
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
    /// The threads that must not run, sorted.
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
        let mut woken = HashMap::<u64, Vec<&PsTask>>::new();
        let is_woken = |task: &&PsTask| !task.is_blocking && task.state == PsTaskState::Notified;
        for task in first.tasks.iter().filter(is_woken) {
            if let Some(handle) = task.runtime {
                woken.entry(handle).or_default().push(task);
            }
        }
        if woken.is_empty() {
            return Self { runtimes: Vec::new() };
        }
        let asleep = asleep(first, first.threads.iter().map(|thread| thread.tid));
        let unpolled = |(runtime, tasks): (&'a PsRuntime, Vec<&'a PsTask>)| {
            let have_not_run = |tids: &[i32]| tids.iter().all(|tid| asleep.contains(tid));
            let runtimes = first.runtimes;
            let (evidence, threads) =
                evidence(runtime, runtimes, first.threads, first.reading_thread, have_not_run)?;
            Some(Unpolled { runtime, evidence, threads, tasks })
        };
        let with_woken = |runtime: &'a PsRuntime| Some((runtime, woken.remove(&runtime.handle)?));
        let suspects = first.runtimes.iter().filter_map(with_woken).take(MAX_RUNTIMES);
        Self { runtimes: suspects.filter_map(unpolled).collect() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.runtimes.is_empty()
    }

    /// Keeps what has not changed since the first look.
    pub(super) fn retain(&mut self, first: &FirstLook<'_>, mut is_unchanged: impl FnMut(&PsTask) -> bool) {
        for runtime in &mut self.runtimes {
            runtime.tasks.retain(|task| is_unchanged(task));
        }
        self.runtimes.retain(|runtime| !runtime.tasks.is_empty());
        if self.runtimes.is_empty() {
            return;
        }
        // Only after the tasks: a thread may poll one directly before.
        let threads: HashSet<i32> =
            self.runtimes.iter().flat_map(|runtime| runtime.threads.clone()).collect();
        let asleep = asleep(first, threads.into_iter());
        let ids = first.thread_reader.current_ids();
        let is_new = |tid: &i32, threads: &[i32]| threads.binary_search(tid).is_err();
        self.runtimes.retain(|Unpolled { evidence, threads, .. }| {
            let has_new_thread =
                *evidence == Evidence::AllThreads && ids.iter().any(|tid| is_new(tid, threads));
            !has_new_thread && threads.iter().all(|tid| asleep.contains(tid))
        });
    }

    /// Returns a verdict for each runtime that is left. Its tasks have not been
    /// polled for `time`.
    pub(super) fn verdicts(&self, threads: &[PsThread], time: Duration) -> Vec<PsVerdict> {
        self.runtimes.iter().map(|runtime| runtime.verdict(threads, time)).collect()
    }
}

/// Returns which of the threads have not run since the first look.
fn asleep(first: &FirstLook<'_>, tids: impl Iterator<Item = i32>) -> HashSet<i32> {
    tids.filter(|tid| first.thread_reader.have_not_run(&[*tid])).collect()
}

/// Returns whether the thread belongs to no runtime only as far as its stack
/// shows, and the stack was not read whole: it may be any thread of a runtime.
fn is_unread(thread: &PsThread) -> bool {
    thread.role == PsRole::Other && (thread.stack.is_empty() || thread.state == PsThreadState::Unknown)
}

/// Returns whether the thread is a job of the blocking pool that runs a
/// `block_on`.
fn is_job_with_block_on(thread: &PsThread) -> bool {
    thread.role == PsRole::Blocking && role::is_block_on_in_job(&thread.stack)
}

/// Returns the threads that could poll the tasks of a runtime, if none of them
/// has run since the first look. `None` if one has, or if a verdict on the
/// threads says why the tasks wait. `reading_thread` polls nothing.
fn evidence(
    runtime: &PsRuntime,
    runtimes: &[PsRuntime],
    threads: &[PsThread],
    reading_thread: Option<i32>,
    have_not_run: impl Fn(&[i32]) -> bool,
) -> Option<(Evidence, Vec<i32>)> {
    let with = |is_poller: &dyn Fn(&PsThread) -> bool| -> Vec<i32> {
        let may_poll = |thread: &&PsThread| {
            let may_be_any = thread.role == PsRole::Runtime || is_unread(thread);
            is_poller(thread) || may_be_any && Some(thread.tid) != reading_thread
        };
        threads.iter().filter(may_poll).map(|thread| thread.tid).collect()
    };
    let is_worker = |thread: &PsThread| thread.role == PsRole::Worker;
    let runs_block_on = |thread: &PsThread| thread.role == PsRole::BlockOn || is_job_with_block_on(thread);
    let is_blocked =
        |role| move |thread: &&PsThread| thread.role == role && thread.state == PsThreadState::Blocked;
    let is_waiting = |thread: &PsThread| thread.state == PsThreadState::Waiting;
    let all = || threads.iter().map(|thread| thread.tid).collect::<Vec<_>>();
    let of_kind = |kind| runtimes.iter().filter(move |runtime| runtime.kind == kind);
    match runtime.kind {
        PsRuntimeKind::MultiThread => {
            let workers = threads.iter().filter(|thread| is_worker(thread)).count();
            let blocked = threads.iter().filter(is_blocked(PsRole::Worker)).count();
            if workers > 0 && blocked == workers {
                return None;
            }
            // A runtime without tasks is not known, and its workers are.
            let known = of_kind(PsRuntimeKind::MultiThread).map(|runtime| runtime.workers);
            let known = known.sum::<Option<usize>>();
            let (evidence, pollers) = if known == Some(workers) {
                (Evidence::Workers, with(&is_worker))
            } else {
                (Evidence::AllThreads, all())
            };
            have_not_run(&pollers).then_some((evidence, pollers))
        }
        _ if threads.iter().any(|thread| is_blocked(PsRole::BlockOn)(&thread)) => None,
        // What it waits for is not known: work, or something in a poll.
        _ if threads.iter().any(|thread| is_job_with_block_on(thread) && is_waiting(thread)) => None,
        _ if have_not_run(&all()) => Some((Evidence::AllThreads, all())),
        PsRuntimeKind::CurrentThread | PsRuntimeKind::LocalSet => {
            let pollers = with(&runs_block_on);
            have_not_run(&pollers).then_some((Evidence::BlockOns, pollers))
        }
        PsRuntimeKind::Unknown => None,
    }
}

impl Unpolled<'_> {
    fn verdict(&self, threads: &[PsThread], time: Duration) -> PsVerdict {
        let time = text::duration(time);
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
            reason: format!("{what}: {}", self.why(threads)),
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
    use crate::finding::{self, Frame, FrameKind};

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
            stack: vec![frame("app::main", FrameKind::Application)],
            evidence: finding::Evidence::Stack,
        }
    }

    fn frame(function: &str, kind: FrameKind) -> Frame {
        Frame { function: function.to_owned(), file: None, line: None, column: None, kind, recovered: false }
    }

    fn runtime(kind: PsRuntimeKind, workers: Option<usize>) -> PsRuntime {
        PsRuntime { handle: 1, kind, workers, tasks: 1 }
    }

    /// Returns the evidence if only the threads `asleep` have not run.
    fn of(runtime: &PsRuntime, threads: &[PsThread], asleep: &[i32]) -> Option<Evidence> {
        let have_not_run = |tids: &[i32]| tids.iter().all(|tid| asleep.contains(tid));
        let runtimes = std::slice::from_ref(runtime);
        evidence(runtime, runtimes, threads, None, have_not_run).map(|(evidence, _)| evidence)
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

    #[test]
    fn a_thread_without_a_whole_stack_may_be_one_of_the_runtime() {
        use PsRole::{Other, Worker};
        use PsThreadState::{Parked, Running, Unknown};
        let without_stack = |tid, state| PsThread { stack: Vec::new(), ..thread(tid, Other, state) };
        for unread in [without_stack(3, Running), without_stack(3, Unknown), thread(3, Other, Unknown)] {
            let threads = [thread(1, Worker, Parked), thread(2, Worker, Parked), unread];
            let multi = runtime(PsRuntimeKind::MultiThread, Some(2));
            assert_eq!(of(&multi, &threads, &[1, 2]), None, "it may be a worker of another runtime");
            assert_eq!(of(&multi, &threads, &[1, 2, 3]), Some(Evidence::Workers));
            for kind in [PsRuntimeKind::CurrentThread, PsRuntimeKind::LocalSet] {
                let current = runtime(kind, None);
                assert_eq!(of(&current, &threads, &[2]), None, "it may run the runtime");
                assert_eq!(of(&current, &threads, &[2, 3]), Some(Evidence::BlockOns));
                let have_not_run = |tids: &[i32]| tids == [2] || tids.is_empty();
                let runtimes = std::slice::from_ref(&current);
                let found = evidence(&current, runtimes, &threads, Some(3), have_not_run);
                assert_eq!(found, Some((Evidence::BlockOns, Vec::new())), "it reads the process");
            }
        }
    }

    #[test]
    fn a_job_of_the_blocking_pool_may_run_a_runtime() {
        use PsRole::{Blocking, Worker};
        use PsThreadState::{Parked, Running, Waiting};
        const POOL: &str = "tokio::runtime::blocking::pool::Inner::run";
        const BLOCK_ON: &str = "tokio::runtime::runtime::Runtime::block_on";
        let job = |state, functions: &[&str]| {
            let frames = functions.iter().map(|function| frame(function, FrameKind::Runtime));
            PsThread { stack: frames.collect(), ..thread(2, Blocking, state) }
        };
        let current = runtime(PsRuntimeKind::CurrentThread, None);
        let with = |job| [thread(1, Worker, Parked), job];
        let evidence = |job, asleep| of(&current, &with(job), asleep);
        assert_eq!(evidence(job(Running, &[BLOCK_ON, POOL]), &[1]), None);
        assert_eq!(evidence(job(Waiting, &[BLOCK_ON, POOL]), &[2]), None, "it may be blocked in a poll");
        assert_eq!(evidence(job(Running, &[POOL]), &[1]), Some(Evidence::BlockOns));
        let receives = [
            "tokio::runtime::park::CachedParkThread::block_on",
            "tokio::sync::mpsc::bounded::Receiver<T>::blocking_recv",
            POOL,
        ];
        assert_eq!(evidence(job(Waiting, &receives), &[2]), Some(Evidence::BlockOns));
        let has_left = [
            "tokio::task::blocking::block_in_place",
            "tokio::runtime::scheduler::multi_thread::worker::Context::run_task",
            "tokio::runtime::context::runtime::enter_runtime",
            POOL,
        ];
        assert_eq!(evidence(job(Waiting, &has_left), &[2]), Some(Evidence::BlockOns));
    }
}
