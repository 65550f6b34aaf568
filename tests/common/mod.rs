//! Helpers for the detection tests: a watched runtime, and waits that end when
//! a condition holds, not after a fixed time.
#![allow(dead_code, unreachable_pub, missing_docs, unused_macros)]

pub mod meeting;

use std::fmt::Display;
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::panic::{self, AssertUnwindSafe};
use std::process::Command;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};
use std::{env, thread};

use loopscope::{Cause, Finding, FindingsDocument, Scope, Terminal};
use tokio::runtime::{Builder, Runtime};

/// Duration of a test stall. It is far above the threshold of 10 ms, so that a
/// busy machine does not change the result.
pub const STALL: Duration = Duration::from_millis(300);

/// Time after which [`eventually`] fails. A condition that does not hold within
/// this time is not expected to hold at all.
const EVENTUALLY_TIMEOUT: Duration = Duration::from_secs(60);
/// Time after which a scenario is killed and its test fails.
pub const SCENARIO_TIMEOUT: Duration = Duration::from_secs(300);
const CHECK_INTERVAL: Duration = Duration::from_millis(5);

pub fn scope() -> Scope {
    Scope::builder().terminal(Terminal::Never).start().expect("the scope starts")
}

pub fn runtime(scope: &Scope, workers: usize) -> Runtime {
    let mut builder = Builder::new_multi_thread();
    scope.watch(builder.worker_threads(workers).enable_all()).build().expect("the runtime starts")
}

/// Says on stderr what a test did not check. The test harness captures what the
/// print macros of a passing test print, but not what is written to stderr.
pub fn not_checked(what: impl Display) {
    // One write, so that lines of other tests do not mix with it.
    let _ = io::stderr().write_all(format!("NOT CHECKED: {what}\n").as_bytes());
}

/// Runs a scenario, a test that is usually marked `#[ignore]`, in a child
/// process. A failed scenario panics or is killed by a signal. Prints what it
/// did not check, and returns everything that it printed.
pub fn run_scenario(scenario: &str) -> String {
    run_scenario_of(Command::new(env::current_exe().unwrap()), scenario, SCENARIO_TIMEOUT)
}

/// Runs a scenario of a test program as [`run_scenario`] does, and kills it
/// after `timeout`.
pub fn run_scenario_of(mut program: Command, scenario: &str, timeout: Duration) -> String {
    program.args(["--exact", scenario, "--include-ignored", "--nocapture"]);
    // Reading two pipes with a timeout needs threads, and a process that has
    // left its PID namespace cannot start any.
    let ([stdout, out], [stderr, err]) = (nameless_file(), nameless_file());
    let mut child = program.stdout(stdout).stderr(stderr).spawn().unwrap();
    let begin = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if begin.elapsed() > timeout {
            child.kill().unwrap();
            break child.wait().unwrap();
        }
        thread::sleep(CHECK_INTERVAL);
    };
    let mut bytes = Vec::new();
    out.chain(err).read_to_end(&mut bytes).unwrap();
    let text = String::from_utf8_lossy(&bytes).into_owned();
    assert!(status.success(), "{scenario}: {status} after {:?}\n{text}", begin.elapsed());
    assert!(text.contains("1 passed"), "there is no scenario {scenario}\n{text}");
    for what in text.lines().filter_map(|line| line.strip_prefix("NOT CHECKED: ")) {
        not_checked(what);
    }
    text
}

/// Opens an empty file without a name, for writing and for reading.
fn nameless_file() -> [File; 2] {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let name = format!("loopscope-output-{}-{}", std::process::id(), COUNT.fetch_add(1, Relaxed));
    let path = env::temp_dir().join(name);
    let files = [File::create(&path).unwrap(), File::open(&path).unwrap()];
    fs::remove_file(path).unwrap();
    files
}

/// Forks, runs `child` in the child process, and waits for its end.
///
/// # Panics
///
/// Panics if the child panics, is killed, or does not end within a minute.
#[cfg(unix)]
#[allow(unsafe_code)]
pub fn in_child(child: impl FnOnce()) {
    const DONE: i32 = 7;
    // SAFETY: the child may allocate and start threads, because the C library
    // makes that possible after its `fork`.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        let result = panic::catch_unwind(AssertUnwindSafe(child));
        std::process::exit(if result.is_ok() { DONE } else { 101 });
    }
    let begin = Instant::now();
    let mut status = 0;
    // SAFETY: the call writes only to `status`.
    while unsafe { libc::waitpid(pid, &raw mut status, libc::WNOHANG) } == 0 {
        if begin.elapsed() > Duration::from_secs(60) {
            // SAFETY: the call has no pointers; `pid` is a child that has not
            // been waited for.
            unsafe { libc::kill(pid, libc::SIGKILL) };
            panic!("the child hangs");
        }
        thread::sleep(Duration::from_millis(2));
    }
    assert!(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == DONE, "status {status:#x}");
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

/// Waits until everything that was recorded is part of the findings.
///
/// # Panics
///
/// After [`EVENTUALLY_TIMEOUT`].
pub fn flush(scope: &Scope) {
    assert!(scope.flush(EVENTUALLY_TIMEOUT), "not processed in time: {:#?}", scope.findings());
}

/// Waits until no poll is in progress and everything that was recorded is part
/// of the findings. Returns the findings.
///
/// The poll of a task may last a little longer than the task: `JoinHandle`
/// returns before the poll ends. So a flush alone may not include the stall.
///
/// # Panics
///
/// After [`EVENTUALLY_TIMEOUT`].
pub fn flushed(scope: &Scope) -> FindingsDocument {
    eventually("the end of all polls", || {
        scope.snapshot().workers.iter().all(|worker| worker.active_poll.is_none()).then_some(())
    });
    flush(scope);
    scope.findings()
}

/// Asserts that nothing was found, after everything that was recorded has been
/// processed.
///
/// The host of a virtual machine may take a CPU away for several milliseconds
/// without telling the guest. Then a thread seems to compute for that long. If
/// [`computing_shortly`] saw that, a computation may be found.
pub fn assert_no_finding(scope: &Scope) {
    let document = flushed(scope);
    let longest = Duration::from_nanos(LONGEST_COMPUTATION_NANOS.load(Relaxed));
    let is_seen = |finding: &Finding| finding.cause == Cause::Cpu && finding.max <= longest + longest / 2;
    let is_stolen = longest >= document.threshold * 3 / 4 && document.findings.iter().all(is_seen);
    assert!((document.findings.is_empty() || is_stolen) && document.pending == 0, "{document:#?}");
    if !document.findings.is_empty() {
        not_checked(format_args!("a computation of a few milliseconds took {longest:?} of CPU time"));
    }
}

/// The most CPU time of one call of [`computing_shortly`].
static LONGEST_COMPUTATION_NANOS: AtomicU64 = AtomicU64::new(0);

/// Computes, and notes how much CPU time the kernel counts for that.
pub fn computing_shortly(compute: impl FnOnce()) {
    let begin = cpu_time();
    compute();
    let nanos = (cpu_time() - begin).as_nanos() as u64;
    LONGEST_COMPUTATION_NANOS.fetch_max(nanos, Relaxed);
}

/// Returns whether the ends of all stalls of a finding are part of it.
///
/// The split has the ended stalls only, and the total has those in progress,
/// too. A stall whose poll has ended is soon no longer in progress, even if its
/// end has not been processed.
pub fn has_ended(finding: &Finding) -> bool {
    finding.ongoing.is_none() && finding.count > 0 && finding.total == finding.split.own()
}

/// Waits until `is_complete` holds for the findings, all their stalls have ended
/// and the ends have been processed. Returns these findings.
///
/// # Panics
///
/// After [`EVENTUALLY_TIMEOUT`]. The message contains all findings of the scope.
pub fn ended_findings(scope: &Scope, is_complete: impl Fn(&FindingsDocument) -> bool) -> FindingsDocument {
    let check = || {
        let document = flushed(scope);
        let has_all_ends = document.pending == 0 && document.findings.iter().all(has_ended);
        (has_all_ends && is_complete(&document)).then_some(document)
    };
    try_eventually(check).unwrap_or_else(|| {
        panic!("not all findings: {:#?}\n{:#?}", scope.findings(), scope.snapshot().observer)
    })
}

/// Waits until a task kind has a finding all of whose stalls have ended and been
/// added. Returns that finding.
///
/// On a busy machine, a stall may end before its stack is captured. If it was
/// the first one, it has a finding without a stack beside the later stalls. So
/// findings with a stack come first, and then the one with the most time.
///
/// # Panics
///
/// Panics if the kind has two findings with a stack. Panics after
/// [`EVENTUALLY_TIMEOUT`]; the message contains all findings of the scope.
pub fn finding(scope: &Scope, kind: &str) -> Finding {
    let check = || {
        // What was recorded so far may move a stall to another finding.
        let _ = scope.flush(EVENTUALLY_TIMEOUT);
        // The one with the most time comes first.
        let findings = scope.findings().findings;
        let ended = |finding: &Finding| finding.task.kind == kind && has_ended(finding);
        let found = findings.into_iter().filter(ended);
        let (with_stack, without): (Vec<_>, Vec<_>) = found.partition(|finding| !finding.stack.is_empty());
        assert!(with_stack.len() <= 1, "the stalls of one task kind are one finding: {with_stack:#?}");
        with_stack.into_iter().chain(without).next()
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

/// Evaluates to the CPU time that the calling thread has used so far.
macro_rules! thread_cpu_time {
    () => {{
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: `time` is a local variable that the call may write.
        let failed = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
        assert_eq!(failed, 0);
        Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
    }};
}

/// Spins for `time` of wall-clock time, and longer on a busy machine: until
/// the thread has used a quarter of `time` on CPU.
///
/// It calls no other function of the tests. A computation in two functions may
/// become two findings, and a busy machine makes a short call look long.
#[allow(unsafe_code)]
pub fn compute(time: Duration) {
    let begin = thread_cpu_time!();
    while thread_cpu_time!() - begin < time / 4 {
        let begin = Instant::now();
        while begin.elapsed() < time {
            std::hint::black_box(());
        }
    }
}

/// Returns the CPU time that the calling thread has used so far.
///
/// Call it rarely. A thread that called it every 50 µs on a busy machine was
/// inside this call in half of the samples: the kernel seems to notice only at
/// this call that the thread's time slice is over.
#[allow(unsafe_code)]
pub fn cpu_time() -> Duration {
    thread_cpu_time!()
}
