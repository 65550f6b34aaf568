//! What each recording level records, and switching between them.
//!
//! A stall lasts until the test has seen it, so a busy machine only makes these
//! tests slow.
#![cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]

mod common;

use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{self, Sender};
use std::time::Duration;
use std::{fs, thread};

use common::{STALL, eventually, runtime, scope};
use loopscope::{Finding, Named, Recording, Scope, Terminal};
use tokio::runtime::{Builder, Runtime};
use tokio::task::{JoinHandle, LocalSet, yield_now};

fn scope_with(recording: Recording) -> Scope {
    Scope::builder().terminal(Terminal::Never).recording(recording).start().expect("the scope starts")
}

/// A task that blocks its worker until it is released.
struct Blocked {
    task: JoinHandle<()>,
    release: Sender<()>,
}

#[inline(never)]
fn block_until_released(released: &mpsc::Receiver<()>) {
    let _ = released.recv();
}

fn block(runtime: &Runtime, name: &'static str) -> Blocked {
    let (release, released) = mpsc::channel();
    let task = runtime.spawn(async move { block_until_released(&released) }.named(name));
    Blocked { task, release }
}

impl Blocked {
    fn release(self, runtime: &Runtime) {
        self.release.send(()).expect("the task waits");
        runtime.block_on(self.task).expect("the task does not panic");
    }
}

fn find(scope: &Scope, task: &str) -> Option<Finding> {
    scope.findings().findings.into_iter().find(|finding| finding.task.kind == task)
}

fn wait_for_ongoing(scope: &Scope, task: &str) -> Finding {
    eventually("a stall in progress", || find(scope, task).filter(|finding| finding.ongoing.is_some()))
}

#[test]
fn detect_finds_every_stall_and_measures_nothing_else() {
    let scope = scope_with(Recording::Detect);
    let runtime = runtime(&scope, 1);
    const STALLS: u64 = 20;
    for n in 1..=STALLS {
        let blocked = block(&runtime, "blocked");
        eventually("the next stall", || find(&scope, "blocked").filter(|finding| finding.count == n));
        blocked.release(&runtime);
    }
    // A task ends a little later than its handle says.
    drop(runtime);
    let finding = common::finding(&scope, "blocked");
    assert_eq!((finding.count, finding.lower_bounds), (STALLS, STALLS), "{finding:#?}");
    let site = finding.site.as_ref().expect("the site is known");
    assert!(site.function.ends_with("block_until_released"), "{finding:#?}");
    assert!(finding.total >= scope.snapshot().threshold * STALLS as u32, "{finding:#?}");
    let snapshot = scope.snapshot();
    assert_eq!((snapshot.recording, snapshot.has_recorded_in_full), (Recording::Detect, false));
    for kind in &snapshot.kinds {
        assert_eq!((kind.poll_time.count, kind.schedule_delay.count), (0, 0), "{kind:#?}");
    }
    assert!(snapshot.workers.iter().all(|worker| worker.busy.is_zero()), "{snapshot:#?}");
    let kind = snapshot.kinds.iter().find(|kind| kind.name == "blocked").unwrap();
    assert_eq!((kind.spawned, kind.completed), (STALLS, STALLS));
}

#[test]
fn a_stall_in_progress_is_reported_to_its_end_after_a_pause() {
    for recording in [Recording::Full, Recording::Detect] {
        let scope = scope_with(recording);
        let runtime = runtime(&scope, 1);
        let blocked = block(&runtime, "blocked");
        wait_for_ongoing(&scope, "blocked");
        scope.pause();
        scope.pause();
        assert!(scope.is_paused() && scope.findings().is_paused && scope.recording() == recording);
        let age = wait_for_ongoing(&scope, "blocked").ongoing;
        eventually("a longer stall", || (wait_for_ongoing(&scope, "blocked").ongoing > age).then_some(()));
        blocked.release(&runtime);
        let finding = common::finding(&scope, "blocked");
        assert_eq!((finding.count, finding.lower_bounds), (1, u64::from(recording == Recording::Detect)));
    }
}

#[test]
fn polls_that_begin_during_a_pause_are_not_recorded() {
    let scope = scope_with(Recording::Full);
    let runtime = runtime(&scope, 1);
    scope.pause();
    let during = block(&runtime, "during");
    let tick = runtime.spawn(async {
        for _ in 0..100 {
            yield_now().await;
        }
    });
    thread::sleep(STALL / 3);
    assert_eq!(scope.findings().findings, []);
    scope.resume();
    // The poll that began during the pause has not ended.
    thread::sleep(STALL / 3);
    during.release(&runtime);
    assert_eq!(common::flushed(&scope).findings, []);
    runtime.block_on(tick).unwrap();
    let after = block(&runtime, "after");
    wait_for_ongoing(&scope, "after");
    after.release(&runtime);
    assert_eq!(common::finding(&scope, "after").count, 1);
    let kinds = scope.snapshot().kinds;
    assert!(kinds.iter().all(|kind| kind.name != "during" || kind.poll_time.count == 0), "{kinds:#?}");
}

/// A poll keeps the level at which it began.
#[test]
fn a_change_in_the_middle_of_a_poll_does_not_change_how_it_is_measured() {
    let scope = scope_with(Recording::Full);
    let runtime = runtime(&scope, 1);
    let timed = block(&runtime, "timed");
    wait_for_ongoing(&scope, "timed");
    scope.set_recording(Recording::Detect);
    timed.release(&runtime);
    let finding = common::finding(&scope, "timed");
    assert_eq!((finding.count, finding.lower_bounds), (1, 0));
    let untimed = block(&runtime, "untimed");
    wait_for_ongoing(&scope, "untimed");
    scope.set_recording(Recording::Full);
    untimed.release(&runtime);
    // Both stalls are at the same line, which is one finding.
    let finding = common::finding(&scope, "untimed");
    assert_eq!((finding.count, finding.lower_bounds), (2, 1));
    let snapshot = scope.snapshot();
    let polls = |name| snapshot.kinds.iter().find(|kind| kind.name == name).unwrap().poll_time.count;
    assert_eq!((polls("timed"), polls("untimed")), (1, 0));
}

/// Runs polls of several kinds until it is told to stop: tasks with and without
/// a name, tasks that wake each other, and named futures inside of a task.
fn keep_busy(runtime: &Runtime, is_done: &'static AtomicBool) -> Vec<JoinHandle<()>> {
    async fn yields(is_done: &AtomicBool) {
        while !is_done.load(Relaxed) {
            yield_now().await;
        }
    }
    async fn nests(is_done: &AtomicBool) {
        while !is_done.load(Relaxed) {
            let inner = async { yield_now().await }.named("inner");
            let (inner, _) = tokio::join!(inner, async { yield_now().await }.named("other"));
            inner
        }
    }
    async fn begins_late(is_done: &AtomicBool) {
        while !is_done.load(Relaxed) {
            loopscope::spawn("short", async { yield_now().await }).await.unwrap();
            tokio::task::spawn(async {}).await.unwrap();
        }
    }
    vec![
        runtime.spawn(yields(is_done)),
        runtime.spawn(yields(is_done).named("yields")),
        runtime.spawn(nests(is_done).named("nests")),
        runtime.spawn(nests(is_done)),
        runtime.spawn(begins_late(is_done)),
    ]
}

#[test]
fn switching_by_several_threads_leaves_a_scope_that_works() {
    static IS_DONE: AtomicBool = AtomicBool::new(false);
    let begin = std::time::Instant::now();
    let scope = scope();
    let runtime = runtime(&scope, 2);
    let tasks = keep_busy(&runtime, &IS_DONE);
    thread::scope(|threads| {
        for seed in 0..3 {
            let scope = &scope;
            threads.spawn(move || {
                for n in seed..seed + 600 {
                    match n % 5 {
                        0 | 2 => scope.pause(),
                        1 => scope.set_recording(Recording::Detect),
                        3 => scope.set_recording(Recording::Full),
                        _ => scope.resume(),
                    }
                    thread::yield_now();
                    if n % 16 == 0 {
                        thread::sleep(Duration::from_micros(300));
                    }
                }
            });
        }
    });
    scope.set_recording(Recording::Full);
    scope.resume();
    // Each level finds a stall afterwards, so no worker is left in a wrong state.
    for (recording, name) in [(Recording::Full, "full"), (Recording::Detect, "detect")] {
        scope.set_recording(recording);
        let blocked = block(&runtime, name);
        wait_for_ongoing(&scope, name);
        blocked.release(&runtime);
        let found = common::finding(&scope, name);
        assert!(found.lower_bounds >= u64::from(recording == Recording::Detect), "{found:#?}");
    }
    IS_DONE.store(true, Relaxed);
    for task in tasks {
        runtime.block_on(task).unwrap();
    }
    // A task ends a little later than its handle says.
    drop(runtime);
    let findings = common::flushed(&scope).findings;
    let snapshot = scope.snapshot();
    assert_eq!(snapshot.observer.replaced_hooks, Vec::<&str>::new());
    let elapsed = begin.elapsed();
    for kind in &snapshot.kinds {
        let is_stalled = findings.iter().any(|finding| finding.task.kind == kind.name);
        assert!(kind.poll_time.max <= elapsed && kind.schedule_delay.max <= elapsed, "{kind:#?}");
        assert!(kind.poll_time.sum <= elapsed * 2 || is_stalled, "{kind:#?}");
        assert_eq!(kind.alive(), 0, "{kind:#?}");
    }
    assert!(snapshot.longest_active_poll().is_zero());
}

/// A future that is polled first during a pause finds out later what it is.
#[test]
fn a_task_that_begins_during_a_pause_keeps_its_name() {
    for recording in [Recording::Full, Recording::Detect] {
        let scope = scope_with(recording);
        let mut builder = Builder::new_current_thread();
        let runtime = scope.watch(&mut builder).build().unwrap();
        runtime.block_on(async {
            scope.pause();
            let task = async {
                yield_now().await;
                scope.resume();
                // Its first poll is in a poll that is not recorded.
                async { yield_now().await }.named("part").await;
                yield_now().await;
            };
            LocalSet::new().run_until(async { yield_now().await }).await;
            task.named("root").await;
        });
        let (begun, resumed) = mpsc::channel();
        let resumed = std::sync::Mutex::new(resumed);
        scope.pause();
        let task = runtime.spawn(
            async move {
                resumed.lock().unwrap().recv().unwrap();
                async { yield_now().await }.named("part").await;
                yield_now().await;
            }
            .named("named"),
        );
        thread::scope(|threads| {
            threads.spawn(|| runtime.block_on(task).unwrap());
            scope.resume();
            begun.send(()).unwrap();
        });
        let kinds = scope.snapshot().kinds;
        let kind = |name: &str| kinds.iter().find(|kind| kind.name == name);
        if cfg!(tokio_unstable) {
            assert!(kind("part").is_none_or(|kind| kind.spawned == kind.completed), "{kinds:#?}");
            assert_eq!(kind("named").map(|kind| (kind.spawned, kind.completed)), Some((1, 1)), "{kinds:#?}");
        }
        assert!(kinds.iter().all(|kind| kind.never_yielded == 0), "{kinds:#?}");
    }
}

/// Returns how many times the watchdogs of this process have gone to sleep.
fn watchdog_sleeps() -> u64 {
    let tasks = fs::read_dir("/proc/self/task").unwrap().map(|entry| entry.unwrap().path());
    let watchdogs = tasks
        .filter(|task| fs::read_to_string(task.join("comm")).is_ok_and(|name| name == "loopscope-watch\n"));
    let status = watchdogs.filter_map(|task| fs::read_to_string(task.join("status")).ok());
    let switches = status.filter_map(|status| {
        let line = status.lines().find(|line| line.starts_with("voluntary_ctxt_switches"))?.to_owned();
        line.split_whitespace().nth(1)?.parse::<u64>().ok()
    });
    switches.sum()
}

#[test]
fn the_watchdog_sleeps_during_a_pause_of_a_busy_program() {
    common::run_scenario("sleeps_during_a_pause");
}

/// In a process of its own, so that there is one watchdog.
#[test]
#[ignore = "a scenario"]
fn sleeps_during_a_pause() {
    static IS_DONE: AtomicBool = AtomicBool::new(false);
    let scope = scope();
    let runtime = runtime(&scope, 1);
    let tasks = keep_busy(&runtime, &IS_DONE);
    scope.pause();
    eventually("a watchdog that sleeps", || {
        let before = watchdog_sleeps();
        thread::sleep(Duration::from_millis(200));
        (watchdog_sleeps() == before).then_some(())
    });
    common::flush(&scope);
    scope.resume();
    let before = watchdog_sleeps();
    eventually("a watchdog that looks again", || (watchdog_sleeps() > before + 10).then_some(()));
    IS_DONE.store(true, Relaxed);
    for task in tasks {
        runtime.block_on(task).unwrap();
    }
}
