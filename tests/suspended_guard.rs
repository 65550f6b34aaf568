//! A lock whose guard a task keeps across an await.
//!
//! This is the only test of its program: a thread that runs at the search might
//! hold the lock, so other tests would delay the result.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

mod common;

use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use common::{eventually, runtime, scope};
use loopscope::spawn;

/// The guard is kept in a task that waits for its answer, so no thread has it.
#[test]
fn a_lock_that_no_thread_holds_is_kept_in_a_suspended_task() {
    let scope = scope();
    let runtime = runtime(&scope, 1);
    let lock = Arc::new(Mutex::new(()));
    let (release, released) = tokio::sync::oneshot::channel::<()>();
    let (send_held, held) = mpsc::channel();
    let holder_lock = Arc::clone(&lock);
    let holder = thread::spawn(move || {
        #[expect(clippy::await_holding_lock, reason = "the mistake that the finding is about")]
        let task = async move {
            let guard = holder_lock.lock().unwrap();
            send_held.send(()).unwrap();
            released.await.unwrap();
            drop(guard);
        };
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let tasks = tokio::task::LocalSet::new();
        let task = tasks.spawn_local(task);
        tasks.block_on(&runtime, task).unwrap();
    });
    held.recv().unwrap();
    let context = runtime.enter();
    let waiter = spawn("waiter", async move { drop(lock.lock().unwrap()) });
    drop(context);
    let found = eventually("the holder", || {
        let findings = scope.findings().findings;
        findings.into_iter().find(|finding| finding.detail.holder.is_some())
    });
    assert!(found.detail.holder.as_deref().unwrap().starts_with("a suspended task"), "{found:#?}");
    assert!(found.advice.contains("across an await"), "{}", found.advice);
    assert!(found.ongoing.unwrap() >= Duration::from_millis(400), "{found:#?}");
    // A later capture keeps the result.
    let at_the_end = found.ongoing.unwrap() * 2 + Duration::from_millis(100);
    let later = eventually("a later report", || {
        let findings = scope.findings().findings;
        findings.into_iter().find(|finding| finding.ongoing.is_some_and(|age| age > at_the_end))
    });
    assert_eq!((later.advice, later.detail.holder), (found.advice, found.detail.holder));
    release.send(()).unwrap();
    runtime.block_on(waiter).unwrap();
    holder.join().unwrap();
}
