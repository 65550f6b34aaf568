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
use loopscope::{Cause, Finding, Named, Recording, Scope, Terminal};
use tokio::runtime::{Builder, Runtime};
use tokio::task::{JoinHandle, LocalSet, yield_now};

const FLUSH_TIMEOUT: Duration = Duration::from_secs(30);

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
        assert!(scope.flush(FLUSH_TIMEOUT));
    }
    let finding = find(&scope, "blocked").unwrap();
    assert_eq!((finding.count, finding.ongoing), (STALLS, None), "{finding:#?}");
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
