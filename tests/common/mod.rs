//! What the tests of detection share: a watched runtime, and waiting for what
//! must come instead of for a time.
#![allow(dead_code, unreachable_pub, missing_docs)]

use std::thread;
use std::time::{Duration, Instant};

use loopscope::{Finding, Scope, Terminal};
use tokio::runtime::{Builder, Runtime};

/// Far above the threshold of 10 ms, also on a machine that is busy.
pub const STALL: Duration = Duration::from_millis(300);

pub fn scope() -> Scope {
    Scope::builder().terminal(Terminal::Never).start().expect("the scope starts")
}

pub fn runtime(scope: &Scope, workers: usize) -> Runtime {
    let mut builder = Builder::new_multi_thread();
    scope.watch(builder.worker_threads(workers).enable_all()).build().expect("the runtime starts")
}

/// Waits until `look` finds something.
///
/// # Panics
/// After a minute: what has not come by then does not come.
pub fn eventually<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    within_a_minute(look).unwrap_or_else(|| panic!("{what} did not come"))
}

fn within_a_minute<T>(mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let begin = Instant::now();
    loop {
        let found = look();
        if found.is_some() || begin.elapsed() > Duration::from_secs(60) {
            return found;
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// The finding of the tasks of one kind, once one of its stalls has ended.
///
/// # Panics
/// After a minute, with all that the scope knows, and if there are two.
pub fn finding(scope: &Scope, kind: &str) -> Finding {
    let look = || {
        let findings = scope.findings().findings;
        let ended = |finding: &Finding| finding.task.kind == kind && finding.ongoing.is_none();
        let mut found = findings.into_iter().filter(ended);
        let first = found.next()?;
        assert_eq!(found.next(), None, "one mistake is one finding");
        Some(first)
    };
    within_a_minute(look).unwrap_or_else(|| {
        let snapshot = scope.snapshot();
        panic!("no finding of `{kind}`: {:#?}\n{:#?}", scope.findings(), snapshot.observer)
    })
}

/// Spins for a time of the clock, which a busy machine may take for itself.
pub fn spin(time: Duration) {
    let begin = Instant::now();
    while begin.elapsed() < time {
        std::hint::black_box(());
    }
}

/// Computes for a time of the clock, and on until it has had a part of that for
/// itself, also on a machine that is busy.
pub fn compute(time: Duration) {
    let begin = cpu_time();
    while cpu_time() - begin < time / 4 {
        spin(time);
    }
}

/// What the calling thread has run so far. To be asked for seldom: on a busy machine
/// every other look met a thread there that asked each 50 µs, as if the kernel had
/// noticed only by that question that its slice was over.
#[allow(unsafe_code)]
pub fn cpu_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is ours to be written.
    let failed = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    assert_eq!(failed, 0);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
