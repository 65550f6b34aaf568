//! Every flavour of runtime is recorded, and several at once.

mod common;

use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use common::{STALL, eventually, runtime, scope, spin};
use loopscope::{KindSnapshot, Named, Scope, Snapshot, Terminal, WorkerSnapshot};
use tokio::runtime::Builder;
use tokio::task::LocalSet;

fn kind(snapshot: &Snapshot, name: &str) -> KindSnapshot {
    snapshot.kinds.iter().find(|kind| kind.name == name).cloned().unwrap_or_default()
}

fn workers(scope: &Scope, runtime: &str) -> Vec<WorkerSnapshot> {
    let mut workers = scope.snapshot().workers;
    workers.retain(|worker| worker.runtime == runtime);
    workers.sort_by(|a, b| a.label.cmp(&b.label));
    workers
}

/// Three polls each.
async fn three() {
    tokio::task::yield_now().await;
    tokio::task::yield_now().await;
}

#[test]
fn current_thread() {
    let scope = scope();
    let runtime = scope.watch(Builder::new_current_thread().name("single")).build().unwrap();
    scope.block_on(&runtime, async {
        for _ in 0..5 {
            loopscope::spawn("task", three()).await.unwrap();
        }
    });
    let snapshot = eventually("all polls", || {
        let snapshot = scope.snapshot();
        (kind(&snapshot, "task").poll_time.count == 15).then_some(snapshot)
    });
    assert_eq!((kind(&snapshot, "task").spawned, kind(&snapshot, "task").completed), (5, 5));
    assert!(kind(&snapshot, "main").poll_time.count > 0);
    let workers = workers(&scope, "single");
    assert_eq!(workers.iter().map(|worker| worker.label.as_str()).collect::<Vec<_>>(), ["0"]);
    assert_eq!(workers[0].polls, snapshot.kinds.iter().map(|kind| kind.poll_time.count).sum::<u64>());
}

#[test]
#[cfg(tokio_unstable)]
fn local_runtime() {
    let scope = scope();
    let runtime = scope
        .watch(Builder::new_current_thread().name("local"))
        .build_local(tokio::runtime::LocalOptions::default())
        .unwrap();
    let not_send = std::rc::Rc::new(());
    runtime.block_on(async {
        let task = async move {
            three().await;
            drop(not_send);
        };
        tokio::task::spawn_local(task.named("local task")).await.unwrap();
    });
    let snapshot = scope.snapshot();
    assert_eq!(kind(&snapshot, "local task").poll_time.count, 3);
    assert_eq!(kind(&snapshot, "local task").completed, 1);
    assert!(kind(&snapshot, "local task").schedule_delay.count > 0);
    assert_eq!(workers(&scope, "local").len(), 1);
}

/// Who waits is known without Tokio's clock, if it has a name.
#[test]
fn named_tasks_know_their_own_delay() {
    let scope = Scope::builder().schedule_delay(false).terminal(Terminal::Never).start().unwrap();
    let runtime = scope.watch(&mut Builder::new_current_thread()).build().unwrap();
    let held = Duration::from_millis(50);
    let waits = || {
        let (ring, heard) = tokio::sync::oneshot::channel::<()>();
        (ring, async { heard.await.unwrap() })
    };
    let ((first, named), (second, unnamed)) = (waits(), waits());
    runtime.block_on(async {
        let tasks = [tokio::spawn(named.named("waiter")), tokio::spawn(unnamed)];
        // Both have been polled once.
        tokio::task::yield_now().await;
        first.send(()).unwrap();
        second.send(()).unwrap();
        thread::sleep(held);
        for task in tasks {
            task.await.unwrap();
        }
    });
    let snapshot = scope.snapshot();
    let waiter = kind(&snapshot, "waiter");
    assert_eq!((waiter.poll_time.count, waiter.schedule_delay.count), (2, 1), "its first poll was no wake");
    assert!(waiter.schedule_delay.max >= held, "{:?}", waiter.schedule_delay.max);
    let others = snapshot.kinds.iter().filter(|kind| kind.name != "waiter");
    assert!(others.map(|kind| kind.schedule_delay.count).sum::<u64>() == 0, "they are not asked for");
}

/// No hook sees the tasks of a `LocalSet`; named ones are tasks of their own.
#[test]
fn a_local_set_inside_a_recorded_root() {
    let scope = scope();
    let runtime = scope.watch(&mut Builder::new_current_thread()).build().unwrap();
    scope.block_on(&runtime, async {
        let set = LocalSet::new();
        for _ in 0..4 {
            set.spawn_local(three().named("local"));
        }
        set.await;
    });
    let snapshot = scope.snapshot();
    let local = kind(&snapshot, "local");
    assert_eq!((local.spawned, local.completed, local.poll_time.count), (4, 4, 12));
    assert_eq!(local.schedule_delay.count, 8, "the first poll of each was no wake of loopscope's");
    assert_eq!(local.self_wakes, 0, "`yield_now` lets the runtime wake it, after the poll");
    let main = kind(&snapshot, "main");
    let worker = &workers(&scope, "tokio")[0];
    assert_eq!(worker.polls, main.poll_time.count + local.poll_time.count);
    assert!(worker.busy <= main.poll_time.sum, "time inside the root is busy once");
}

/// A long root poll that is made of short ones blocks nobody; the one that is
/// long is found by its name.
#[test]
fn what_blocks_in_a_local_set_is_found_and_nothing_else() {
    let scope = scope();
    let runtime = scope.watch(&mut Builder::new_current_thread()).build().unwrap();
    scope.block_on(&runtime, async {
        let set = LocalSet::new();
        for _ in 0..200 {
            set.spawn_local(async { spin(Duration::from_micros(500)) }.named("short"));
        }
        set.spawn_local(async { thread::sleep(STALL) }.named("long"));
        set.await;
    });
    let found = common::finding(&scope, "long");
    assert_eq!(found.count, 1);
    let kinds: Vec<_> = scope.findings().findings.into_iter().map(|finding| finding.task.kind).collect();
    assert_eq!(kinds, ["long"]);
}

#[test]
fn two_runtimes_at_once_are_told_apart() {
    let scope = scope();
    let named = scope.watch(Builder::new_multi_thread().worker_threads(1).name("api")).build().unwrap();
    let same = scope.watch(Builder::new_multi_thread().worker_threads(1).name("api")).build().unwrap();
    let unnamed = runtime(&scope, 1);
    for runtime in [&named, &same, &unnamed] {
        runtime.block_on(async { tokio::spawn(three().named("task")).await.unwrap() });
    }
    eventually("all polls", || (kind(&scope.snapshot(), "task").poll_time.count == 9).then_some(()));
    for runtime in ["api", "api#2", "tokio"] {
        let workers = workers(&scope, runtime);
        assert_eq!(workers.len(), 1, "{runtime}");
        assert_eq!((workers[0].label.as_str(), workers[0].polls), ("0", 3), "{runtime}");
    }
    let mut names: Vec<_> = scope.snapshot().runtimes.into_iter().map(|runtime| runtime.name).collect();
    names.sort();
    assert_eq!(names, ["api", "api#2", "tokio"]);
}

#[test]
fn runtimes_come_and_go_and_totals_never_go_back() {
    let scope = scope();
    let mut last = 0;
    for round in 1..=20_u64 {
        let runtime = runtime(&scope, 2);
        for _ in 0..10 {
            runtime.block_on(async { tokio::spawn(async {}.named("brief")).await.unwrap() });
        }
        drop(runtime);
        let snapshot = scope.snapshot();
        let polls = kind(&snapshot, "brief").poll_time.count;
        assert!(polls > last && polls == round * 10, "{polls} after {round}");
        last = polls;
        assert!(snapshot.runtimes.is_empty(), "it has ended");
    }
    let labels: Vec<_> = workers(&scope, "tokio").into_iter().map(|worker| worker.label).collect();
    assert!(labels.len() <= 2, "slots are used again: {labels:?}");
}

/// The worker goes on on another thread meanwhile: a place where blocking is
/// allowed.
#[test]
fn block_in_place_hands_the_worker_over_and_is_no_stall() {
    let scope = scope();
    let runtime = runtime(&scope, 1);
    let (release, wait) = mpsc::channel::<()>();
    let blocking = runtime.spawn(
        async move {
            tokio::task::block_in_place(|| {
                thread::sleep(STALL);
                wait.recv().unwrap();
            });
        }
        .named("in place"),
    );
    // The only worker polls these, so it has moved.
    for _ in 0..50 {
        runtime.block_on(runtime.spawn(three().named("meanwhile"))).unwrap();
    }
    eventually("all polls", || (kind(&scope.snapshot(), "meanwhile").poll_time.count == 150).then_some(()));
    assert_eq!(scope.snapshot().workers_blocked(), 0);
    release.send(()).unwrap();
    runtime.block_on(blocking).unwrap();
    let snapshot = eventually("the end of the poll", || {
        let snapshot = scope.snapshot();
        (kind(&snapshot, "in place").poll_time.count == 1).then_some(snapshot)
    });
    if cfg!(tokio_unstable) {
        assert!(kind(&snapshot, "in place").poll_time.max < STALL, "only what it held the worker for");
        let workers = workers(&scope, "tokio");
        assert_eq!(workers.iter().map(|worker| worker.label.as_str()).collect::<Vec<_>>(), ["0"]);
        assert_eq!(workers[0].polls, 151, "on two threads, one worker");
    }
    assert_eq!(scope.findings().findings, []);
    // Threads that were workers, and are again.
    for _ in 0..20 {
        let task =
            runtime.spawn(async { tokio::task::block_in_place(|| thread::sleep(Duration::from_millis(1))) });
        runtime.block_on(task).unwrap();
        runtime.block_on(runtime.spawn(three().named("after"))).unwrap();
    }
    eventually("all polls", || (kind(&scope.snapshot(), "after").poll_time.count == 60).then_some(()));
}

/// A runtime inside a poll of another one.
#[test]
fn nested_runtimes() {
    let scope = scope();
    let outer = runtime(&scope, 1);
    let inner = scope.watch(Builder::new_current_thread().name("inner")).build().unwrap();
    let task = async move {
        tokio::task::block_in_place(|| {
            inner.block_on(async { tokio::spawn(three().named("inner task")).await.unwrap() });
            // A runtime must not be dropped where blocking is not allowed.
            drop(inner);
        });
    };
    outer.block_on(outer.spawn(task.named("outer task"))).unwrap();
    let snapshot = eventually("the outer poll", || {
        let snapshot = scope.snapshot();
        (kind(&snapshot, "outer task").poll_time.count > 0).then_some(snapshot)
    });
    assert_eq!(kind(&snapshot, "inner task").poll_time.count, 3);
    assert_eq!(kind(&snapshot, "outer task").poll_time.count, 1);
}

#[test]
fn a_thread_can_be_a_worker_of_two_scopes_in_turn() {
    let [first, second] = [scope(), scope()];
    let runtimes =
        [&first, &second].map(|scope| scope.watch(&mut Builder::new_current_thread()).build().unwrap());
    for _ in 0..5 {
        for (scope, runtime) in [&first, &second].into_iter().zip(&runtimes) {
            scope.block_on(runtime, async { tokio::spawn(three().named("task")).await.unwrap() });
        }
    }
    for scope in [&first, &second] {
        assert_eq!(kind(&scope.snapshot(), "task").poll_time.count, 15);
    }
}

#[test]
fn many_threads_at_once_lose_nothing() {
    let scope = scope();
    let runtime = runtime(&scope, 4);
    let begin = Instant::now();
    let mut tasks = 0;
    while begin.elapsed() < Duration::from_millis(300) {
        let spawned: Vec<_> = (0..100).map(|_| runtime.spawn(three().named("many"))).collect();
        tasks += spawned.len() as u64;
        let before = kind(&scope.snapshot(), "many");
        for task in spawned {
            runtime.block_on(task).unwrap();
        }
        let after = kind(&scope.snapshot(), "many");
        assert!(after.poll_time.count >= before.poll_time.count && after.completed >= before.completed);
    }
    let many = eventually("all polls", || {
        let many = kind(&scope.snapshot(), "many");
        (many.completed == tasks && many.poll_time.count == 3 * tasks).then_some(many)
    });
    assert_eq!(many.spawned, tasks);
}
