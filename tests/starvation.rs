//! Polls that are long only because the machine has no free CPU are counted as
//! starved. They cause no finding.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

mod common;

use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use common::{assert_no_finding, cpu_time, ended_findings, eventually, runtime, scope, spin};
use loopscope::{Named, Split};

/// Stops this process for `seconds` and continues it, as a debugger or a
/// suspended machine does.
fn stop_process(seconds: &str) {
    let pid = std::process::id();
    let script = format!("kill -STOP {pid}; sleep {seconds}; kill -CONT {pid}");
    let stopped = std::process::Command::new("sh").args(["-c", &script]).status().unwrap();
    assert!(stopped.success());
}

#[test]
fn stopping_the_process_causes_starved_time_and_no_finding() {
    let _guard = ONE_TEST_AT_A_TIME.lock();
    let scope = scope();
    let runtime = runtime(&scope, 1);
    let stop = Arc::new(AtomicBool::new(false));
    let stop_polls = Arc::clone(&stop);
    let work = async move {
        while !stop_polls.load(Relaxed) {
            common::computing_shortly(|| spin_well_below(Duration::from_millis(2)));
            tokio::task::yield_now().await;
        }
    };
    let task = runtime.spawn(work.named("short polls"));
    for _ in 0..5 {
        stop_process("0.3");
    }
    // The polls that the stops interrupted have ended by now, or end soon. On a
    // busy machine, such a poll may also wait for a CPU for longer than the
    // threshold. If the watchdog does not sample it, it is counted as dropped
    // and not as starved. One more stop is then needed.
    eventually("the starved time", || {
        let starved = scope.findings().starved;
        if starved.count == 0 {
            stop_process("0.3");
        }
        (starved.total >= Duration::from_millis(250) && starved.count >= 1).then_some(starved)
    });
    stop.store(true, Relaxed);
    runtime.block_on(task).unwrap();
    assert_no_finding(&scope);
}

#[test]
fn a_stall_is_split_into_cpu_run_queue_and_off_cpu_time() {
    let _guard = ONE_TEST_AT_A_TIME.lock();
    let scope = scope();
    let runtime = runtime(&scope, 1);
    let stop = Arc::new(AtomicBool::new(false));
    let cpus = thread::available_parallelism().map_or(4, usize::from);
    let stop_spinners = Arc::clone(&stop);
    let work = async move {
        thread::sleep(Duration::from_millis(100));
        let start_spinner = |_| {
            let stop = Arc::clone(&stop_spinners);
            thread::spawn(move || while !stop.load(Relaxed) {})
        };
        let spinners: Vec<_> = (0..cpus * 4).map(start_spinner).collect();
        // Uses 50 ms of CPU time, which takes far longer by the wall clock.
        let begin = cpu_time();
        while cpu_time() - begin < Duration::from_millis(50) {
            spin(Duration::from_millis(1));
        }
        spinners
    };
    let spinners = runtime.block_on(runtime.spawn(work.named("mixed"))).unwrap();
    stop.store(true, Relaxed);
    for spinner in spinners {
        spinner.join().unwrap();
    }
    // The sleep and the work may be one finding or two, which share the time.
    let found = ended_findings(&scope, |document| !document.findings.is_empty()).findings;
    let all =
        |part: fn(&Split) -> Duration| found.iter().map(|finding| part(&finding.split)).sum::<Duration>();
    // If the watchdog lacked a CPU too, it did not see all of the sleep.
    let slept = all(|split| split.off_cpu);
    assert!(slept > Duration::ZERO, "the sleep: {found:#?}");
    assert!(slept + all(|split| split.unknown) >= Duration::from_millis(50), "the sleep: {found:#?}");
    assert!(all(|split| split.on_cpu) >= Duration::from_millis(20), "the work: {found:#?}");
    assert!(all(|split| split.run_queue) >= Duration::from_millis(50), "the machine: {found:#?}");
    assert!(scope.findings().starved.total >= Duration::from_millis(50));
}

/// Held by each test of this file: each slows down the whole machine or
/// process.
static ONE_TEST_AT_A_TIME: Mutex<()> = Mutex::new(());

#[test]
fn polls_without_a_free_cpu_are_counted_as_starved_and_cause_no_finding() {
    let _guard = ONE_TEST_AT_A_TIME.lock();
    let scope = scope();
    let runtime = runtime(&scope, 1);
    let stop = Arc::new(AtomicBool::new(false));
    let cpus = thread::available_parallelism().map_or(4, usize::from);
    // Eight spinning threads for each CPU: the worker gets a ninth of a CPU.
    let spinners: Vec<_> = (0..cpus * 8)
        .map(|_| {
            let stop = Arc::clone(&stop);
            thread::spawn(move || while !stop.load(Relaxed) {})
        })
        .collect();
    let stop_polls = Arc::clone(&stop);
    let work = async move {
        while !stop_polls.load(Relaxed) {
            // With a free CPU, a poll is well below the threshold.
            common::computing_shortly(|| spin_well_below(Duration::from_millis(2)));
            tokio::task::yield_now().await;
        }
    };
    let task = runtime.spawn(work.named("short polls"));
    let starved = eventually("a starved poll", || {
        let starved = scope.findings().starved;
        (starved.count >= 10).then_some(starved)
    });
    stop.store(true, Relaxed);
    runtime.block_on(task).unwrap();
    for spinner in spinners {
        spinner.join().unwrap();
    }
    assert!(starved.total > Duration::ZERO);
    assert_no_finding(&scope);
}

/// Spins. On a free CPU, this takes a tenth of `limit` or a little longer, but
/// never as long as `limit`. Without a free CPU, it takes longer by the wall
/// clock.
fn spin_well_below(limit: Duration) {
    // A round takes about 1 µs on a machine of 2026, and never 10 µs.
    for _ in 0..limit.as_micros() / 10 {
        spin(Duration::from_micros(1));
    }
}
