//! Helpers for the detection tests: a watched runtime, and waits that end when
//! a condition holds, not after a fixed time.
#![allow(dead_code, unreachable_pub, missing_docs, unused_macros)]

use std::process::Command;
use std::time::{Duration, Instant};
use std::{env, thread};

use loopscope::{Finding, Scope, Terminal};
use tokio::runtime::{Builder, Runtime};

/// Duration of a test stall. It is far above the threshold of 10 ms, so that a
/// busy machine does not change the result.
pub const STALL: Duration = Duration::from_millis(300);

/// Time after which [`eventually`] fails. A condition that does not hold within
/// this time is not expected to hold at all.
const EVENTUALLY_TIMEOUT: Duration = Duration::from_secs(60);
const CHECK_INTERVAL: Duration = Duration::from_millis(5);

pub fn scope() -> Scope {
    Scope::builder().terminal(Terminal::Never).start().expect("the scope starts")
}

pub fn runtime(scope: &Scope, workers: usize) -> Runtime {
    let mut builder = Builder::new_multi_thread();
    scope.watch(builder.worker_threads(workers).enable_all()).build().expect("the runtime starts")
}

/// Runs a scenario, a test that is marked `#[ignore]`, in a child process. A
/// failed scenario panics or is killed by a signal. Prints what it did not
/// check, and returns everything that it printed.
pub fn run_scenario(scenario: &str) -> String {
    let this = env::current_exe().unwrap();
    let output = Command::new(this).args(["--exact", scenario, "--ignored", "--nocapture"]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{scenario}: {}\n{text}", output.status);
    assert!(text.contains("1 passed"), "there is no scenario {scenario}\n{text}");
    for line in text.lines().filter(|line| line.starts_with("NOT CHECKED")) {
        eprintln!("{line}");
    }
    text.into_owned()
}

/// Declares tests that run a scenario each.
macro_rules! scenarios {
    ($($test:ident runs $scenario:ident;)*) => {$(
        #[test]
        fn $test() {
            common::run_scenario(stringify!($scenario));
        }
    )*};
}

/// Calls `check` until it returns `Some`.
///
/// # Panics
///
/// After [`EVENTUALLY_TIMEOUT`]. The message contains `what`.
pub fn eventually<T>(what: &str, check: impl FnMut() -> Option<T>) -> T {
    try_eventually(check).unwrap_or_else(|| panic!("timed out waiting for {what}"))
}

fn try_eventually<T>(mut check: impl FnMut() -> Option<T>) -> Option<T> {
    let begin = Instant::now();
    loop {
        let found = check();
        if found.is_some() || begin.elapsed() > EVENTUALLY_TIMEOUT {
            return found;
        }
        thread::sleep(CHECK_INTERVAL);
    }
}

/// Waits until a task kind has a finding all of whose stalls have ended and been
/// added. Returns that finding.
///
/// # Panics
///
/// Panics if the kind has two findings. Panics after [`EVENTUALLY_TIMEOUT`];
/// the message contains all findings of the scope.
pub fn finding(scope: &Scope, kind: &str) -> Finding {
    let check = || {
        let findings = scope.findings().findings;
        // The split has the ended stalls only. A poll that is over is no longer
        // in progress before its end is added.
        let is_complete = |finding: &Finding| finding.split.on_cpu + finding.split.off_cpu == finding.total;
        let ended = |finding: &Finding| {
            finding.task.kind == kind && finding.ongoing.is_none() && is_complete(finding)
        };
        let mut found = findings.into_iter().filter(ended);
        let first = found.next()?;
        assert_eq!(found.next(), None, "the stalls of one task kind are one finding");
        Some(first)
    };
    try_eventually(check).unwrap_or_else(|| {
        let snapshot = scope.snapshot();
        panic!("no finding of `{kind}`: {:#?}\n{:#?}", scope.findings(), snapshot.observer)
    })
}

/// Spins for `time` of wall-clock time. On a busy machine the thread may wait
/// for a CPU during part of it.
pub fn spin(time: Duration) {
    let begin = Instant::now();
    while begin.elapsed() < time {
        std::hint::black_box(());
    }
}

/// Spins for `time` of wall-clock time, and longer on a busy machine: until
/// the thread has used a quarter of `time` on CPU.
pub fn compute(time: Duration) {
    let begin = cpu_time();
    while cpu_time() - begin < time / 4 {
        spin(time);
    }
}

/// Returns the CPU time that the calling thread has used so far.
///
/// Call it rarely. A thread that called it every 50 µs on a busy machine was
/// inside this call in half of the samples: the kernel seems to notice only at
/// this call that the thread's time slice is over.
#[allow(unsafe_code)]
pub fn cpu_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a local variable that the call may write.
    let failed = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    assert_eq!(failed, 0);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
