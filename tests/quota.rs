//! A CPU quota, a stopped thread or a busy machine makes polls long. No code is
//! blamed for that; code that blocks is still found, with its own time.
//!
//! Each scenario runs in a process of its own: this test program runs itself
//! again for one of the tests marked `#[ignore]`. The control groups need root.
//! `LOOPSCOPE_QUOTA_SECONDS` lengthens the scenarios without blocking code.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]
// SAFETY of all unsafe blocks: each call gets numbers, null where null is
// allowed, and pointers to initialised locals of the expected type.
#![allow(unsafe_code, clippy::undocumented_unsafe_blocks)]

#[path = "common/cgroup.rs"]
mod cgroup;
mod common;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use std::{env, fs, ptr, thread};

use cgroup::{CpuQuota, Version};
use common::{cpu_time, eventually, flush, runtime, scope, spin};
use loopscope::{Cause, Finding, FindingsDocument, Scope};
use tokio::runtime::Runtime;

/// The file to which a scenario writes its process id.
const PROCS_VARIABLE: &str = "LOOPSCOPE_QUOTA_PROCS";
/// How long a scenario polls, in seconds.
const SECONDS_VARIABLE: &str = "LOOPSCOPE_QUOTA_SECONDS";

/// The scenarios load the machine, so one runs at a time.
static ONE_TEST_AT_A_TIME: Mutex<()> = Mutex::new(());

fn seconds() -> f64 {
    env::var(SECONDS_VARIABLE).ok().and_then(|seconds| seconds.parse().ok()).unwrap_or(1.2)
}

/// Runs a scenario in a child process, in the group if there is one.
fn run_scenario(scenario: &str, group: Option<&CpuQuota>) {
    let mut command = Command::new(env::current_exe().unwrap());
    if let Some(group) = group {
        command.env(PROCS_VARIABLE, group.procs());
    }
    let timeout = common::SCENARIO_TIMEOUT + Duration::from_secs_f64(seconds());
    common::run_scenario_of(command, scenario, timeout);
}

/// How many times a scenario is run until it uses up its quota.
const MAX_RUNS: usize = 5;

/// Runs a scenario in a quota of each version that this machine has. The
/// scenario must use up the quota. On a busy machine, others may leave it less
/// CPU than that.
fn run_in_quotas(scenario: &str, quota: Duration) {
    let _guard = ONE_TEST_AT_A_TIME.lock();
    for version in [Version::V1, Version::V2] {
        match CpuQuota::new(version, quota) {
            Ok(group) => {
                let uses_quota = (0..MAX_RUNS).any(|_| {
                    run_scenario(scenario, Some(&group));
                    group.throttled_periods() > 0
                });
                assert!(uses_quota, "{scenario} does not use up its quota");
            }
            Err(error) => {
                common::not_checked(format_args!("{scenario} in a quota of cgroup {version:?}: {error}"))
            }
        }
    }
}

/// Moves this process into the group of its scenario.
fn enter_group() {
    if let Some(procs) = env::var_os(PROCS_VARIABLE) {
        fs::write(procs, std::process::id().to_string()).unwrap();
    }
}

/// Restricts the calling thread, and threads and processes that it starts, to
/// two CPUs. On a machine with many CPUs each spinner would have its own, and
/// no poll would lack one.
fn use_two_cpus() {
    let mut cpus: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    let size = size_of_val(&cpus);
    assert_eq!(unsafe { libc::sched_getaffinity(0, size, &raw mut cpus) }, 0);
    let allowed = (0..libc::CPU_SETSIZE as usize).filter(|&cpu| unsafe { libc::CPU_ISSET(cpu, &cpus) });
    for cpu in allowed.skip(2).collect::<Vec<_>>() {
        unsafe { libc::CPU_CLR(cpu, &mut cpus) };
    }
    assert_eq!(unsafe { libc::sched_setaffinity(0, size, &raw const cpus) }, 0);
}

/// Threads of another process that spin until they are dropped.
struct Hogs(Child);

impl Hogs {
    /// Starts four spinners for each CPU that this process uses from now on.
    fn start() -> Self {
        use_two_cpus();
        let spinners = "for i in 1 2 3 4 5 6 7 8; do while :; do :; done & done; read end; kill $(jobs -p)";
        let shell = Command::new("bash").args(["-c", spinners]).stdin(Stdio::piped()).spawn();
        Self(shell.expect("bash starts"))
    }
}

impl Drop for Hogs {
    fn drop(&mut self) {
        // The end of its input makes the shell kill the spinners.
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

/// Computes until the thread has used `time` on a CPU.
fn compute_on_cpu(time: Duration) {
    let begin = cpu_time();
    while cpu_time() - begin < time {
        spin(Duration::from_micros(100));
    }
}

/// Returns a flag that a thread sets when a scenario without blocking code is to
/// end: its time is over, and its group, if it has one, has used up its quota.
/// Beside other work that can take longer than the scenario's time.
fn end_after(seconds: f64) -> Arc<AtomicBool> {
    const LIMIT: Duration = Duration::from_secs(60);
    let end = Arc::new(AtomicBool::new(false));
    let is_over = Arc::clone(&end);
    let procs = env::var_os(PROCS_VARIABLE).map(PathBuf::from);
    let begin = Instant::now();
    thread::spawn(move || {
        thread::sleep(Duration::from_secs_f64(seconds));
        let group = procs.as_deref().and_then(Path::parent);
        while group.is_some_and(|group| cgroup::throttled_periods(group) == 0) && begin.elapsed() < LIMIT {
            thread::sleep(cgroup::PERIOD);
        }
        is_over.store(true, Relaxed);
    });
    end
}

/// Polls tasks of 3 ms each on two workers. Every poll that is long lacks a
/// CPU.
fn poll_shortly(runtime: &Runtime, seconds: f64) {
    let end = end_after(seconds);
    runtime.block_on(async {
        let poll = || {
            let end = Arc::clone(&end);
            async move {
                while !end.load(Relaxed) {
                    common::computing_shortly(|| compute_on_cpu(Duration::from_millis(3)));
                    tokio::task::yield_now().await;
                }
            }
        };
        let tasks = [loopscope::spawn("short", poll()), loopscope::spawn("short", poll())];
        for task in tasks {
            task.await.unwrap();
        }
    });
}

/// Polls tasks that hold one lock for 1 ms of 4 ms each. A poll that waits longer for
/// it waits for a thread that has no CPU.
fn lock_shortly(runtime: &Runtime, seconds: f64) {
    static SHARED: Mutex<()> = Mutex::new(());
    let end = end_after(seconds);
    runtime.block_on(async {
        let poll = || {
            let end = Arc::clone(&end);
            async move {
                while !end.load(Relaxed) {
                    let guard = SHARED.lock().unwrap();
                    compute_on_cpu(Duration::from_millis(1));
                    drop(guard);
                    // The lock is not fair. Time outside of it lets the other task
                    // lock it.
                    compute_on_cpu(Duration::from_millis(3));
                    tokio::task::yield_now().await;
                }
            }
        };
        let tasks = [loopscope::spawn("locker", poll()), loopscope::spawn("locker", poll())];
        for task in tasks {
            task.await.unwrap();
        }
    });
}

/// Asserts that polls were starved and nothing is blamed.
fn assert_nothing_is_blamed(scope: &Scope) {
    eventually("a starved poll", || (scope.findings().starved.count > 0).then_some(()));
    common::assert_no_finding(scope);
}

/// Asserts in addition that each poll which is not blamed counts as starved.
fn assert_only_starved(scope: &Scope) {
    assert_nothing_is_blamed(scope);
    let starved = scope.findings().starved;
    assert_eq!(unseen(scope), 0, "starved polls are counted as stalls: {starved:?}");
}

/// Returns how many polls passed the threshold, and nothing shows why.
fn unseen(scope: &Scope) -> u64 {
    let dropped = scope.snapshot().observer.dropped;
    dropped.iter().find(|(reason, _)| *reason == "ended_before_capture").unwrap().1
}

#[test]
fn short_polls_in_a_quota_are_starved() {
    run_in_quotas("short_polls", Duration::from_millis(30));
    run_in_quotas("short_polls", Duration::from_millis(10));
}

#[test]
fn a_wait_for_a_lock_whose_holder_is_throttled_is_starvation() {
    run_in_quotas("short_locks", Duration::from_millis(20));
}

#[test]
fn short_polls_in_a_quota_on_a_busy_machine_are_starved() {
    // The share of a CPU that the spinners leave must be above the quota.
    run_in_quotas("short_polls_beside_hogs", Duration::from_millis(10));
}

#[test]
fn short_polls_on_a_busy_machine_are_starved() {
    let _guard = ONE_TEST_AT_A_TIME.lock();
    run_scenario("short_polls_beside_hogs", None);
}

#[test]
#[ignore = "a scenario that another test runs in a child process"]
fn short_polls() {
    enter_group();
    let scope = scope();
    poll_shortly(&runtime(&scope, 2), seconds());
    assert_only_starved(&scope);
}

#[test]
#[ignore = "a scenario that another test runs in a child process"]
fn short_locks() {
    enter_group();
    let scope = scope();
    lock_shortly(&runtime(&scope, 2), seconds());
    // The thread that holds the lock may also wait for a CPU of a busy machine.
    // Then nothing shows that the other one waits for that reason.
    flush(&scope);
    let document = scope.findings();
    let blamed: Duration = document.findings.iter().map(|finding| finding.total).sum();
    assert!(document.starved.count > 0 && blamed <= document.starved.total / 4, "{document:#?}");
}

#[test]
#[ignore = "a scenario that another test runs in a child process"]
fn short_polls_beside_hogs() {
    let _hogs = Hogs::start();
    enter_group();
    let scope = scope();
    poll_shortly(&runtime(&scope, 2), seconds());
    assert_nothing_is_blamed(&scope);
    // The watchdog too may get no CPU while a poll lasts. Such a poll counts as
    // dropped, unless the CPU times prove what its thread did.
    assert!(unseen(&scope) <= scope.findings().starved.count / 4, "{:?}", scope.findings().starved);
}

const MISTAKE: Duration = Duration::from_millis(60);

#[inline(never)]
fn sleeps() {
    thread::sleep(MISTAKE);
    std::hint::black_box(());
}

#[inline(never)]
fn computes() {
    compute_on_cpu(MISTAKE);
    std::hint::black_box(());
}

#[test]
fn blocking_code_in_a_quota_is_found_with_its_own_time() {
    run_in_quotas("mistakes", Duration::from_millis(30));
}

#[test]
#[ignore = "a scenario that another test runs in a child process"]
fn mistakes() {
    const ROUNDS: u64 = 4;
    enter_group();
    let scope = scope();
    let runtime = runtime(&scope, 2);
    runtime.block_on(async {
        for _ in 0..ROUNDS {
            loopscope::spawn("sleeper", async { sleeps() }).await.unwrap();
            loopscope::spawn("computer", async { computes() }).await.unwrap();
        }
    });
    flush(&scope);
    for (kind, cause) in [("sleeper", Cause::Sleep), ("computer", Cause::Cpu)] {
        // In a quota, reading the debug information takes seconds. A
        // computation may be found in several functions.
        let is_found =
            |document: &FindingsDocument| document.findings.iter().any(|finding| finding.task.kind == kind);
        let mut found = common::ended_findings(&scope, is_found).findings;
        found.retain(|finding| finding.task.kind == kind);
        for finding in &found {
            let Finding { max, total, split, .. } = finding;
            assert_eq!(finding.cause, cause, "{finding:#?}");
            assert!(*max <= MISTAKE * 5 / 4, "{kind}: {max:?} of {MISTAKE:?} {split:?}");
            assert_eq!(*total, split.own());
        }
        let max = found.iter().map(|finding| finding.max).max().unwrap();
        assert!(max >= MISTAKE / 3, "{kind}: {max:?} of {MISTAKE:?} {:?}", found[0].split);
        let not_own: Duration = found.iter().map(|finding| finding.split.not_own()).sum();
        let own: Duration = found.iter().map(|finding| finding.total).sum();
        assert!(cause != Cause::Cpu || not_own > own / 2, "the quota is told apart: {not_own:?}");
    }
}

/// The watchdog alone has no CPU: its passes are late, and the workers are not.
#[test]
fn a_watchdog_in_a_quota_blames_no_code() {
    let _guard = ONE_TEST_AT_A_TIME.lock();
    match CpuQuota::new(Version::V1, Duration::from_millis(1)) {
        Ok(group) => {
            let scope = scope();
            let runtime = runtime(&scope, 2);
            group.add_thread(thread_named("loopscope-watch")).unwrap();
            poll_shortly(&runtime, seconds());
            common::assert_no_finding(&scope);
            runtime.block_on(async { loopscope::spawn("sleeper", async { sleeps_long() }).await }).unwrap();
            let found = common::finding(&scope, "sleeper");
            assert!(found.max >= common::STALL / 2, "{found:#?}");
            drop(scope);
        }
        Err(error) => common::not_checked(format_args!("a watchdog in a quota: {error}")),
    }
}

#[inline(never)]
fn sleeps_long() {
    thread::sleep(common::STALL);
    std::hint::black_box(());
}

/// Returns the thread of this process with this name.
fn thread_named(name: &str) -> i32 {
    let find = || {
        let tasks = fs::read_dir("/proc/self/task").unwrap().map(|task| task.unwrap());
        let is_named = |task: &fs::DirEntry| {
            fs::read_to_string(task.path().join("comm")).unwrap_or_default().trim() == name
        };
        let task = tasks.into_iter().find(is_named)?;
        task.file_name().to_str()?.parse().ok()
    };
    eventually(name, find)
}

#[test]
fn a_thread_that_a_tracer_stops_is_not_blamed() {
    static TID: Mutex<Option<i32>> = Mutex::new(None);
    let _guard = ONE_TEST_AT_A_TIME.lock();
    let scope = scope();
    let runtime = runtime(&scope, 1);
    let stop = Arc::new(AtomicBool::new(false));
    let is_over = Arc::clone(&stop);
    let task = runtime.spawn(loopscope::Named::named(
        async move {
            *TID.lock().unwrap() = Some(unsafe { libc::gettid() });
            while !is_over.load(Relaxed) {
                common::computing_shortly(|| compute_on_cpu(Duration::from_millis(1)));
                tokio::task::yield_now().await;
            }
        },
        "short",
    ));
    let tid = eventually("the worker", || *TID.lock().unwrap());
    let mut tracer = Command::new(env::current_exe().unwrap());
    let status = tracer
        .args(["--exact", "tracer", "--ignored"])
        .env("LOOPSCOPE_TRACED", tid.to_string())
        .stdout(Stdio::null())
        .status()
        .unwrap();
    let is_checked = status.success();
    if is_checked {
        assert_only_starved(&scope);
    } else {
        common::not_checked(format_args!("a tracer that stops a thread: {status}"));
    }
    stop.store(true, Relaxed);
    runtime.block_on(task).unwrap();
}

/// Stops a thread of another process three times for 200 ms.
#[test]
#[ignore = "a scenario that another test runs in a child process"]
fn tracer() {
    let tid: i32 = env::var("LOOPSCOPE_TRACED").unwrap().parse().unwrap();
    let null = ptr::null_mut::<libc::c_void>();
    for _ in 0..3 {
        assert_eq!(unsafe { libc::ptrace(libc::PTRACE_SEIZE, tid, null, null) }, 0);
        assert_eq!(unsafe { libc::ptrace(libc::PTRACE_INTERRUPT, tid, null, null) }, 0);
        assert_eq!(unsafe { libc::waitpid(tid, ptr::null_mut(), libc::__WALL) }, tid);
        thread::sleep(Duration::from_millis(200));
        assert_eq!(unsafe { libc::ptrace(libc::PTRACE_DETACH, tid, null, null) }, 0);
        thread::sleep(Duration::from_millis(50));
    }
}
