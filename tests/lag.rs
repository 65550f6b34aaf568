//! Loop lag measured by canaries, and the time that calls wait for the
//! blocking pool.

mod common;

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use common::{STALL, eventually, scope};
use loopscope::{BlockingCallSnapshot, LoopLagSnapshot, Scope};
use tokio::runtime::Builder;
use tokio::sync::oneshot;
use tokio::task::LocalSet;

/// A canary is late after this time.
const LATE: Duration = Duration::from_millis(200);

fn lag(scope: &Scope, name: &str) -> LoopLagSnapshot {
    scope.snapshot().loop_lag.into_iter().find(|lag| lag.name == name).unwrap_or_default()
}

fn call(scope: &Scope, name: &str) -> BlockingCallSnapshot {
    scope.snapshot().blocking_calls.into_iter().find(|call| call.name == name).unwrap_or_default()
}

/// The runtime is not watched, and no hook sees the tasks of its `LocalSet`.
#[test]
fn a_canary_measures_the_current_and_past_lag_of_a_local_set() {
    let scope = scope();
    let canary = scope.canary("local set");
    let (begin, begun) = oneshot::channel::<()>();
    let (release, wait) = mpsc::channel::<()>();
    let local = thread::spawn(move || {
        let runtime = Builder::new_current_thread().enable_time().build().unwrap();
        let set = LocalSet::new();
        set.spawn_local(async move {
            begun.await.unwrap();
            wait.recv().unwrap();
        });
        let canary = set.spawn_local(canary);
        set.block_on(&runtime, canary).unwrap();
    });
    eventually("the first measured lag", || (lag(&scope, "local set").lag.count > 0).then_some(()));
    begin.send(()).unwrap();
    eventually("an unanswered wake", || lag(&scope, "local set").unanswered.filter(|age| *age > LATE));
    release.send(()).unwrap();
    let measured = eventually("the measured lag of the late poll", || {
        Some(lag(&scope, "local set").lag).filter(|lag| lag.max > LATE)
    });
    assert!(measured.quantile(0.0) < LATE, "earlier polls were on time: {measured:?}");
    drop(scope);
    local.join().expect("the canary ends with the scope");
}

#[test]
fn idle_runtimes_answer_wakes_of_canaries_and_aborted_canaries_are_not_late() {
    let scope = scope();
    let runtime = common::runtime(&scope, 1);
    let task = runtime.spawn(scope.canary("workers"));
    // 15 wakes take longer than the idle time after which the watchdog parks.
    // It must wake canaries while it is parked, too.
    eventually("15 answers", || (lag(&scope, "workers").lag.count > 15).then_some(()));
    task.abort();
    assert!(runtime.block_on(task).unwrap_err().is_cancelled());
    let count = eventually("the last answer", || {
        Some(lag(&scope, "workers")).filter(|lag| lag.unanswered.is_none()).map(|lag| lag.lag.count)
    });
    let second = runtime.spawn(scope.canary("workers"));
    eventually("answers of the second canary", || (lag(&scope, "workers").lag.count > count).then_some(()));
    assert_eq!(scope.snapshot().loop_lag.len(), 1);
    drop(scope);
    runtime.block_on(second).unwrap();
}

#[test]
fn calls_on_the_blocking_pool_are_timed_by_name() {
    let scope = scope();
    let mut builder = Builder::new_multi_thread();
    let runtime = scope.watch(builder.worker_threads(1).max_blocking_threads(1)).build().unwrap();
    // Other tests of this process start scopes too. On a thread that is not
    // watched, calls count for the scope that was started last.
    scope.block_on(&runtime, async {
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
    assert!(hash.queue_wait.max >= STALL, "the second call waited for the first: {:?}", hash.queue_wait.max);
    assert!(hash.run_time.quantile(0.0) >= STALL);
    assert_eq!(call(&scope, "panics").run_time.count, 1);
    common::assert_no_finding(&scope);
    let runtimes = scope.snapshot().runtimes;
    if cfg!(tokio_unstable) {
        assert_eq!((runtimes[0].blocking_threads, runtimes[0].blocking_queue_depth), (Some(1), Some(0)));
    }
}
