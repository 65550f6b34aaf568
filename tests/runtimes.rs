//! Every flavour of Tokio runtime is recorded, and several runtimes at once.

mod common;

use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use common::{STALL, eventually, runtime, scope, spin};
use loopscope::{KindSnapshot, Named, Scope, Snapshot, Terminal, WorkerSnapshot};
use tokio::runtime::Builder;
#[cfg(tokio_unstable)]
use tokio::task::JoinHandle;
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

/// Returns after three polls.
async fn three_polls() {
    tokio::task::yield_now().await;
    tokio::task::yield_now().await;
}

#[test]
fn tasks_of_a_current_thread_runtime_are_recorded() {
    let scope = scope();
    let runtime = scope.watch(Builder::new_current_thread().name("single")).build().unwrap();
    scope.block_on(&runtime, async {
        for _ in 0..5 {
            loopscope::spawn("task", three_polls()).await.unwrap();
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
fn tasks_of_a_local_runtime_are_recorded() {
    let scope = scope();
    let runtime = scope
        .watch(Builder::new_current_thread().name("local"))
        .build_local(tokio::runtime::LocalOptions::default())
        .unwrap();
    let not_send = std::rc::Rc::new(());
    runtime.block_on(async {
        let task = async move {
            three_polls().await;
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

/// Named tasks measure their schedule delay with their own wakers, without
/// Tokio's schedule latency.
#[test]
fn named_tasks_have_a_schedule_delay_without_tokios_latency_tracking() {
    let scope = Scope::builder().schedule_delay(false).terminal(Terminal::Never).start().unwrap();
    let runtime = scope.watch(&mut Builder::new_current_thread()).build().unwrap();
    let stall = Duration::from_millis(50);
    let waiting_task = || {
        let (sender, receiver) = tokio::sync::oneshot::channel::<()>();
        (sender, async { receiver.await.unwrap() })
    };
    let ((first, named), (second, unnamed)) = (waiting_task(), waiting_task());
    runtime.block_on(async {
        let tasks = [tokio::spawn(named.named("waiter")), tokio::spawn(unnamed)];
        // After this, both tasks have been polled once.
        tokio::task::yield_now().await;
        first.send(()).unwrap();
        second.send(()).unwrap();
        thread::sleep(stall);
        for task in tasks {
            task.await.unwrap();
        }
    });
    let snapshot = scope.snapshot();
    let waiter = kind(&snapshot, "waiter");
    assert_eq!(
        (waiter.poll_time.count, waiter.schedule_delay.count),
        (2, 1),
        "the first poll of a task follows no wake"
    );
    assert!(waiter.schedule_delay.max >= stall, "{:?}", waiter.schedule_delay.max);
    let others = snapshot.kinds.iter().filter(|kind| kind.name != "waiter");
    assert!(others.map(|kind| kind.schedule_delay.count).sum::<u64>() == 0, "only named tasks have a delay");
}

/// No hook sees the tasks of a `LocalSet`. Named futures in it are recorded as
/// separate tasks.
#[test]
fn named_tasks_of_a_local_set_are_recorded_inside_the_root_future() {
    let scope = scope();
    let runtime = scope.watch(&mut Builder::new_current_thread()).build().unwrap();
    scope.block_on(&runtime, async {
        let set = LocalSet::new();
        for _ in 0..4 {
            set.spawn_local(three_polls().named("local"));
        }
        set.await;
    });
    let snapshot = scope.snapshot();
    let local = kind(&snapshot, "local");
    assert_eq!((local.spawned, local.completed, local.poll_time.count), (4, 4, 12));
    assert_eq!(local.schedule_delay.count, 8, "the first poll of each task follows no wake");
    assert_eq!(local.self_wakes, 0, "`yield_now` makes the runtime wake the task after the poll");
    let main = kind(&snapshot, "main");
    let worker = &workers(&scope, "tokio")[0];
    assert_eq!(worker.polls, main.poll_time.count + local.poll_time.count);
    assert!(worker.busy <= main.poll_time.sum, "time inside the root future counts as busy once");
}

/// The root future's poll is long because it consists of many short polls.
/// Only the task with a long poll causes a finding.
#[test]
fn only_the_blocking_task_of_a_local_set_causes_a_finding() {
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
fn runtimes_at_the_same_time_are_recorded_separately() {
    let scope = scope();
    let named = scope.watch(Builder::new_multi_thread().worker_threads(1).name("api")).build().unwrap();
    let same = scope.watch(Builder::new_multi_thread().worker_threads(1).name("api")).build().unwrap();
    let unnamed = runtime(&scope, 1);
    for runtime in [&named, &same, &unnamed] {
        runtime.block_on(async { tokio::spawn(three_polls().named("task")).await.unwrap() });
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

#[cfg(tokio_unstable)]
#[test]
fn runtimes_that_one_thread_drives_in_turn_have_different_labels() {
    let scope = scope();
    let build = || scope.watch(&mut Builder::new_current_thread()).build().unwrap();
    let polls = |runtime: &tokio::runtime::Runtime| {
        runtime.block_on(async { tokio::spawn(three_polls()).await.unwrap() })
    };
    let runtimes = [build(), build()];
    for runtime in runtimes.iter().chain(&runtimes) {
        polls(runtime);
    }
    let mut labels: Vec<_> = scope.snapshot().workers.into_iter().map(|worker| worker.runtime).collect();
    labels.sort();
    assert_eq!(labels, ["tokio", "tokio#2"]);
    drop(runtimes);
    (0..10).for_each(|_| polls(&build()));
    let mut labels: Vec<_> = scope.snapshot().workers.into_iter().map(|worker| worker.runtime).collect();
    labels.sort();
    assert_eq!(labels, ["tokio", "tokio#2"], "the label of a runtime that has ended is free");
}

#[test]
fn totals_never_decrease_when_runtimes_end() {
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
        assert!(snapshot.runtimes.is_empty(), "the runtime has ended");
    }
    let labels: Vec<_> = workers(&scope, "tokio").into_iter().map(|worker| worker.label).collect();
    assert!(labels.len() <= 2, "slots are reused: {labels:?}");
}

/// Returns the labels and polls of all workers of runtimes.
#[cfg(tokio_unstable)]
fn polls_by_runtime(snapshot: &Snapshot) -> Vec<(String, u64)> {
    let of_runtime = snapshot.workers.iter().filter(|worker| !worker.runtime.is_empty());
    let mut polls: Vec<_> = of_runtime.map(|worker| (worker.runtime.clone(), worker.polls)).collect();
    polls.sort();
    polls
}

fn runtime_names(snapshot: &Snapshot) -> Vec<String> {
    snapshot.runtimes.iter().map(|runtime| runtime.name.clone()).collect()
}

/// Runs ten tasks of three polls each. The last await makes the runtime park,
/// whatever it polled before.
#[cfg(tokio_unstable)]
fn run_ten_tasks(runtime: &tokio::runtime::Runtime) {
    runtime.block_on(async {
        for _ in 0..10 {
            tokio::spawn(three_polls()).await.unwrap();
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    });
}

#[test]
#[cfg(tokio_unstable)]
fn a_thread_that_drives_runtimes_in_turn_is_each_of_them_in_turn() {
    let scope = scope();
    for name in ["a", "b", "c"] {
        let runtime = scope.watch(Builder::new_current_thread().enable_all().name(name)).build().unwrap();
        run_ten_tasks(&runtime);
        runtime.block_on(async { assert_eq!(runtime_names(&scope.snapshot()), [name]) });
        drop(runtime);
        assert_eq!(scope.snapshot().runtimes, [], "the runtime has ended");
    }
    let expected = ["a", "b", "c"].map(|name| (name.to_owned(), 30));
    assert_eq!(polls_by_runtime(&scope.snapshot()), expected);
}

#[test]
#[cfg(tokio_unstable)]
fn a_thread_can_alternate_between_runtimes() {
    let scope = scope();
    let runtimes = ["a", "b"]
        .map(|name| scope.watch(Builder::new_current_thread().enable_all().name(name)).build().unwrap());
    for _ in 0..5 {
        for (runtime, name) in runtimes.iter().zip(["a", "b"]) {
            scope.block_on(runtime, async {
                tokio::spawn(three_polls()).await.unwrap();
                assert_eq!(runtime_names(&scope.snapshot()), [name]);
            });
        }
    }
    let snapshot = scope.snapshot();
    let main = kind(&snapshot, "main").poll_time.count;
    let polls = polls_by_runtime(&snapshot);
    assert_eq!(polls.iter().map(|(_, polls)| polls).sum::<u64>(), 30 + main);
    assert_eq!((&*polls[0].0, &*polls[1].0), ("a", "b"));
    assert!(polls.iter().all(|(_, polls)| *polls >= 15 + 5), "{polls:?}");
}

/// One builder builds all runtimes, so their hooks are the same.
#[test]
#[cfg(tokio_unstable)]
fn runtimes_of_one_builder_are_recorded_separately() {
    let scope = scope();
    let mut builder = Builder::new_current_thread();
    scope.watch(builder.enable_all());
    let runtimes = ["a", "b"].map(|name| builder.name(name).build().unwrap());
    for runtime in runtimes.iter().chain(&runtimes) {
        scope.block_on(runtime, async { tokio::spawn(three_polls()).await.unwrap() });
    }
    let snapshot = scope.snapshot();
    let polls = polls_by_runtime(&snapshot);
    assert_eq!((&*polls[0].0, &*polls[1].0), ("a", "b"));
    assert!(polls.iter().all(|(_, polls)| *polls >= 6 + 2), "{polls:?}");
}

/// The handle of a runtime keeps descriptors of its drivers.
#[test]
#[cfg(target_os = "linux")]
fn an_ended_runtime_is_released_although_its_thread_lives() {
    let scope = scope();
    let (send_runtime, runtimes) = mpsc::channel::<tokio::runtime::Runtime>();
    let (send_done, done) = mpsc::channel();
    let thread = thread::spawn(move || {
        for runtime in runtimes {
            runtime.block_on(async { tokio::time::sleep(Duration::from_millis(1)).await });
            drop(runtime);
            send_done.send(()).unwrap();
        }
    });
    for _ in 0..50 {
        let runtime = scope.watch(Builder::new_current_thread().enable_all().name("job")).build().unwrap();
        send_runtime.send(runtime).unwrap();
        done.recv().unwrap();
        let names = runtime_names(&scope.snapshot());
        assert!(names.iter().all(|name| name == "job"), "{names:?}");
        assert!(names.len() <= 1, "{names:?}");
    }
    if cfg!(tokio_unstable) {
        eventually("the release of the last runtime", || scope.snapshot().runtimes.is_empty().then_some(()));
    }
    drop(send_runtime);
    thread.join().unwrap();
    assert_eq!(scope.snapshot().runtimes, []);
}

/// Inside `block_in_place` blocking is allowed: the worker continues on another
/// thread.
#[test]
fn block_in_place_moves_the_worker_to_another_thread_and_is_not_a_stall() {
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
    // Only one worker exists. It polls these tasks, so it has moved.
    for _ in 0..50 {
        runtime.block_on(runtime.spawn(three_polls().named("on the moved worker"))).unwrap();
    }
    eventually("all polls", || {
        (kind(&scope.snapshot(), "on the moved worker").poll_time.count == 150).then_some(())
    });
    assert_eq!(scope.snapshot().workers_blocked(), 0);
    release.send(()).unwrap();
    runtime.block_on(blocking).unwrap();
    let snapshot = eventually("the end of the poll", || {
        let snapshot = scope.snapshot();
        (kind(&snapshot, "in place").poll_time.count == 1).then_some(snapshot)
    });
    if cfg!(tokio_unstable) {
        assert!(
            kind(&snapshot, "in place").poll_time.max < STALL,
            "the time inside block_in_place is not part of the poll time"
        );
        let workers = workers(&scope, "tokio");
        assert_eq!(workers.iter().map(|worker| worker.label.as_str()).collect::<Vec<_>>(), ["0"]);
        assert_eq!(workers[0].polls, 151, "the polls on both threads count for one worker");
    }
    common::assert_no_finding(&scope);
    // Threads stop being workers, and become workers again.
    for _ in 0..20 {
        let task =
            runtime.spawn(async { tokio::task::block_in_place(|| thread::sleep(Duration::from_millis(1))) });
        runtime.block_on(task).unwrap();
        runtime.block_on(runtime.spawn(three_polls().named("after"))).unwrap();
    }
    eventually("all polls", || (kind(&scope.snapshot(), "after").poll_time.count == 60).then_some(()));
}

/// One runtime runs inside a poll of another.
#[test]
fn polls_of_nested_runtimes_are_recorded_separately() {
    let scope = scope();
    let outer = runtime(&scope, 1);
    let inner = scope.watch(Builder::new_current_thread().name("inner")).build().unwrap();
    let task = async move {
        tokio::task::block_in_place(|| {
            inner.block_on(async { tokio::spawn(three_polls().named("inner task")).await.unwrap() });
            // Tokio forbids dropping a runtime where blocking is not allowed.
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
fn a_thread_can_alternate_between_two_scopes() {
    let [first, second] = [scope(), scope()];
    let runtimes =
        [&first, &second].map(|scope| scope.watch(&mut Builder::new_current_thread()).build().unwrap());
    for _ in 0..5 {
        for (scope, runtime) in [&first, &second].into_iter().zip(&runtimes) {
            scope.block_on(runtime, async { tokio::spawn(three_polls().named("task")).await.unwrap() });
        }
    }
    for scope in [&first, &second] {
        assert_eq!(kind(&scope.snapshot(), "task").poll_time.count, 15);
    }
}

#[test]
fn concurrent_polls_are_all_counted() {
    let scope = scope();
    let runtime = runtime(&scope, 4);
    let begin = Instant::now();
    let mut tasks = 0;
    while begin.elapsed() < Duration::from_millis(300) {
        let spawned: Vec<_> = (0..100).map(|_| runtime.spawn(three_polls().named("many"))).collect();
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

#[test]
fn busy_time_includes_the_poll_in_progress_and_never_decreases() {
    let scope = scope();
    let runtime = runtime(&scope, 1);
    let busy = || workers(&scope, "tokio").iter().map(|worker| worker.busy).sum::<Duration>();
    let (release, wait) = mpsc::channel::<()>();
    let task = runtime.spawn(async move { wait.recv().is_err() }.named("blocks"));
    eventually("busy time during the poll", || (busy() > STALL).then_some(()));
    assert_eq!(kind(&scope.snapshot(), "blocks").poll_time.count, 0, "the poll is in progress");
    drop(release);
    let mut last = Duration::ZERO;
    let mut check = || {
        let now = busy();
        assert!(now >= last, "{now:?} after {last:?}");
        last = now;
    };
    while !task.is_finished() {
        check();
    }
    let nested = || async {
        for _ in 0..200 {
            let set = LocalSet::new();
            set.spawn_local(async { spin(Duration::from_micros(20)) }.named("inner"));
            set.await;
        }
    };
    thread::scope(|threads| {
        let root = threads.spawn(|| scope.block_on(&runtime, nested().named("outer")));
        while !root.is_finished() {
            check();
        }
    });
}

/// Both tasks are spawned at one location, as by a helper of the application.
#[test]
#[cfg(tokio_unstable)]
fn a_spawn_location_with_several_names_counts_for_each() {
    fn spawn(name: &'static str, future: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
        tokio::spawn(future.named(name))
    }
    let scope = scope();
    let runtime = runtime(&scope, 2);
    let (release, wait) = tokio::sync::watch::channel(false);
    let waits = |mut wait: tokio::sync::watch::Receiver<bool>| async move {
        wait.wait_for(|is_released| *is_released).await.unwrap();
    };
    let counts = |name: &str| {
        let kind = kind(&scope.snapshot(), name);
        (kind.spawned, kind.completed, kind.alive())
    };
    runtime.block_on(async {
        for n in 0..30 {
            spawn(if n % 3 == 0 { "first" } else { "second" }, three_polls()).await.unwrap();
        }
        let alive: Vec<_> =
            ["second", "second", "first", "third"].map(|name| spawn(name, waits(wait.clone()))).into();
        eventually("the first polls", || (counts("third") == (1, 0, 1)).then_some(()));
        eventually("the first polls", || (counts("second") == (22, 20, 2)).then_some(()));
        eventually("the first polls", || (counts("first") == (11, 10, 1)).then_some(()));
        alive[0].abort();
        release.send(true).unwrap();
        for task in alive {
            let _ = task.await;
        }
    });
    drop(runtime);
    assert_eq!([counts("first"), counts("second"), counts("third")], [(11, 11, 0), (22, 22, 0), (1, 1, 0)]);
    let spawned = scope.snapshot().kinds.iter().map(|kind| kind.spawned).sum::<u64>();
    assert_eq!(spawned, 34, "no task counts twice");
    let delays = scope.snapshot().kinds.iter().map(|kind| kind.schedule_delay.count).sum::<u64>();
    assert!(delays >= 34, "the delays count at the location, where Tokio measures them: {delays}");
}
