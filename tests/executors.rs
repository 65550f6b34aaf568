//! Named futures are recorded on any executor.

mod common;

use std::future::{Future, pending, poll_fn};
use std::pin::{Pin, pin};
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::Duration;

use common::{STALL, eventually, scope};
use futures::StreamExt;
use futures::executor::LocalPool;
use futures::stream::FuturesUnordered;
use futures::task::SpawnExt;
use loopscope::{KindSnapshot, Named, Scope};

/// Starts a scope while no other test of this file runs. Futures outside a
/// watched runtime count for the scope that was started last, so the tests run
/// one after the other.
fn exclusive_scope() -> (MutexGuard<'static, ()>, Scope) {
    static ONE_TEST_AT_A_TIME: Mutex<()> = Mutex::new(());
    let guard = ONE_TEST_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    (guard, scope())
}

fn kind(scope: &Scope, name: &str) -> KindSnapshot {
    scope.snapshot().kinds.iter().find(|kind| kind.name == name).cloned().unwrap_or_default()
}

/// Returns a future that wakes itself and is ready at its second poll.
fn yield_once() -> impl Future<Output = ()> {
    let mut polled = false;
    poll_fn(move |context| {
        if std::mem::replace(&mut polled, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
}

#[test]
fn tasks_on_smol_are_recorded_and_their_stalls_found() {
    let (_guard, scope) = exclusive_scope();
    let executor = Arc::new(smol::Executor::new());
    let stop = Arc::new(AtomicBool::new(false));
    let threads: Vec<_> = (0..2)
        .map(|_| {
            let (executor, stop) = (Arc::clone(&executor), Arc::clone(&stop));
            thread::spawn(move || {
                smol::block_on(async {
                    while !stop.load(Relaxed) {
                        smol::future::or(executor.tick(), async {
                            smol::Timer::after(Duration::from_millis(5)).await;
                        })
                        .await;
                    }
                });
            })
        })
        .collect();
    let tasks: Vec<_> = (0..50)
        .map(|_| {
            executor.spawn(
                async {
                    yield_once().await;
                    smol::Timer::after(Duration::from_millis(1)).await;
                }
                .named("smol task"),
            )
        })
        .collect();
    smol::block_on(async {
        for task in tasks {
            task.await;
        }
    });
    let task = eventually("the completion of all tasks", || {
        Some(kind(&scope, "smol task")).filter(|kind| kind.completed == 50)
    });
    assert_eq!((task.spawned, task.self_wakes), (50, 50));
    assert!(task.poll_time.count >= 150, "{}", task.poll_time.count);
    assert!(task.schedule_delay.count >= 100, "{}", task.schedule_delay.count);
    executor.spawn(async { thread::sleep(STALL) }.named("smol stall")).detach();
    let finding = common::finding(&scope, "smol stall");
    assert_eq!(finding.cause, loopscope::Cause::Sleep);
    stop.store(true, Relaxed);
    for thread in threads {
        thread.join().unwrap();
    }
}

#[test]
fn tasks_of_the_futures_crate_are_recorded() {
    let (_guard, scope) = exclusive_scope();
    let mut pool = LocalPool::new();
    for _ in 0..10 {
        pool.spawner().spawn(async { yield_once().await }.named("pool task")).unwrap();
    }
    pool.run();
    futures::executor::block_on(async { yield_once().await }.named("blocked on"));
    let task = kind(&scope, "pool task");
    assert_eq!((task.spawned, task.completed, task.poll_time.count), (10, 10, 20));
    assert_eq!((task.self_wakes, task.schedule_delay.count, task.lost_wakers), (10, 10, 0));
    assert_eq!(kind(&scope, "blocked on").poll_time.count, 2);
}

#[test]
fn named_tasks_on_an_unwatched_tokio_runtime_are_recorded() {
    let (_guard, scope) = exclusive_scope();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    for _ in 0..20 {
        let task = runtime.spawn(async { tokio::task::yield_now().await }.named("unwatched"));
        runtime.block_on(task).unwrap();
    }
    let task = eventually("the completion of all tasks", || {
        Some(kind(&scope, "unwatched")).filter(|kind| kind.completed == 20)
    });
    assert_eq!((task.spawned, task.poll_time.count, task.schedule_delay.count), (20, 40, 20));
    assert_eq!(scope.snapshot().observer.replaced_hooks, <[&str; 0]>::default());
}

#[test]
fn a_child_future_is_a_task_only_if_it_has_its_own_waker() {
    let (_guard, scope) = exclusive_scope();
    futures::executor::block_on(
        async {
            let children: FuturesUnordered<_> = (0..5).map(|_| yield_once().named("child")).collect();
            children.collect::<()>().await;
            yield_once().named("part").await;
        }
        .named("parent"),
    );
    let child = kind(&scope, "child");
    assert_eq!((child.spawned, child.completed, child.poll_time.count), (5, 5, 10));
    assert_eq!(kind(&scope, "part").spawned, 0);
    assert_eq!(kind(&scope, "parent").spawned, 1);
}

#[test]
fn a_future_that_drops_its_waker_is_counted_as_lost() {
    let (_guard, scope) = exclusive_scope();
    let mut pool = LocalPool::new();
    pool.spawner().spawn(pending::<()>().named("forgetful")).unwrap();
    pool.try_run_one();
    pool.run_until_stalled();
    assert_eq!(kind(&scope, "forgetful").lost_wakers, 1);
    drop(pool);
    assert_eq!(kind(&scope, "forgetful").completed, 1, "its own waker does not keep the future alive");
}

#[test]
fn futures_that_never_yield_and_large_futures_are_counted() {
    let (_guard, scope) = exclusive_scope();
    futures::executor::block_on(async { thread::sleep(STALL) }.named("greedy"));
    let large = async {
        let bytes = [1_u8; loopscope::LARGE_FUTURE_BYTES];
        yield_once().await;
        std::hint::black_box(bytes);
    };
    futures::executor::block_on(Box::pin(large.named("large")));
    assert_eq!(kind(&scope, "greedy").never_yielded, 1);
    let large = kind(&scope, "large");
    assert_eq!((large.large_futures, large.never_yielded), (1, 0));
    assert!((16_384..20_000).contains(&large.largest_future_bytes), "{}", large.largest_future_bytes);
}

/// Only a wake starts the delay. A poll without a wake has none.
#[test]
fn schedule_delay_is_measured_from_the_first_wake() {
    let (_guard, scope) = exclusive_scope();
    struct Nothing;
    impl Wake for Nothing {
        fn wake(self: Arc<Self>) {}
    }
    let task = Waker::from(Arc::new(Nothing));
    let held: Arc<Mutex<Option<Waker>>> = Arc::default();
    let hold = Arc::clone(&held);
    let mut future = pin!(
        poll_fn(move |context| {
            *hold.lock().unwrap() = Some(context.waker().clone());
            Poll::<()>::Pending
        })
        .named("delayed")
    );
    let poll = |future: Pin<&mut _>| {
        assert!(Future::poll(future, &mut Context::from_waker(&task)).is_pending());
    };
    poll(future.as_mut());
    poll(future.as_mut());
    assert_eq!(kind(&scope, "delayed").schedule_delay.count, 0, "there was no wake");
    let waker = held.lock().unwrap().clone().unwrap();
    waker.wake_by_ref();
    thread::sleep(Duration::from_millis(50));
    waker.wake_by_ref();
    poll(future.as_mut());
    poll(future.as_mut());
    let delay = kind(&scope, "delayed").schedule_delay;
    assert_eq!(delay.count, 1);
    assert!(delay.max >= Duration::from_millis(50), "{:?}", delay.max);
}

/// The panic propagates, and the poll is recorded as ended.
#[test]
fn a_panic_ends_the_poll() {
    let (_guard, scope) = exclusive_scope();
    let panics = thread::spawn(|| futures::executor::block_on(async { panic!("planned") }.named("panics")));
    assert!(panics.join().is_err());
    let kind = kind(&scope, "panics");
    assert_eq!((kind.poll_time.count, kind.completed), (1, 1));
    assert_eq!(scope.snapshot().workers_blocked(), 0);
}
