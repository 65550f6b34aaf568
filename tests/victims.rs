//! Which tasks a stall delays: those of its runtime, and all of them while the
//! stalled worker holds the driver.
#![cfg(tokio_unstable)]

mod common;

use std::thread;
use std::time::Duration;

use common::{STALL, eventually, finding, scope};
use loopscope::{Finding, Named, Scope};
use tokio::runtime::{Builder, Runtime};
use tokio::time;

const FLUSH_TIMEOUT: Duration = Duration::from_secs(60);

fn runtime(scope: &Scope, name: &str, workers: usize) -> Runtime {
    let mut builder = Builder::new_multi_thread();
    builder.name(name).worker_threads(workers).enable_all();
    scope.watch(&mut builder).build().expect("the runtime starts")
}

fn named(scope: &Scope, kind: &str) -> Option<Finding> {
    scope.findings().findings.into_iter().find(|finding| finding.task.kind == kind)
}

/// Returns the time from the begin of the first stall in tasks of this kind to
/// the end of the last one. No wait can overlap them for longer.
fn stalled(scope: &Scope, kind: &str) -> Duration {
    let stalls = scope.stalls(None).stalls;
    let stalls = || stalls.iter().filter(|stall| stall.task == kind);
    let begin = stalls().map(|stall| stall.start).min().expect("a stall");
    let end = stalls().map(|stall| stall.end.expect("the stall has ended")).max().expect("a stall");
    end.duration_since(begin).unwrap()
}

#[test]
fn only_tasks_of_the_same_runtime_are_victims() {
    let scope = scope();
    let (a, b) = (runtime(&scope, "a", 1), runtime(&scope, "b", 1));
    let with_victims = async {
        for _ in 0..20 {
            tokio::spawn(async { std::hint::black_box(1) });
        }
        thread::sleep(STALL);
    };
    let a = a.spawn(with_victims.named("delays others"));
    let b = b.spawn(async { thread::sleep(STALL) }.named("delays nobody"));
    let main = Builder::new_current_thread().build().unwrap();
    main.block_on(async { (a.await.unwrap(), b.await.unwrap()) });
    let victims = eventually("twenty victims", || {
        let victims = finding(&scope, "delays others").victims;
        (victims.tasks >= 20).then_some(victims)
    });
    assert_eq!((victims.tasks, victims.waits), (20, 20));
    assert!(victims.delay <= 20 * stalled(&scope, "delays others"), "{victims:?}");
    let victims = finding(&scope, "delays nobody").victims;
    assert_eq!((victims.tasks, victims.waits, victims.delay), (0, 0, Duration::ZERO));
}

#[test]
fn a_finding_counts_each_moment_of_a_wait_once() {
    const WORKERS: u32 = 4;
    let scope = scope();
    let runtime = runtime(&scope, "main", WORKERS as usize);
    // All workers stall at one line at the same time, and no worker is free for
    // the tasks that are ready.
    let all_blocked = std::sync::Arc::new(common::meeting::Meeting::new(WORKERS as usize));
    let stalls: Vec<_> = (0..WORKERS)
        .map(|_| {
            let all_blocked = all_blocked.clone();
            runtime.spawn(
                async move {
                    all_blocked.wait();
                    if all_blocked.wait().is_leader() {
                        (0..40).for_each(|_| drop(tokio::spawn(async { std::hint::black_box(1) })));
                    }
                    thread::sleep(STALL);
                }
                .named("sleeps"),
            )
        })
        .collect();
    all_blocked.gather(&runtime);
    runtime.block_on(async {
        for stall in stalls {
            stall.await.unwrap();
        }
    });
    let found = eventually("the victims", || {
        named(&scope, "sleeps").filter(|finding| finding.ongoing.is_none() && finding.victims.tasks >= 40)
    });
    let stalled = stalled(&scope, "sleeps");
    assert!(found.victims.delay <= found.victims.waits as u32 * stalled, "{:?}", found.victims);
}

/// The runtime has four workers. One is in the driver, wakes for the timer of a
/// task, and blocks in that task. The others are parked outside of the driver.
/// On a busy machine another worker may be in the driver first, so the test
/// repeats until the case occurs.
#[test]
fn a_worker_that_holds_the_driver_delays_all_tasks() {
    let scope = scope();
    let runtime = runtime(&scope, "main", 4);
    let found = eventually("a stall that held the driver and released tasks", || {
        runtime.block_on(async {
            time::sleep(Duration::from_millis(200)).await;
            let others: Vec<_> = (0..20)
                .map(|_| tokio::spawn(time::sleep(Duration::from_millis(80)).named("sleeps properly")))
                .collect();
            tokio::spawn(
                async {
                    time::sleep(Duration::from_millis(50)).await;
                    thread::sleep(STALL);
                }
                .named("holds the driver"),
            );
            for other in others {
                other.await.unwrap();
            }
        });
        named(&scope, "holds the driver").filter(|Finding { victims, .. }| {
            victims.driver_held && victims.has_other_workers && victims.released > 0
        })
    });
    #[cfg(feature = "diagnostic")]
    assert!(loopscope::report::diagnostic(&found, false).contains("enable_eager_driver_handoff"));
    assert!(found.victims.tasks >= found.victims.released.min(20), "{:?}", found.victims);
}

/// The scope and the runtime are a few milliseconds old when the stall begins.
/// No later pass sees a worker in the driver.
#[test]
fn a_driver_that_is_held_early_in_the_life_of_its_runtime_is_seen() {
    eventually("an early stall that held the driver", || {
        let scope = scope();
        let runtime = runtime(&scope, "main", 4);
        let stall = async {
            time::sleep(Duration::from_millis(30)).await;
            thread::sleep(STALL);
        };
        runtime.block_on(async { tokio::spawn(stall.named("holds the driver")).await.unwrap() });
        assert!(scope.flush(FLUSH_TIMEOUT));
        named(&scope, "holds the driver").filter(|finding| finding.victims.driver_held)
    });
}

/// In a runtime with one worker, no other worker can run the driver.
#[test]
fn a_single_worker_is_not_advised_to_hand_over_its_driver() {
    let scope = scope();
    let mut current_thread = Builder::new_current_thread();
    let current_thread = scope.watch(current_thread.enable_all()).build().unwrap();
    let single_worker = runtime(&scope, "main", 1);
    for (kind, runtime) in [("current thread", current_thread), ("single worker", single_worker)] {
        let found = eventually("a stall that held the driver", || {
            let stall = async {
                time::sleep(Duration::from_millis(50)).await;
                thread::sleep(STALL);
            };
            runtime.block_on(async { tokio::spawn(stall.named(kind)).await.unwrap() });
            assert!(scope.flush(FLUSH_TIMEOUT));
            named(&scope, kind).filter(|finding| finding.victims.driver_held)
        });
        assert!(!found.victims.has_other_workers, "{:?}", found.victims);
        #[cfg(feature = "diagnostic")]
        {
            let text = loopscope::report::diagnostic(&found, false);
            assert!(text.contains("nothing served the sockets and timers"), "{text}");
            assert!(!text.contains("handoff"), "{text}");
        }
    }
}

/// Another worker takes over the driver before each poll.
#[test]
fn a_driver_that_was_handed_over_is_not_held() {
    let stall_after_a_timer = |kind: &'static str| async move {
        let stall = async {
            time::sleep(Duration::from_millis(50)).await;
            thread::sleep(STALL);
        };
        tokio::spawn(stall.named(kind)).await.unwrap();
    };
    // The control: the watchdog notices here if the same stall holds a driver
    // that is not handed over.
    let control = common::scope();
    let without_handover = runtime(&control, "without", 4);
    eventually("a stall that held the driver", || {
        without_handover.block_on(async {
            time::sleep(Duration::from_millis(200)).await;
            stall_after_a_timer("holds the driver").await;
        });
        named(&control, "holds the driver").filter(|finding| finding.victims.driver_held)
    });
    let scope = scope();
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(4).enable_all().enable_eager_driver_handoff();
    let runtime = scope.watch(&mut builder).build().unwrap();
    runtime.block_on(async {
        // The watchdog observes a worker in the driver.
        time::sleep(Duration::from_millis(300)).await;
        for _ in 0..3 {
            stall_after_a_timer("holds nothing").await;
        }
    });
    let victims = finding(&scope, "holds nothing").victims;
    assert_eq!((victims.driver_held, victims.released), (false, 0));
}
