//! Each blocking call is found, with its line, its cause and advice.
//!
//! Stalls last thirty times the threshold, and the tests wait until a finding
//! exists. A busy machine makes these tests slow, but does not make them fail.
#![cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]

mod common;

use std::env;
use std::fs::File;
use std::io::Write;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use common::{STALL, cpu_time, eventually, finding, runtime, scope, spin};
use loopscope::{Cause, Evidence, Finding, FrameKind, Named, Scope, Terminal};
use tokio::runtime::Runtime;

/// The line of the call that blocks, stored by `sleeps` itself.
static SLEEP_LINE: AtomicU32 = AtomicU32::new(0);

#[inline(never)]
fn sleeps() {
    SLEEP_LINE.store(line!() + 1, Ordering::Relaxed);
    thread::sleep(STALL);
    no_tail_call();
}

/// Keeps the compiler from turning the previous call into a jump. A jump would
/// remove the caller's frame from the stack, and with it the caller's line.
fn no_tail_call() {
    std::hint::black_box(());
}

/// Runs `work` as a task with this name.
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
    // A stall that was recorded without a clock has begun earlier.
    let is_complete = finding.lower_bounds == 0;
    assert!(!is_complete || finding.total + finding.split.not_own() >= STALL, "{finding:#?}");
    assert!(finding.stack.iter().any(|frame| frame.kind == FrameKind::Runtime), "{finding:#?}");
}

#[test]
fn a_sleep_is_found_at_its_line() {
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
    let site = finding.site.unwrap();
    assert_eq!((site.line, site.column), (Some(SLEEP_LINE.load(Ordering::Relaxed)), Some(5)));
    assert!(finding.split.off_cpu > finding.split.on_cpu);
}

/// Runs tests of this file again, with another recording level.
macro_rules! with_detect {
    ($($test:ident runs $again:ident;)*) => {$(
        #[test]
        fn $test() {
            let mut program = Command::new(env::current_exe().unwrap());
            program.env("LOOPSCOPE", "detect");
            common::run_scenario_of(program, stringify!($again), common::SCENARIO_TIMEOUT);
        }
    )*};
}

with_detect! {
    detect_finds_a_sleep runs a_sleep_is_found_at_its_line;
    detect_finds_a_computation runs a_computation_is_found_at_its_function;
    detect_does_not_report_code_after_a_sleep runs code_after_a_sleep_is_not_reported;
}

/// Three calls on one line, of which the second blocks.
#[rustfmt::skip]
#[inline(never)]
fn sleeps_in_the_middle() {
    no_tail_call(); thread::sleep(STALL); no_tail_call(); // not thread::sleep()
}

#[test]
fn the_column_is_that_of_the_call() {
    let scope = scope();
    let runtime = runtime(&scope, 1);
    run(&runtime, "middle", sleeps_in_the_middle);
    let finding = finding(&scope, "middle");
    let site = finding.site.as_ref().unwrap();
    let source = include_str!("detection.rs").lines().nth(site.line.unwrap() as usize - 1).unwrap();
    let called = &source[site.column.unwrap() as usize - 1..];
    assert!(called.starts_with("thread::sleep(STALL)"), "{called}: {finding:#?}");
    #[cfg(feature = "diagnostic")]
    {
        let text = loopscope::report::diagnostic(&finding, false);
        let before_call = " ".repeat(source.find("thread::sleep").unwrap());
        assert!(text.contains(&format!("| {before_call}^^^^^^^^^^^^^ blocks here")), "{text}");
    }
}

#[test]
#[cfg(feature = "diagnostic")]
fn a_report_has_the_width_of_the_terminal() {
    let mut program = Command::new(env::current_exe().unwrap());
    program.env("COLUMNS", "60");
    let text = common::run_scenario_of(program, "prints_a_report", common::SCENARIO_TIMEOUT);
    let report = &text[text.find("warning[").unwrap_or_else(|| panic!("{text}"))..];
    let report: Vec<_> = report.lines().take_while(|line| !line.contains("= help")).collect();
    assert!(report.iter().all(|line| line.chars().count() <= 60), "{report:#?}");
    assert!(report[1].starts_with("      "), "the title is wrapped: {report:#?}");
    let mark = report.iter().position(|line| line.contains("^^^^^^^^^^^^^ blocks here")).unwrap();
    assert_eq!(report[mark].find('^'), report[mark - 1].find("thread::sleep(STALL)"), "{report:#?}");
}

#[test]
#[ignore = "a scenario"]
fn prints_a_report() {
    let scope = Scope::builder().terminal(Terminal::Always).start().unwrap();
    let runtime = runtime(&scope, 1);
    run(&runtime, "sleeper", sleeps);
    assert!(scope.flush(Duration::from_secs(60)));
}

/// The watchdog samples the thread just as these sleeps end, at twice and four
/// times the threshold, when the thread already runs the code after the sleep.
#[test]
fn code_after_a_sleep_is_not_reported() {
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
    // A stall that was found too late for a stack has no known cause.
    let findings = eventually("a sleep", || {
        let findings = scope.findings().findings;
        findings.iter().any(|finding| finding.cause == Cause::Sleep).then_some(findings)
    });
    let is_right = |finding: &Finding| {
        finding.cause == Cause::Sleep || (finding.cause == Cause::Other && finding.stack.is_empty())
    };
    assert!(findings.iter().all(is_right), "{findings:#?}");
}

#[test]
fn a_capture_does_not_shorten_a_sleep() {
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
fn a_file_write_is_found_at_its_function() {
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
fn a_computation_is_found_at_its_function() {
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
fn a_wait_for_a_lock_is_found_at_its_function() {
    let scope = scope();
    let runtime = runtime(&scope, 1);
    let lock = Arc::new(Mutex::new(()));
    let held = Arc::new(Barrier::new(2));
    let holder = thread::spawn({
        let (lock, held) = (Arc::clone(&lock), Arc::clone(&held));
        move || {
            let _guard = lock.lock().unwrap();
            held.wait();
            // Holds the lock until the task has waited for much longer than
            // the threshold.
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
fn an_ongoing_stall_on_one_of_four_workers_is_reported() {
    let scope = scope();
    let runtime = runtime(&scope, 4);
    let release = Arc::new(Barrier::new(2));
    let blocked = Arc::clone(&release);
    let task = runtime.spawn(async move { blocked.wait() }.named("blocked"));
    eventually("the stall in progress", || {
        let snapshot = scope.snapshot();
        (snapshot.workers_blocked() == 1 && snapshot.longest_active_poll() >= STALL).then_some(())
    });
    let ongoing = eventually("the finding of an ongoing stall", || {
        scope.findings().findings.into_iter().find(|finding| finding.task.kind == "blocked")
    });
    assert!(ongoing.ongoing.is_some());
    release.wait();
    runtime.block_on(task).unwrap();
    assert_eq!(finding(&scope, "blocked").count, 1);
}

#[test]
fn short_polls_cause_no_findings() {
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
    common::assert_no_finding(&scope);
}

#[test]
fn block_in_place_causes_no_finding() {
    let scope = scope();
    let runtime = runtime(&scope, 2);
    run(&runtime, "in place", || tokio::task::block_in_place(|| thread::sleep(STALL)));
    // A second stall. When its finding exists, the watchdog has also processed
    // everything that it recorded of the call in place.
    run(&runtime, "after", || thread::sleep(STALL));
    finding(&scope, "after");
    assert!(scope.findings().findings.iter().all(|finding| finding.task.kind != "in place"));
}

/// No worker runs the root future, so no other thread takes over.
#[test]
fn a_call_before_block_in_place_is_found_without_the_time_in_place() {
    let scope = scope();
    let runtime = runtime(&scope, 2);
    scope.block_on(&runtime, async {
        sleeps();
        tokio::task::block_in_place(|| thread::sleep(2 * STALL));
    });
    let found = common::ended_findings(&scope, |document| !document.findings.is_empty()).findings;
    let [found] = found.as_slice() else { panic!("{found:#?}") };
    assert!(found.site.as_ref().is_some_and(|site| site.function.ends_with("sleeps")), "{found:#?}");
    assert!(found.total >= STALL / 2 && found.total < 2 * STALL, "{found:#?}");
}

#[test]
fn a_stall_of_the_root_future_is_found() {
    let scope = scope();
    let runtime = runtime(&scope, 1);
    scope.block_on(&runtime, async { thread::sleep(STALL) });
    let finding = finding(&scope, "main");
    assert_eq!(finding.cause, Cause::Sleep);
}

#[test]
#[cfg(tokio_unstable)]
fn tasks_that_waited_for_a_stall_are_counted() {
    let scope = scope();
    let runtime = runtime(&scope, 1);
    let tasks = runtime.block_on(async {
        let blocker = loopscope::spawn("blocker", async { thread::sleep(STALL) });
        let waiting: Vec<_> = (0..5).map(|_| tokio::spawn(async {})).collect();
        (blocker, waiting)
    });
    runtime.block_on(tasks.0).unwrap();
    for task in tasks.1 {
        runtime.block_on(task).unwrap();
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

#[test]
#[cfg(tokio_unstable)]
fn a_task_that_waits_for_several_stalls_is_one_victim() {
    let scope = scope();
    let runtime = runtime(&scope, 1);
    runtime.block_on(async {
        let tasks = [loopscope::spawn("blocker", blocks_and_yields()), tokio::spawn(yields())];
        for task in tasks {
            task.await.unwrap();
        }
    });
    let victims = eventually("the waits", || {
        let victims = finding(&scope, "blocker").victims;
        (victims.waits >= 2).then_some(victims)
    });
    assert_eq!(victims.tasks, 1, "{victims:?}");
}

#[test]
fn named_futures_of_a_local_set_are_victims_each() {
    let scope = scope();
    let runtime = runtime(&scope, 1);
    scope.block_on(&runtime, async {
        let set = tokio::task::LocalSet::new();
        for _ in 0..3 {
            set.spawn_local(yields().named("waiter"));
        }
        set.spawn_local(blocks_and_yields().named("blocker"));
        set.await;
    });
    let victims = eventually("the waits", || {
        let victims = finding(&scope, "blocker").victims;
        (victims.waits >= 6).then_some(victims)
    });
    assert_eq!(victims.tasks, 3, "{victims:?}");
}

async fn blocks_and_yields() {
    for _ in 0..4 {
        thread::sleep(STALL);
        tokio::task::yield_now().await;
    }
}

async fn yields() {
    for _ in 0..4 {
        tokio::task::yield_now().await;
    }
}

#[inline(never)]
fn reads(mut peer: std::net::TcpStream) -> std::io::Result<usize> {
    use std::io::Read;
    peer.read(&mut [0; 16])
}

#[test]
fn a_call_that_a_signal_would_interrupt_gets_no_signal() {
    let scope = scope();
    let runtime = runtime(&scope, 1);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    peer.set_read_timeout(Some(STALL)).unwrap();
    let error = run(&runtime, "reader", move || reads(peer)).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock, "the call ends by its timeout, not by EINTR");
    let finding = finding(&scope, "reader");
    assert_eq!(finding.cause, Cause::Network, "{finding:#?}");
    assert!(finding.evidence > Evidence::None);
    // On a busy machine, a sample may find the thread before it is in the call.
    // That sample uses a signal.
    let captures = scope.snapshot().observer.captures;
    assert!(captures.iter().any(|(result, count)| *result == "passive" && *count > 0), "{captures:?}");
}

#[inline(never)]
fn receives_with_timeout(receiver: &std::sync::mpsc::Receiver<()>) {
    let _ = receiver.recv_timeout(STALL);
    no_tail_call();
}

#[test]
fn a_stack_is_found_where_a_signal_would_interrupt_the_call() {
    let scope = scope();
    let runtime = runtime(&scope, 1);
    let (_sender, receiver) = std::sync::mpsc::channel();
    run(&runtime, "receiver", move || receives_with_timeout(&receiver));
    let finding = finding(&scope, "receiver");
    assert_eq!(finding.cause, Cause::Channel, "{finding:#?}");
    // On x86_64, the first instructions of a function say where its frame is.
    let expected = if cfg!(target_arch = "x86_64") { Evidence::Stack } else { Evidence::Reconstructed };
    assert_eq!(finding.evidence, expected, "{finding:#?}");
    assert_site(&finding, "receives_with_timeout");
}

#[repr(align(64))]
struct Aligned([u8; 64]);

/// The distance from the stack pointer to the frame depends on the caller.
#[inline(never)]
fn waits_in_an_aligned_frame() {
    let mut local = Aligned([1; 64]);
    std::hint::black_box(&mut local.0);
    // SAFETY: there are no descriptors.
    unsafe { libc::poll(std::ptr::null_mut(), 0, STALL.as_millis() as i32) };
    std::hint::black_box(&mut local.0);
    no_tail_call();
}

#[test]
fn a_stack_is_reconstructed_where_a_frame_has_no_fixed_size() {
    let scope = scope();
    let runtime = runtime(&scope, 1);
    run(&runtime, "aligned", waits_in_an_aligned_frame);
    let finding = finding(&scope, "aligned");
    assert_eq!(finding.evidence, Evidence::Reconstructed, "{finding:#?}");
    assert_site(&finding, "waits_in_an_aligned_frame");
}
