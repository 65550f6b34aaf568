//! Without `tokio_unstable` no hook sees a poll, but a blocked worker is found.
#![cfg(not(tokio_unstable))]

mod common;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::Duration;

use common::{STALL, compute, eventually, scope, spin};
use loopscope::{Cause, Named, Scope};
use tokio::runtime::Runtime;

/// Builds a runtime and waits until all its workers have parked once: a worker
/// is known from its first park on.
fn runtime(scope: &Scope, workers: usize) -> Runtime {
    let runtime = common::runtime(scope, workers);
    eventually("all workers to park", || {
        let seen = scope.snapshot().workers;
        (seen.len() == workers && seen.iter().all(|worker| worker.parks > 0)).then_some(())
    });
    runtime
}

const UNNAMED: &str = "unnamed tasks";

#[test]
fn a_blocked_worker_is_found_with_its_line() {
    let scope = scope();
    let runtime = runtime(&scope, 2);
    let line = line!() + 1;
    let task = runtime.spawn(async { thread::sleep(STALL) });
    runtime.block_on(task).unwrap();
    let finding = common::finding(&scope, UNNAMED);
    let site = finding.site.unwrap();
    assert_eq!((finding.cause, site.line), (Cause::Sleep, Some(line)), "{}", site.function);
    assert_eq!(finding.primitive.as_deref(), Some("std::thread::sleep"));
    assert_eq!(finding.count, 1);
    assert!(finding.max > STALL.mul_f64(0.8), "{:?}", finding.max);
}

#[test]
fn an_ongoing_stall_is_reported_without_hooks() {
    let scope = scope();
    let runtime = runtime(&scope, 1);
    let (release, wait) = std::sync::mpsc::channel::<()>();
    let task = runtime.spawn(async move { wait.recv().is_err() });
    eventually("the stall", || (scope.snapshot().workers_blocked() == 1).then_some(()));
    eventually("the ongoing finding", || {
        scope.findings().findings.into_iter().find(|finding| finding.ongoing.is_some())
    });
    drop(release);
    assert!(runtime.block_on(task).unwrap());
}

#[test]
fn named_and_unnamed_tasks_on_one_worker_have_separate_findings() {
    let scope = scope();
    let runtime = runtime(&scope, 1);
    let named = runtime.spawn(async { thread::sleep(STALL) }.named("named"));
    let unnamed_task = runtime.spawn(async { compute(STALL) });
    runtime.block_on(named).unwrap();
    runtime.block_on(unnamed_task).unwrap();
    let causes = ["named", UNNAMED].map(|kind| common::finding(&scope, kind).cause);
    assert_eq!(causes, [Cause::Sleep, Cause::Cpu]);
    let named = scope.snapshot().kinds.into_iter().find(|kind| kind.name == "named").unwrap();
    assert_eq!((named.poll_time.count, named.completed), (1, 1));
}

/// A worker that is always busy with short polls does not block other tasks.
#[test]
fn a_worker_busy_with_short_polls_causes_no_finding() {
    let scope = scope();
    let runtime = runtime(&scope, 1);
    let tasks: Vec<_> = (0..20)
        .map(|_| {
            runtime.spawn(async {
                for _ in 0..200 {
                    spin(Duration::from_micros(50));
                    tokio::task::yield_now().await;
                }
            })
        })
        .collect();
    for task in tasks {
        runtime.block_on(task).unwrap();
    }
    common::assert_no_finding(&scope);
}

/// The worker does not park, so no hook tells that its polls are short again.
#[test]
fn a_worker_is_not_blocked_after_a_stall_although_it_never_parks() {
    let scope = scope();
    let runtime = runtime(&scope, 1);
    let (release, wait) = std::sync::mpsc::channel::<()>();
    let is_over = Arc::new(AtomicBool::new(false));
    let has_ended = Arc::clone(&is_over);
    let task = runtime.spawn(async move {
        let _ = wait.recv();
        while !has_ended.load(Relaxed) {
            spin(Duration::from_micros(50));
            tokio::task::yield_now().await;
        }
    });
    eventually("a long stall", || {
        let snapshot = scope.snapshot();
        (snapshot.workers_blocked() == 1 && snapshot.longest_active_poll() >= STALL).then_some(())
    });
    drop(release);
    eventually("short polls", || {
        let snapshot = scope.snapshot();
        (snapshot.workers_blocked() == 0 && snapshot.longest_active_poll() < STALL).then_some(())
    });
    is_over.store(true, Relaxed);
    runtime.block_on(task).unwrap();
}
