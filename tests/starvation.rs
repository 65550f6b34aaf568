//! A machine without a free CPU makes polls long, and no code is blamed for it.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

mod common;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

use common::{eventually, runtime, scope, spin};
use loopscope::Named;

#[test]
fn starvation_is_counted_and_blamed_on_nobody() {
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
    assert!(starved.total_seconds > 0.0);
    assert_eq!(scope.findings().findings, [], "the machine's fault is nobody's line");
}

/// Spins for a time of the thread's own, however long that takes.
fn spin_on_cpu(time: Duration) {
    // About 1 µs a round on the machines of the day, and never ten times that.
    for _ in 0..time.as_micros() / 10 {
        spin(Duration::from_micros(1));
    }
}
