//! What `ps` says of programs in which one thing is wrong.

#![cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use loopscope::attach::{
    PsDocument, PsRuntimeKind, PsTask, PsTaskState, PsVerdict, PsVerdictKind, Registers, ps_with,
};

const MAX_WAIT: Duration = Duration::from_secs(60);

/// A program with one mistake.
struct Program(Child);

impl Program {
    fn start(case: &str) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_wrong"));
        let child = command.arg(case).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut child = child.expect("the program starts");
        let mut output = BufReader::new(child.stdout.take().expect("it is a pipe"));
        assert!(output.read_line(&mut String::new()).expect("it prints") > 0, "{case} has ended");
        Self(child)
    }

    fn read(&self) -> PsDocument {
        self.read_with(Registers::default())
    }

    fn read_with(&self, registers: Registers) -> PsDocument {
        ps_with(i32::try_from(self.0.id()).expect("it is an id"), registers).expect("it can be read")
    }

    /// Reads until a document is as expected: a thread that runs meanwhile may
    /// hide something from one reading.
    #[track_caller]
    fn read_until(&self, is_expected: impl Fn(&PsDocument) -> bool) {
        let begin = Instant::now();
        loop {
            let document = self.read();
            if is_expected(&document) {
                return;
            }
            assert!(begin.elapsed() < MAX_WAIT, "{:#?}\n{document:#?}", document.verdicts);
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Returns the kinds of the tasks that a verdict names.
fn named(document: &PsDocument, verdict: &PsVerdict) -> Vec<String> {
    let kind = |address: &u64| {
        let task = document.tasks.iter().find(|task| task.address == *address).expect("the task exists");
        task.kind.trim_start_matches("wrong::").to_owned()
    };
    verdict.tasks.iter().map(kind).collect()
}

#[track_caller]
fn assert_found(case: &str, kind: PsVerdictKind, is_certain: bool, tasks: &[&str], reason: &str) {
    Program::start(case).read_until(|document| {
        let is_expected = |verdict: &PsVerdict| {
            (verdict.kind, verdict.is_certain) == (kind, is_certain)
                && named(document, verdict) == tasks
                && verdict.reason.contains(reason)
        };
        document.verdicts.iter().any(is_expected)
    });
}

#[test]
fn a_blocked_thread_is_tied_to_the_task_that_it_polls() {
    for case in ["blocked", "blocked_current"] {
        let reason = "it polls `wrong::calls_blocking_code`, and no other task can run on it";
        assert_found(case, PsVerdictKind::BlockedWorker, true, &["calls_blocking_code"], reason);
    }
    let reason = "it polls `wrong::calls_deep_blocking_code`, and no other task can run on it";
    let deep = ["calls_deep_blocking_code"];
    assert_found("blocked_deep", PsVerdictKind::BlockedWorker, true, &deep, reason);
    let both = ["calls_blocking_code"; 2];
    assert_found("all_blocked", PsVerdictKind::BlockedRuntime, true, &both, "all 2 workers are blocked");
}

#[test]
fn woken_tasks_that_no_thread_polls_are_found() {
    let kind = PsVerdictKind::NotScheduled;
    // A stack that could not be read leaves the reason open.
    assert_found("lifo", kind, true, &["waits_in_the_lifo_slot"], "and was not polled since");
    assert_found(
        "undriven",
        kind,
        false,
        &["is_never_polled"],
        "its current-thread runtime: only a `block_on`",
    );
    assert_found("undriven_set", kind, false, &["is_never_polled"], "runs its `LocalSet`");
}

#[test]
fn a_lock_that_is_not_released_is_suspected_with_its_holder() {
    let tasks = [vec!["holds_the_lock"], vec!["locks"; 20]].concat();
    let reason = "`wrong::holds_the_lock` has a guard of it";
    assert_found("lock_queue", PsVerdictKind::LockQueue, false, &tasks, reason);
    let tasks = [vec!["holds_the_table"], vec!["writes"; 5]].concat();
    let reason = "`wrong::holds_the_table` has a guard of it";
    assert_found("table_queue", PsVerdictKind::LockQueue, false, &tasks, reason);
    let tasks = [vec!["polls_once_and_sleeps"], vec!["locks"; 4]].concat();
    let reason = "`wrong::polls_once_and_sleeps` has a future that was granted the lock and is not polled";
    assert_found("futurelock", PsVerdictKind::Futurelock, false, &tasks, reason);
}

#[test]
fn tasks_that_can_never_run_again_are_found() {
    assert_found("cycle", PsVerdictKind::Cycle, true, &["awaits"; 2], "2 tasks wait for each other's end");
    let reason = "can never run again";
    assert_found("never_woken", PsVerdictKind::NeverWoken, true, &["forgets_its_waker"], reason);
}

#[test]
fn a_busy_lock_is_no_verdict() {
    let program = Program::start("busy_lock");
    for _ in 0..3 {
        let document = program.read();
        assert!(document.verdicts.is_empty(), "{document:#?}");
    }
}

#[test]
fn a_busy_runtime_whose_stacks_are_not_read_is_no_verdict() {
    for case in ["busy_current", "busy_job", "busy_workers"] {
        let document = Program::start(case).read_with(Registers::Passive);
        let is_woken = |task: &PsTask| task.state == PsTaskState::Notified;
        assert!(document.tasks.iter().any(is_woken), "{case}: {document:#?}");
        assert!(document.verdicts.is_empty(), "{case}: {document:#?}");
    }
}

#[test]
fn a_runtime_has_its_kind_its_workers_and_its_tasks() {
    for (case, kind, workers, tasks) in [
        ("blocked", PsRuntimeKind::MultiThread, Some(3), 1),
        ("busy_lock", PsRuntimeKind::MultiThread, Some(2), 20),
        ("undriven", PsRuntimeKind::CurrentThread, None, 1),
        ("undriven_set", PsRuntimeKind::LocalSet, None, 1),
    ] {
        Program::start(case).read_until(|document| {
            let runtimes = document.runtimes.iter();
            let found: Vec<_> = runtimes.map(|one| (one.kind, one.workers, one.tasks)).collect();
            found == [(kind, workers, tasks)]
        });
    }
}
