//! A machine without a free CPU makes polls long, and no code is blamed for it.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

mod common;

use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use common::{cpu_time, eventually, runtime, scope, spin};
use loopscope::Named;

/// Stops this process for a time and lets it go on, as a debugger or a suspended
/// machine does.
fn stand_still(seconds: &str) {
    let pid = std::process::id();
    let script = format!("kill -STOP {pid}; sleep {seconds}; kill -CONT {pid}");
    let stopped = std::process::Command::new("sh").args(["-c", &script]).status().unwrap();
    assert!(stopped.success());
}

#[test]
fn a_process_that_is_stopped_blames_nobody() {
    let _alone = ALONE.lock();
    let scope = scope();
    let runtime = runtime(&scope, 1);
    let over = Arc::new(AtomicBool::new(false));
    let polls = Arc::clone(&over);
    let work = async move {
        while !polls.load(Relaxed) {
            spin_on_cpu(Duration::from_millis(2));
            tokio::task::yield_now().await;
        }
    };
    let task = runtime.spawn(work.named("short polls"));
    for _ in 0..5 {
        stand_still("0.3");
    }
    // What was in a poll at the time is over by now, or soon. On a busy machine a poll may have
    // waited for a CPU too, and be none that only a stop made long: then one more tells.
    let starved = eventually("the lost time", || {
        let starved = scope.findings().starved;
        if starved.count == 0 {
            stand_still("0.3");
        }
        (starved.total >= Duration::from_millis(250) && starved.count >= 1).then_some(starved)
    });
    over.store(true, Relaxed);
    runtime.block_on(task).unwrap();
    assert!(starved.count >= 1);
    assert_eq!(scope.findings().findings, [], "nobody's line");
}

#[test]
fn a_stall_that_the_machine_made_longer_is_split() {
    let _alone = ALONE.lock();
    let scope = scope();
    let runtime = runtime(&scope, 1);
    let over = Arc::new(AtomicBool::new(false));
    let cpus = thread::available_parallelism().map_or(4, usize::from);
    let ends = Arc::clone(&over);
    let work = async move {
        thread::sleep(Duration::from_millis(100));
        let hog = |_| {
            let over = Arc::clone(&ends);
            thread::spawn(move || while !over.load(Relaxed) {})
        };
        let hogs: Vec<_> = (0..cpus * 4).map(hog).collect();
        // Half as long again of the thread's own, and far longer by the clock.
        let begin = cpu_time();
        while cpu_time() - begin < Duration::from_millis(50) {
            spin(Duration::from_millis(1));
        }
        hogs
    };
    let hogs = runtime.block_on(runtime.spawn(work.named("mixed"))).unwrap();
    over.store(true, Relaxed);
    for hog in hogs {
        hog.join().unwrap();
    }
    let found = eventually("the finding", || {
        let findings = scope.findings().findings;
        findings.into_iter().find(|finding| finding.ongoing.is_none())
    });
    let split = found.split;
    assert!(split.off_cpu >= Duration::from_millis(50), "the sleep: {split:?}");
    assert!(split.on_cpu >= Duration::from_millis(20), "the work: {split:?}");
    assert!(split.run_queue >= Duration::from_millis(50), "the machine: {split:?}");
    assert!(scope.findings().starved.total >= Duration::from_millis(50));
}

/// The tests of this file change the pace of the whole machine or process.
static ALONE: Mutex<()> = Mutex::new(());

#[test]
fn starvation_is_counted_and_blamed_on_nobody() {
    let _alone = ALONE.lock();
    let scope = scope();
    let runtime = runtime(&scope, 1);
    let over = Arc::new(AtomicBool::new(false));
    let cpus = thread::available_parallelism().map_or(4, usize::from);
    // Eight for each CPU: the worker gets a ninth of one.
    let hogs: Vec<_> = (0..cpus * 8)
        .map(|_| {
            let over = Arc::clone(&over);
            thread::spawn(move || while !over.load(Relaxed) {})
        })
        .collect();
    let polls = Arc::clone(&over);
    let work = async move {
        while !polls.load(Relaxed) {
            // Of its own, a poll is well below the threshold.
            spin_on_cpu(Duration::from_millis(2));
            tokio::task::yield_now().await;
        }
    };
    let task = runtime.spawn(work.named("short polls"));
    let starved = eventually("a starved poll", || {
        let starved = scope.findings().starved;
        (starved.count >= 10).then_some(starved)
    });
    over.store(true, Relaxed);
    runtime.block_on(task).unwrap();
    for hog in hogs {
        hog.join().unwrap();
    }
    assert!(starved.total > Duration::ZERO);
    assert_eq!(scope.findings().findings, [], "the machine's fault is nobody's line");
}

/// Spins for a time of the thread's own, however long that takes.
fn spin_on_cpu(time: Duration) {
    // About 1 µs a round on the machines of the day, and never ten times that.
    for _ in 0..time.as_micros() / 10 {
        spin(Duration::from_micros(1));
    }
}
