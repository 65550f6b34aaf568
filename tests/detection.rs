//! Each mistake is found, with its line, its cause and its cure.
//!
//! Stalls last thirty times the threshold and the tests wait for findings, not
//! for times, so that a busy machine makes them slow but not wrong.
#![cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]

mod common;

use std::fs::File;
use std::io::Write;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use common::{STALL, cpu_time, eventually, finding, runtime, scope, spin};
use loopscope::{Cause, Evidence, Finding, FrameKind, Named, Scope, Terminal};
use tokio::runtime::Runtime;

/// The line of the mistake, as the mistake itself tells.
static SLEEP_LINE: AtomicU32 = AtomicU32::new(0);

#[inline(never)]
fn sleeps() {
    SLEEP_LINE.store(line!() + 1, Ordering::Relaxed);
    thread::sleep(STALL);
    no_tail_call();
}

/// Keeps the compiler from turning the call before into a jump, which would
/// take the caller's frame off the stack, and so its line out of everybody's
/// sight.
fn no_tail_call() {
    std::hint::black_box(());
}

/// Runs `work` as a task of that name.
fn run<T: Send + 'static>(
    runtime: &Runtime,
    name: &'static str,
    work: impl FnOnce() -> T + Send + 'static,
) -> T {
    runtime.block_on(async move { loopscope::spawn(name, async move { work() }).await }).unwrap()
}

fn assert_site(finding: &Finding, function: &str) {
    let site = finding.site.as_ref().expect("the site is known");
    assert_eq!(site.file.as_deref(), Some("tests/detection.rs"), "{finding:#?}");
    assert!(site.function.ends_with(function), "{finding:#?}");
    assert!(finding.total >= STALL, "{finding:#?}");
    assert!(finding.stack.iter().any(|frame| frame.kind == FrameKind::Runtime), "{finding:#?}");
}

#[test]
fn a_sleep() {
    let scope = scope();
    let runtime = runtime(&scope, 1);
    run(&runtime, "sleeper", sleeps);
    let finding = finding(&scope, "sleeper");
    assert_eq!(finding.cause, Cause::Sleep);
    assert_eq!(finding.primitive.as_deref(), Some("std::thread::sleep"));
    assert_eq!(finding.evidence, Evidence::Stack, "{finding:#?}");
    assert_eq!(finding.detail.syscall.as_deref(), Some("clock_nanosleep"));
    assert!(finding.advice.contains("tokio::time::sleep"));
    assert_site(&finding, "sleeps");
    assert_eq!(finding.site.unwrap().line, Some(SLEEP_LINE.load(Ordering::Relaxed)));
    assert!(finding.split.off_cpu > finding.split.on_cpu);
}

/// The watchdog looks just as these sleeps end, at twice and four times the
/// threshold, and meets the thread at what follows.
#[test]
fn who_has_just_woken_is_not_blamed() {
    let scope = Scope::builder()
        .terminal(Terminal::Never)
        .captures_per_second(1000)
        .start()
        .expect("the scope starts");
    let runtime = runtime(&scope, 1);
    #[inline(never)]
    fn works() {
        spin(Duration::from_millis(1));
        no_tail_call();
    }
    for _ in 0..20 {
        for millis in [20, 40] {
            run(&runtime, "woken", move || {
                thread::sleep(Duration::from_millis(millis));
                works();
            });
        }
    }
    let finding = finding(&scope, "woken");
    assert_eq!(finding.cause, Cause::Sleep, "{finding:#?}");
}

#[test]
fn a_sleep_is_not_cut_short() {
    let scope = scope();
    let runtime = runtime(&scope, 1);
    let slept = run(&runtime, "long sleeper", || {
        let begin = Instant::now();
        thread::sleep(STALL);
        begin.elapsed()
    });
    finding(&scope, "long sleeper");
    assert!(slept >= STALL);
}

#[inline(never)]
fn writes(path: &std::path::Path) -> std::io::Result<()> {
    let mut file = File::create(path)?;
    let begin = Instant::now();
    while begin.elapsed() < STALL {
        file.write_all(&[0; 1 << 20])?;
        file.sync_all()?;
    }
    Ok(())
}

#[test]
fn a_file() {
    let scope = scope();
    let runtime = runtime(&scope, 1);
    let path = std::env::temp_dir().join(format!("loopscope-test-{}", std::process::id()));
    let written = path.clone();
    run(&runtime, "writer", move || writes(&written)).unwrap();
    std::fs::remove_file(path).unwrap();
    let finding = finding(&scope, "writer");
    assert_eq!(finding.cause, Cause::File, "{finding:#?}");
    assert!(finding.advice.contains("tokio::fs"));
    assert_site(&finding, "writes");
}

#[test]
fn a_computation() {
    let scope = scope();
    let runtime = runtime(&scope, 1);
    #[inline(never)]
    fn computes() -> u64 {
        let before = cpu_time();
        let mut n = 1_u64;
        while cpu_time() - before < STALL / 4 {
            let begin = Instant::now();
            while begin.elapsed() < STALL {
                for _ in 0..1000 {
                    n = std::hint::black_box(n.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
                }
            }
        }
        n
    }
    run(&runtime, "computer", computes);
    let finding = finding(&scope, "computer");
    assert_eq!(finding.cause, Cause::Cpu, "{finding:#?}");
    assert_eq!(finding.evidence, Evidence::Stack);
    assert!(finding.advice.contains("spawn_blocking"));
    assert_site(&finding, "computes");
}

#[inline(never)]
fn waits_for(lock: &Mutex<()>) {
    drop(lock.lock());
}

#[test]
fn a_lock() {
    let scope = scope();
    let runtime = runtime(&scope, 1);
    let lock = Arc::new(Mutex::new(()));
    let held = Arc::new(Barrier::new(2));
    let holder = thread::spawn({
        let (lock, held) = (Arc::clone(&lock), Arc::clone(&held));
        move || {
            let _guard = lock.lock().unwrap();
            held.wait();
            // Not until the other is sure to have waited for long.
            thread::sleep(STALL * 2);
        }
    });
    held.wait();
    run(&runtime, "waiter", move || waits_for(&lock));
    holder.join().unwrap();
    let finding = finding(&scope, "waiter");
    assert_eq!(finding.cause, Cause::Lock, "{finding:#?}");
    assert_eq!(finding.detail.syscall.as_deref(), Some("futex"));
    assert!(finding.detail.lock.is_some());
    assert!(finding.advice.contains("lock"));
    assert_site(&finding, "waits_for");
}

#[test]
fn one_worker_of_four() {
    let scope = scope();
    let runtime = runtime(&scope, 4);
    let go_on = Arc::new(Barrier::new(2));
    let blocked = Arc::clone(&go_on);
    let task = runtime.spawn(async move { blocked.wait() }.named("blocked"));
    eventually("the stall in progress", || {
        let snapshot = scope.snapshot();
        (snapshot.workers_blocked() == 1 && snapshot.longest_active_poll() >= STALL).then_some(())
    });
    let ongoing = eventually("the finding of a stall that goes on", || {
        scope.findings().findings.into_iter().find(|finding| finding.task.kind == "blocked")
    });
    assert!(ongoing.ongoing.is_some());
    go_on.wait();
    runtime.block_on(task).unwrap();
    assert_eq!(finding(&scope, "blocked").count, 1);
}

#[test]
fn short_polls_are_no_findings() {
    let scope = scope();
    let runtime = runtime(&scope, 1);
    let tasks: Vec<_> = (0..100)
        .map(|_| {
            runtime.spawn(async {
                for _ in 0..20 {
                    spin(Duration::from_micros(100));
                    tokio::task::yield_now().await;
                }
            })
        })
        .collect();
    for task in tasks {
        runtime.block_on(task).unwrap();
    }
    assert_eq!(scope.findings().findings, []);
}

#[test]
fn a_block_in_place_is_allowed() {
    let scope = scope();
    let runtime = runtime(&scope, 2);
    run(&runtime, "in place", || tokio::task::block_in_place(|| thread::sleep(STALL)));
    // A stall after it, so that its own evidence has been judged by then.
    run(&runtime, "after", || thread::sleep(STALL));
    finding(&scope, "after");
    assert!(scope.findings().findings.iter().all(|finding| finding.task.kind != "in place"));
}

#[test]
fn the_root_future_counts_too() {
    let scope = scope();
    let runtime = runtime(&scope, 1);
    scope.block_on(&runtime, async { thread::sleep(STALL) });
    let finding = finding(&scope, "main");
    assert_eq!(finding.cause, Cause::Sleep);
}

#[test]
#[cfg(tokio_unstable)]
fn who_waited_is_counted() {
    let scope = scope();
    let runtime = runtime(&scope, 1);
    let tasks = runtime.block_on(async {
        let blocker = loopscope::spawn("blocker", async { thread::sleep(STALL) });
        let victims: Vec<_> = (0..5).map(|_| tokio::spawn(async {})).collect();
        (blocker, victims)
    });
    runtime.block_on(tasks.0).unwrap();
    for victim in tasks.1 {
        runtime.block_on(victim).unwrap();
    }
    let victims = eventually("the victims", || {
        let victims = finding(&scope, "blocker").victims;
        (victims.tasks > 0).then_some(victims)
    });
    assert!(
        victims.tasks <= 5 && victims.tasks <= victims.waits && victims.delay > Duration::from_millis(10),
        "{victims:?}"
    );
}

#[inline(never)]
fn reads(mut peer: std::net::TcpStream) -> std::io::Result<usize> {
    use std::io::Read;
    peer.read(&mut [0; 16])
}

#[test]
fn a_call_that_a_signal_would_break_is_left_alone() {
    let scope = scope();
    let runtime = runtime(&scope, 1);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    peer.set_read_timeout(Some(STALL)).unwrap();
    let error = run(&runtime, "reader", move || reads(peer)).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock, "the timeout, and no interruption");
    let finding = finding(&scope, "reader");
    assert_eq!(finding.cause, Cause::Network, "{finding:#?}");
    assert!(finding.evidence > Evidence::None);
    // On a busy machine the thread may be met before it is in the call, and asked by a signal there.
    let captures = scope.snapshot().observer.captures;
    assert!(captures.iter().any(|(way, count)| *way == "passive" && *count > 0), "{captures:?}");
}

#[inline(never)]
fn waits_at_most(receiver: &std::sync::mpsc::Receiver<()>) {
    let _ = receiver.recv_timeout(STALL);
    no_tail_call();
}

#[test]
fn a_stack_is_reconstructed_where_a_signal_would_show() {
    let scope = scope();
    let runtime = runtime(&scope, 1);
    let (_sender, receiver) = std::sync::mpsc::channel();
    run(&runtime, "receiver", move || waits_at_most(&receiver));
    let finding = finding(&scope, "receiver");
    assert_eq!(finding.cause, Cause::Channel, "{finding:#?}");
    assert_eq!(finding.evidence, Evidence::Reconstructed, "{finding:#?}");
    assert_site(&finding, "waits_at_most");
}
