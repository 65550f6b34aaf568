//! The poll path does not allocate, and reads no file.
#![allow(unsafe_code)]

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::collections::HashSet;
use std::future::Future;
use std::pin::pin;
use std::sync::Mutex;
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use common::{runtime, scope};
use loopscope::{Named, Scope};
use tokio::runtime::Builder;

struct CountingAllocator;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: passes every call to the system's allocator.
unsafe impl GlobalAlloc for CountingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = ALLOCATIONS.try_with(|n| n.set(n.get() + 1));
        // SAFETY: the caller upholds the requirements of this call.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller upholds the requirements of this call.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

/// Held by each test: without Tokio's task hooks, a named future belongs to the
/// scope of the process that was started last.
static ONE_TEST_AT_A_TIME: Mutex<()> = Mutex::new(());

#[test]
fn ten_thousand_polls_allocate_nothing() {
    let _guard = ONE_TEST_AT_A_TIME.lock();
    let scope = scope();
    let runtime = runtime(&scope, 1);
    let polls = |n| async move {
        for _ in 0..n {
            tokio::task::yield_now().await;
        }
    };
    let allocations = scope.block_on(&runtime, async move {
        let measured = loopscope::spawn("measured", async move {
            // The first polls register the worker and the kind.
            polls(100).await;
            let before = ALLOCATIONS.get();
            polls(10_000).await;
            ALLOCATIONS.get() - before
        });
        measured.await.unwrap()
    });
    assert_eq!(allocations, 0);
}

/// Returns how many times the calling thread has read a file or a socket, if
/// the kernel counts it.
#[cfg(target_os = "linux")]
fn reads() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/thread-self/io").ok()?;
    text.lines().find_map(|line| line.strip_prefix("syscr: ")?.parse().ok())
}

#[cfg(not(target_os = "linux"))]
fn reads() -> Option<u64> {
    None
}

/// Runs `f` and checks that this thread reads no files, such as those in
/// `/proc`, and allocates only as often as Tokio does, `expected` times.
fn without_side_effects<R>(expected: u64, f: impl FnOnce() -> R) -> R {
    let reads_before = reads();
    let before = ALLOCATIONS.get();
    let result = f();
    assert_eq!(ALLOCATIONS.get() - before, expected, "allocations");
    match (reads_before, reads()) {
        // Reading the count is itself a few reads.
        (Some(before), Some(after)) => assert!(after - before < 10, "{} reads", after - before),
        _ => common::not_checked("reads, because /proc/thread-self/io is missing"),
    }
    result
}

/// Returns how often Tokio allocates in `block_on` if a future yields.
fn allocations_of_block_on() -> u64 {
    let runtime = Builder::new_current_thread().build().unwrap();
    runtime.block_on(yields(3));
    let before = ALLOCATIONS.get();
    runtime.block_on(yields(3));
    ALLOCATIONS.get() - before
}

async fn yields(n: u32) {
    for _ in 0..n {
        tokio::task::yield_now().await;
    }
}

/// Returns how long `f` takes. The least of several runs, because the machine
/// may be busy.
fn least_time(mut f: impl FnMut()) -> Duration {
    let run = |_| {
        let begin = Instant::now();
        f();
        begin.elapsed()
    };
    (0..5).map(run).min().unwrap()
}

/// The root future belongs to the scope that was started last, and the task to
/// the scope that watches the runtime. Their polls alternate.
#[test]
fn polls_of_two_scopes_on_one_thread_allocate_and_read_nothing() {
    let _guard = ONE_TEST_AT_A_TIME.lock();
    let polls_of = |scopes: &[Scope]| {
        let runtime = scopes[0].watch(&mut Builder::new_current_thread()).build().unwrap();
        let run = |n| runtime.block_on(yields(n).named("root"));
        runtime.spawn(yields(u32::MAX).named("task"));
        run(100);
        without_side_effects(allocations_of_block_on(), || run(1_000));
        let time = least_time(|| run(1_000));
        let root = scopes.last().unwrap().snapshot().kinds.into_iter().find(|kind| kind.name == "root");
        assert_eq!(root.unwrap().poll_time.count, 100 + 6 * 1_000 + 7);
        time
    };
    let one = polls_of(&[scope()]);
    let two = polls_of(&[scope(), scope()]);
    assert!(two < one * 8, "{two:?} with two scopes, {one:?} with one");
}

#[test]
fn polls_of_runtimes_in_turn_allocate_and_read_nothing() {
    let _guard = ONE_TEST_AT_A_TIME.lock();
    let scope = scope();
    let runtimes = ["a", "b", "c", "d", "e", "f"]
        .map(|name| scope.watch(Builder::new_current_thread().name(name)).build().unwrap());
    let run = |rounds| {
        for runtime in (0..rounds).flat_map(|_| &runtimes) {
            scope.block_on(runtime, yields(3));
        }
    };
    run(10);
    without_side_effects(6 * 500 * allocations_of_block_on(), || run(500));
}

/// The root futures belong to the scope that was started last, and the tasks to
/// the other one.
#[test]
fn polls_of_two_scopes_in_runtimes_in_turn_allocate_and_read_nothing() {
    let _guard = ONE_TEST_AT_A_TIME.lock();
    let scopes = [scope(), scope()];
    let runtimes = ["a", "b", "c"]
        .map(|name| scopes[0].watch(Builder::new_current_thread().name(name)).build().unwrap());
    for runtime in &runtimes {
        runtime.spawn(yields(u32::MAX).named("task"));
    }
    let run = |rounds| {
        for runtime in (0..rounds).flat_map(|_| &runtimes) {
            runtime.block_on(yields(3).named("root"));
        }
    };
    run(10);
    without_side_effects(3 * 500 * allocations_of_block_on(), || run(500));
    // Without Tokio's task hooks, all named futures belong to the last scope.
    let unrecorded = usize::from(!cfg!(tokio_unstable));
    for (scope, kind) in scopes.iter().zip(["task", "root"]).skip(unrecorded) {
        let workers = scope.snapshot().workers;
        let runtimes: HashSet<_> = workers.iter().map(|worker| &worker.runtime).collect();
        assert_eq!((runtimes.len(), workers.len()), (3, 3), "{kind}: {workers:#?}");
        assert!(
            scope.snapshot().kinds.iter().any(|known| known.name == kind && known.poll_time.count > 1_500)
        );
    }
}

/// A future that is polled with a waker of its own counts as a separate task.
#[test]
fn first_polls_of_named_futures_allocate_and_read_nothing() {
    let _guard = ONE_TEST_AT_A_TIME.lock();
    let scope = scope();
    let runtime = scope.watch(&mut Builder::new_current_thread()).build().unwrap();
    let poll_once = |name| {
        let mut context = Context::from_waker(Waker::noop());
        assert!(pin!(async {}.named(name)).poll(&mut context).is_ready());
    };
    runtime
        .block_on(runtime.spawn(async move {
            poll_once("separate");
            without_side_effects(0, || (0..1_000).for_each(|_| poll_once("separate")));
        }))
        .unwrap();
    let kinds = scope.snapshot().kinds;
    let separate = kinds.iter().find(|kind| kind.name == "separate").unwrap();
    assert_eq!((separate.spawned, separate.completed), (1_001, 1_001));
}

/// Tokio allocates each task. Its name adds nothing.
#[test]
fn a_named_task_allocates_no_more_than_one_without_a_name() {
    let _guard = ONE_TEST_AT_A_TIME.lock();
    let scope = scope();
    let runtime = scope.watch(&mut Builder::new_current_thread()).build().unwrap();
    let allocations = |is_named: bool| {
        let run = |n| async move {
            for _ in 0..n {
                let task =
                    if is_named { tokio::spawn(yields(1).named("named")) } else { tokio::spawn(yields(1)) };
                task.await.unwrap();
            }
        };
        runtime.block_on(run(10));
        // What an ended future leaves behind is used again, unless another
        // thread reads it at that moment.
        let count = |_| {
            let before = ALLOCATIONS.get();
            runtime.block_on(run(1_000));
            ALLOCATIONS.get() - before
        };
        (0..5).map(count).min().unwrap()
    };
    assert_eq!(allocations(true), allocations(false));
}
