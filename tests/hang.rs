//! A poll that does not return is found while it hangs.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

mod common;

use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Barrier, Mutex, RwLock, mpsc};
use std::thread;
use std::time::Duration;

use common::meeting::Meeting;
use common::{eventually, runtime, scope};
use loopscope::{Cause, Finding, spawn};

fn ongoing(scope: &loopscope::Scope, kind: &str) -> Option<Finding> {
    let is_ongoing = |finding: &Finding| finding.task.kind == kind && finding.ongoing.is_some();
    scope.findings().findings.into_iter().find(is_ongoing)
}

#[inline(never)]
fn takes_both(first: &Mutex<()>, second: &Mutex<()>, both_locked: &Meeting) {
    let _first = first.lock().unwrap();
    both_locked.wait();
    let _second = second.lock().unwrap();
    std::hint::black_box(());
}

#[test]
fn a_deadlock_is_one_finding_and_names_both_tasks() {
    let scope = scope();
    let runtime = runtime(&scope, 2);
    let locks = Arc::new([Mutex::new(()), Mutex::new(())]);
    let both_locked = Arc::new(Meeting::new(2));
    for (name, order) in [("left", [0, 1]), ("right", [1, 0])] {
        let (locks, both_locked) = (Arc::clone(&locks), Arc::clone(&both_locked));
        let [first, second] = order;
        runtime.spawn(async move {
            spawn(name, async move { takes_both(&locks[first], &locks[second], &both_locked) }).await
        });
    }
    both_locked.gather(&runtime);
    let finding = eventually("the finding of both tasks", || {
        let findings = scope.findings().findings;
        let found = findings.into_iter().find(|finding| finding.cause == Cause::Lock)?;
        (found.count == 2 && found.ongoing? > Duration::from_secs(1)).then_some(found)
    });
    assert!(finding.site.unwrap().function.ends_with("takes_both"));
    let stalls = scope.stalls(None).stalls;
    let mut tasks: Vec<_> = stalls.iter().filter(|s| s.end.is_none()).map(|s| s.task.as_str()).collect();
    tasks.sort_unstable();
    assert_eq!(tasks, ["left", "right"]);
    // The tasks never end.
    runtime.shutdown_background();
}

#[test]
fn a_hang_is_reported_while_it_lasts() {
    let (reported, reports) = std::sync::mpsc::channel();
    let scope = loopscope::Scope::builder()
        .terminal(loopscope::Terminal::Never)
        .on_finding(move |finding| drop(reported.send(finding.clone())))
        .start()
        .unwrap();
    let runtime = runtime(&scope, 1);
    let release = Arc::new(Barrier::new(2));
    let hang_until = Arc::clone(&release);
    runtime.spawn(async move { spawn("hangs", async move { hang_until.wait().is_leader() }).await });
    let report = reports.recv_timeout(Duration::from_secs(60)).expect("a report before the end");
    assert!(report.ongoing.is_some_and(|age| age >= Duration::from_secs(1)), "{report:#?}");
    let age = scope.snapshot().longest_active_poll();
    assert!(age >= Duration::from_secs(1), "{age:?}");
    assert!(ongoing(&scope, "hangs").unwrap().ongoing.unwrap() + Duration::from_millis(500) >= age);
    release.wait();
}

#[inline(never)]
fn holds_until(lock: &Mutex<()>, held: &Barrier, is_released: &AtomicBool) {
    let _guard = lock.lock().unwrap();
    held.wait();
    while !is_released.load(Relaxed) {
        thread::sleep(common::STALL);
    }
}

#[inline(never)]
fn waits_for(lock: &Mutex<()>) {
    drop(lock.lock().unwrap());
}

#[test]
fn a_lock_finding_names_the_holder_and_counts_the_waiters() {
    let scope = scope();
    let runtime = runtime(&scope, 3);
    let lock = Arc::new(Mutex::new(()));
    let held = Arc::new(Barrier::new(2));
    let is_released = Arc::new(AtomicBool::new(false));
    let (holder_lock, holder_held) = (Arc::clone(&lock), Arc::clone(&held));
    let released = Arc::clone(&is_released);
    let holder = runtime.spawn(async move {
        spawn("holder", async move { holds_until(&holder_lock, &holder_held, &released) }).await
    });
    held.wait();
    let waiters = [(); 2].map(|()| {
        let lock = Arc::clone(&lock);
        runtime.spawn(loopscope::Named::named(async move { waits_for(&lock) }, "waiter"))
    });
    eventually("both waits for the held lock", || {
        ongoing(&scope, "waiter").filter(|found| found.count == 2 && found.detail.holder.is_some())
    });
    is_released.store(true, Relaxed);
    for task in waiters {
        runtime.block_on(task).unwrap();
    }
    runtime.block_on(holder).unwrap().unwrap();
    let found = common::finding(&scope, "waiter");
    assert_eq!(
        (found.cause, found.count),
        (Cause::Lock, 2),
        "waits for one lock at one place are one finding"
    );
    assert_eq!(found.detail.waiters, 2, "{found:#?}");
    let holder = found.detail.holder.expect("the holder is known");
    assert!(holder.contains("task `holder`, in `std::thread::sleep` at tests/hang.rs:"), "{holder}");
}

/// Waits until the wait of the task `waiter` for a lock has a holder.
fn holder_of_awaited_lock(scope: &loopscope::Scope) -> Finding {
    eventually("the holder", || ongoing(scope, "waiter").filter(|finding| finding.detail.holder.is_some()))
}

#[inline(never)]
fn blocks_on_with_lock(
    lock: &Mutex<()>,
    handle: &tokio::runtime::Handle,
    held: &Barrier,
    released: tokio::sync::oneshot::Receiver<()>,
) {
    let _guard = lock.lock().unwrap();
    held.wait();
    handle.block_on(released).unwrap();
    std::hint::black_box(());
}

#[test]
fn the_holder_may_be_a_thread_of_the_blocking_pool() {
    let scope = scope();
    let runtime = runtime(&scope, 1);
    let (lock, held) = (Arc::new(Mutex::new(())), Arc::new(Barrier::new(2)));
    let (release, released) = tokio::sync::oneshot::channel();
    let (holder_lock, holder_held, handle) = (Arc::clone(&lock), Arc::clone(&held), runtime.handle().clone());
    let holder =
        runtime.spawn_blocking(move || blocks_on_with_lock(&holder_lock, &handle, &holder_held, released));
    held.wait();
    let context = runtime.enter();
    let waiter = spawn("waiter", async move { waits_for(&lock) });
    drop(context);
    let found = holder_of_awaited_lock(&scope);
    let text = found.detail.holder.as_deref().unwrap();
    let expected = "blocking-pool thread `tokio-rt-worker`, in `tokio::runtime::handle::Handle::block_on` at tests/hang.rs:";
    assert!(text.starts_with(expected), "{text}");
    release.send(()).unwrap();
    runtime.block_on(waiter).unwrap();
    runtime.block_on(holder).unwrap();
}

#[inline(never)]
fn reads_until(lock: &RwLock<()>, held: &Barrier, is_released: &AtomicBool) {
    let _guard = lock.read().unwrap();
    held.wait();
    while !is_released.load(Relaxed) {
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn the_holder_may_be_a_thread_that_the_program_started() {
    let scope = scope();
    let runtime = runtime(&scope, 1);
    let (lock, held) = (Arc::new(RwLock::new(())), Arc::new(Barrier::new(2)));
    let is_released = Arc::new(AtomicBool::new(false));
    let (holder_lock, holder_held) = (Arc::clone(&lock), Arc::clone(&held));
    let released = Arc::clone(&is_released);
    // The kernel cuts this name in the middle of a character.
    let holder = thread::Builder::new()
        .name("\u{43F}".repeat(8))
        .spawn(move || reads_until(&holder_lock, &holder_held, &released))
        .unwrap();
    held.wait();
    let context = runtime.enter();
    let waiter = spawn("waiter", async move { drop(lock.write().unwrap()) });
    drop(context);
    let found = holder_of_awaited_lock(&scope);
    let text = found.detail.holder.as_deref().unwrap();
    let expected = "thread `\u{43F}\u{43F}\u{43F}\u{43F}\u{43F}\u{43F}\u{43F}\u{FFFD}`, in `std::thread::sleep` at tests/hang.rs:";
    assert!(text.starts_with(expected), "{text}");
    is_released.store(true, Relaxed);
    runtime.block_on(waiter).unwrap();
    holder.join().unwrap();
}

/// Which thread ends this wait is not known: the address is not that of a lock.
#[test]
fn a_wait_for_a_message_has_no_holder() {
    let scope = scope();
    let runtime = runtime(&scope, 1);
    let (send, receive) = mpsc::channel::<()>();
    let context = runtime.enter();
    let waiter = spawn("waiter", async move { receive.recv().is_err() });
    drop(context);
    let found = eventually("a long wait", || {
        ongoing(&scope, "waiter").filter(|finding| finding.ongoing.unwrap() > Duration::from_millis(900))
    });
    assert_eq!((found.cause, found.detail.holder), (Cause::Channel, None));
    assert!(!found.advice.contains("guard"), "{}", found.advice);
    drop(send);
    assert!(runtime.block_on(waiter).unwrap());
}
