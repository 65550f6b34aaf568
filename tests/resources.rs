//! Descriptors, memory and labels follow live threads, not threads ever seen.
#![cfg(target_os = "linux")]
#![allow(unsafe_code)]

mod common;

use std::collections::HashSet;
use std::fs::{self, File};
use std::sync::{Arc, Barrier, mpsc};
use std::thread;
use std::time::Duration;

use common::meeting::Meeting;
use common::{STALL, compute, eventually, finding, run_scenario, runtime, scope, spin};
use loopscope::{Evidence, Finding, Named, Scope, Terminal};

/// How many descriptors loopscope keeps at most, however many threads stall.
const MAX_DESCRIPTORS: usize = 32;

fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").map_or(usize::MAX, Iterator::count)
}

#[test]
fn blocked_workers_leave_the_program_its_descriptors() {
    run_scenario("blocked_workers_with_64_descriptors");
}

#[test]
fn threads_with_names_of_their_own_leave_nothing_behind() {
    run_scenario("threads_one_after_the_other");
}

#[test]
#[ignore = "changes the limits of the process: runs as a child process"]
fn blocked_workers_with_64_descriptors() {
    const WORKERS: usize = 400;
    let limit = libc::rlimit { rlim_cur: 64, rlim_max: 64 };
    // SAFETY: the call reads `limit`, a local.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) }, 0);
    let scope = scope();
    let runtime = runtime(&scope, WORKERS);
    let all_blocked = Arc::new(Meeting::new(WORKERS));
    let before = descriptors();
    let tasks: Vec<_> = (0..WORKERS)
        .map(|_| {
            let all_blocked = Arc::clone(&all_blocked);
            let task = async move {
                all_blocked.wait();
                thread::sleep(STALL * 4);
            };
            runtime.spawn(task.named("blocks"))
        })
        .collect();
    // The program itself opens files all the time, and comes close to its
    // limit.
    let mut most = 0;
    while tasks.iter().any(|task| !task.is_finished()) {
        all_blocked.try_gather(&runtime);
        most = most.max(descriptors());
        let own: Result<Vec<_>, _> = (0..8).map(|_| File::open("/proc/self/stat")).collect();
        own.expect("the program has descriptors left");
        thread::sleep(Duration::from_millis(1));
    }
    assert!(most <= before + MAX_DESCRIPTORS, "{most} descriptors, {before} before");
    // On a busy machine, most of the workers were starved of CPU.
    eventually("a finding with its stack", || {
        scope.findings().findings.iter().any(|finding| finding.evidence == Evidence::Stack).then_some(())
    });
}

#[test]
fn more_live_threads_than_targets_of_signals_have_stacks() {
    run_scenario("many_live_threads_that_compute");
}

/// The threads compute one after the other, and live on.
#[test]
#[ignore = "needs all targets of signals: runs as a child process"]
fn many_live_threads_that_compute() {
    const THREADS: usize = 600;
    let builder = Scope::builder().terminal(Terminal::Never).blocking_threshold(Duration::from_millis(1));
    let scope = builder.captures_per_second(100_000).start().unwrap();
    let computes =
        |name| futures::executor::block_on(async { compute(Duration::from_millis(3)) }.named(name));
    let is_over = Arc::new(Barrier::new(THREADS + 1));
    for _ in 0..THREADS {
        let is_over = Arc::clone(&is_over);
        let (done, is_done) = mpsc::channel();
        let thread = move || {
            computes("computes");
            done.send(()).unwrap();
            is_over.wait();
        };
        thread::Builder::new().stack_size(256 << 10).spawn(thread).unwrap();
        is_done.recv().unwrap();
    }
    eventually("a stack of one more thread", || {
        computes("one more");
        let findings = scope.findings().findings;
        let has_stack = |found: &Finding| found.task.kind == "one more" && found.evidence == Evidence::Stack;
        findings.iter().any(has_stack).then_some(())
    });
    is_over.wait();
}

/// Polls a named future that stalls, on a thread with this name.
fn stall_on_a_thread(name: String) {
    let task = async { spin(Duration::from_millis(25)) };
    let poll = move || futures::executor::block_on(task.named("conn"));
    thread::Builder::new().name(name).spawn(poll).unwrap().join().unwrap();
}

fn labels(scope: &Scope) -> HashSet<String> {
    scope.snapshot().workers.into_iter().map(|worker| worker.label).collect()
}

/// More threads than there are targets of signals.
#[test]
#[ignore = "counts the descriptors of the process: runs as a child process"]
fn threads_one_after_the_other() {
    let scope = scope();
    let before = descriptors();
    for n in 0..40 {
        stall_on_a_thread(format!("conn-{n}"));
    }
    for n in 0..1_000 {
        let poll = || futures::executor::block_on(async {}.named("conn"));
        thread::Builder::new().name(format!("short-{n}")).spawn(poll).unwrap().join().unwrap();
    }
    assert!(descriptors() <= before + MAX_DESCRIPTORS, "{} descriptors, {before} before", descriptors());
    assert!(labels(&scope).len() <= 17, "{:?}", labels(&scope));
    let workers = scope.snapshot().workers;
    assert_eq!(workers.iter().map(|worker| worker.polls).sum::<u64>(), 1_040);
    let kinds = scope.snapshot().kinds;
    assert_eq!((kinds[0].poll_time.count, kinds[0].spawned, kinds[0].completed), (1_040, 1_040, 1_040));
    // On a busy machine, each of the stalls may have waited for a CPU.
    eventually("a finding", || {
        if scope.findings().findings.is_empty() {
            stall_on_a_thread("conn-late".to_owned());
        }
        (!scope.findings().findings.is_empty()).then_some(())
    });
    let of_kind = finding(&scope, "conn");
    assert!(of_kind.count > 0);
    eventually("the descriptors of the ended threads to be closed", || {
        // The threads of loopscope keep the program's file and the list of its
        // mappings open, each from its first use on.
        (descriptors() <= before + 3).then_some(())
    });
}
