//! A scope can end at any time. The runtimes that it watched continue to run.

mod common;

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::{Duration, Instant};

use common::{STALL, eventually, runtime, scope};
use loopscope::{
    Canary, FindingsDocument, Hooks, Named, NamedFuture, Scope, ScopeBuilder, Snapshot, StallsDocument,
    StartError, Terminal,
};

fn polls(snapshot: &Snapshot, kind: &str) -> u64 {
    snapshot.kinds.iter().filter(|k| k.name == kind).map(|k| k.poll_time.count).sum()
}

#[test]
fn public_types_are_send_and_sync() {
    fn check<T: Send + Sync + 'static>() {}
    check::<Scope>();
    check::<ScopeBuilder>();
    check::<Hooks>();
    check::<Canary>();
    check::<NamedFuture<()>>();
    check::<Snapshot>();
    check::<FindingsDocument>();
    check::<StallsDocument>();
    check::<StartError>();
}

#[test]
fn a_scope_drops_quickly_and_its_runtime_continues() {
    let scope = scope();
    let runtime = runtime(&scope, 2);
    runtime.block_on(async { tokio::spawn(async {}).await }).unwrap();
    let begin = Instant::now();
    drop(scope);
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
    runtime.block_on(async { tokio::spawn(async {}.named("later")).await }).unwrap();
}

#[test]
fn dropping_a_scope_does_not_wait_for_a_blocked_worker() {
    let scope = scope();
    let runtime = runtime(&scope, 1);
    let (block, blocked) = std::sync::mpsc::channel::<()>();
    let task = runtime.spawn(async move { blocked.recv().is_err() }.named("blocked"));
    eventually("the stall", || (scope.snapshot().workers_blocked() == 1).then_some(()));
    drop(scope);
    drop(block);
    assert!(runtime.block_on(task).unwrap());
}

#[test]
fn a_stall_is_reported_if_the_scope_is_dropped_right_after_it() {
    let found = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&found);
    let scope = Scope::builder()
        .terminal(Terminal::Never)
        .on_finding(move |_| {
            count.fetch_add(1, Relaxed);
            panic!("a panic in the callback does not propagate");
        })
        .start()
        .unwrap();
    let runtime = runtime(&scope, 1);
    scope.block_on(&runtime, async { thread::sleep(STALL) });
    drop(scope);
    assert_eq!(found.load(Relaxed), 1);
}

#[test]
fn tasks_with_one_name_are_one_kind_and_are_counted_once() {
    let scope = scope();
    let runtime = runtime(&scope, 2);
    scope.block_on(&runtime, async {
        let tasks: Vec<_> = (0..10)
            .map(|_| loopscope::spawn("yields once", async { tokio::task::yield_now().await }))
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
    });
    let snapshot = eventually("all tasks to end", || {
        let snapshot = scope.snapshot();
        let kind = snapshot.kinds.iter().find(|kind| kind.name == "yields once")?;
        (kind.completed == 10).then(|| snapshot.clone())
    });
    let kind = snapshot.kinds.iter().find(|kind| kind.name == "yields once").unwrap();
    assert_eq!((kind.spawned, kind.completed, kind.alive()), (10, 10, 0));
    assert_eq!(kind.poll_time.count, 20, "each task is polled twice");
    assert!(polls(&snapshot, "main") > 0);
    if cfg!(tokio_unstable) {
        assert!(kind.schedule_delay.count >= 10);
    }
    assert_eq!(snapshot.kinds.len(), 2, "{:?}", snapshot.kinds.iter().map(|k| &k.name).collect::<Vec<_>>());
}

#[test]
#[cfg(tokio_unstable)]
fn unnamed_tasks_are_recorded_by_spawn_location() {
    let scope = scope();
    let runtime = runtime(&scope, 2);
    let line = line!() + 1;
    let tasks: Vec<_> = (0..7).map(|_| runtime.spawn(async {})).collect();
    for task in tasks {
        runtime.block_on(task).unwrap();
    }
    let here = format!("tests/lifecycle.rs:{line}:");
    eventually("all seven tasks", || {
        let kinds = scope.snapshot().kinds;
        let kind = kinds.iter().find(|kind| kind.name.starts_with(&here))?;
        (kind.spawned == 7 && kind.completed == 7 && kind.poll_time.count == 7).then_some(())
    });
    let workers = scope.snapshot().workers;
    assert!(workers.iter().map(|worker| worker.polls).sum::<u64>() >= 7);
}

/// A minimal executor. Named futures do not need Tokio.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    struct Unpark(thread::Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}

#[test]
fn a_named_future_is_recorded_on_any_executor() {
    let scope = scope();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    // Other tests of this process start scopes too. A named future is recorded
    // by the scope that watches its thread. If no scope watches the thread, the
    // scope that was started last records it. This call makes the thread a
    // watched thread of this scope.
    scope.block_on(&runtime, async {});
    let answer = block_on(async { 42 }.named("elsewhere"));
    assert_eq!(answer, 42);
    assert_eq!(polls(&scope.snapshot(), "elsewhere"), 1);
}

#[test]
fn a_named_future_runs_without_a_scope() {
    assert_eq!(block_on(async { 42 }.named("no scope")), 42);
}
