//! How late a loop is, and how long calls wait for the blocking pool.

mod common;

use std::thread;
use std::time::Duration;

use common::{STALL, eventually, scope};
use loopscope::{BlockingCallSnapshot, LoopLagSnapshot, Scope};
use tokio::runtime::Builder;
use tokio::task::LocalSet;

fn lag(scope: &Scope, name: &str) -> LoopLagSnapshot {
    scope.snapshot().loop_lag.into_iter().find(|lag| lag.name == name).unwrap_or_default()
}

fn call(scope: &Scope, name: &str) -> BlockingCallSnapshot {
    scope.snapshot().blocking_calls.into_iter().find(|call| call.name == name).unwrap_or_default()
}

/// A loop that nobody watches, with tasks that no hook sees.
#[test]
fn a_canary_shows_how_late_a_local_set_is_now_and_was() {
    let scope = scope();
    let canary = scope.canary("local set");
    let local = thread::spawn(move || {
        let runtime = Builder::new_current_thread().enable_time().build().unwrap();
        let set = LocalSet::new();
        set.spawn_local(async {
            tokio::time::sleep(Duration::from_millis(150)).await;
            thread::sleep(Duration::from_millis(600));
        });
        let canary = set.spawn_local(canary);
        set.block_on(&runtime, canary).unwrap();
    });
    eventually("an answer", || (lag(&scope, "local set").lag.count > 0).then_some(()));
    eventually("a ring without an answer", || {
        lag(&scope, "local set").unanswered.filter(|age| *age > Duration::from_millis(200))
    });
    let seen = eventually("the late answer", || {
        Some(lag(&scope, "local set").lag).filter(|lag| lag.max > Duration::from_millis(200))
    });
    assert!(seen.quantile(0.0) < Duration::from_millis(200), "it was on time before: {seen:?}");
    drop(scope);
    local.join().expect("the canary ends with the scope");
}

#[test]
fn a_canary_on_an_idle_runtime_is_answered_and_one_that_left_is_not_waited_for() {
    let scope = scope();
    let runtime = common::runtime(&scope, 1);
    let task = runtime.spawn(scope.canary("workers"));
    // Longer than the watchdog goes on without sleeping.
    eventually("answers", || (lag(&scope, "workers").lag.count > 15).then_some(()));
    task.abort();
    assert!(runtime.block_on(task).unwrap_err().is_cancelled());
    let count = eventually("the last answer", || {
        Some(lag(&scope, "workers")).filter(|lag| lag.unanswered.is_none()).map(|lag| lag.lag.count)
    });
    let again = runtime.spawn(scope.canary("workers"));
    eventually("answers of the next", || (lag(&scope, "workers").lag.count > count).then_some(()));
    assert_eq!(scope.snapshot().loop_lag.len(), 1);
    drop(scope);
    runtime.block_on(again).unwrap();
}

#[test]
fn calls_on_the_blocking_pool_wait_and_run_under_their_names() {
    let scope = scope();
    let mut builder = Builder::new_multi_thread();
    let runtime = scope.watch(builder.worker_threads(1).max_blocking_threads(1)).build().unwrap();
    runtime.block_on(async {
        let calls: Vec<_> =
            (0..2).map(|_| loopscope::spawn_blocking("hash", || thread::sleep(STALL))).collect();
        for call in calls {
            call.await.unwrap();
        }
        let panics = loopscope::spawn_blocking("panics", || panic!("planned")).await;
        assert!(panics.unwrap_err().is_panic());
    });
    let hash = call(&scope, "hash");
    assert_eq!((hash.queue_wait.count, hash.run_time.count), (2, 2));
    assert!(hash.queue_wait.max >= STALL, "one had to wait for the other: {:?}", hash.queue_wait.max);
    assert!(hash.run_time.quantile(0.0) >= STALL);
    assert_eq!(call(&scope, "panics").run_time.count, 1);
    assert_eq!(scope.findings().findings, []);
    let runtimes = scope.snapshot().runtimes;
    if cfg!(tokio_unstable) {
        assert_eq!((runtimes[0].blocking_threads, runtimes[0].blocking_queue_depth), (Some(1), Some(0)));
    }
}
