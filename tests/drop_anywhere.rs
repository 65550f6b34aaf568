//! A scope may be dropped anywhere, also on its own threads. Its threads end,
//! and nothing panics or hangs.
//!
//! Each scenario looks for the threads of a whole process, so it runs in a
//! separate process: see `common::run_scenario`.
#![cfg(target_os = "linux")]
#![allow(unsafe_code)]

#[macro_use]
mod common;

use std::cell::RefCell;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;
use std::{fs, panic, process, thread};

use common::{STALL, eventually, runtime};
use loopscope::{Scope, ScopeBuilder, Terminal};
use tokio::runtime::Builder;
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt};

scenarios! {
    a_scope_can_be_dropped_in_its_callback runs in_callback;
    a_callback_can_own_a_scope runs owned_by_callback;
    two_scopes_can_be_dropped_in_the_callbacks_of_each_other runs in_each_others_callback;
    a_scope_can_be_dropped_in_a_subscriber runs in_subscriber;
    a_scope_can_be_dropped_in_a_task_of_its_runtime runs in_task;
    a_scope_can_be_dropped_at_the_end_of_a_thread runs in_thread_local;
    a_scope_can_be_dropped_while_a_panic_unwinds runs in_unwinding;
    a_scope_can_be_dropped_at_the_exit_of_the_process runs at_exit;
    the_process_can_exit_in_a_callback runs exit_in_callback;
}

/// A scope that a callback can take and drop.
type SharedScope = Arc<Mutex<Option<Scope>>>;

fn builder() -> ScopeBuilder {
    let builder = Scope::builder().terminal(Terminal::Never);
    #[cfg(feature = "telemetry")]
    let builder = builder.telemetry("127.0.0.1:0".parse().unwrap());
    builder
}

/// Blocks a worker of a runtime that the scope watches until the scope is gone.
/// On a busy machine the watchdog may miss a stall.
fn stall(scope: &SharedScope) {
    let runtime = runtime(scope.lock().unwrap().as_ref().unwrap(), 1);
    eventually("the end of the scope", || {
        let sleep = async { loopscope::spawn("sleeper", async { thread::sleep(STALL) }).await };
        runtime.block_on(sleep).unwrap();
        scope.lock().unwrap().is_none().then_some(())
    });
}

fn await_end_of_threads() {
    eventually("the end of loopscope's threads", || (loopscope_threads() == 0).then_some(()));
}

fn loopscope_threads() -> usize {
    let tasks = fs::read_dir("/proc/self/task").unwrap().flatten();
    let names = tasks.flat_map(|task| fs::read_to_string(task.path().join("comm")));
    names.filter(|name| name.starts_with("loopscope-")).count()
}

#[test]
#[ignore = "a scenario that another test runs in a child process"]
fn in_callback() {
    let scope = SharedScope::default();
    let taken = Arc::clone(&scope);
    let started = builder().on_finding(move |_| drop(taken.lock().unwrap().take())).start().unwrap();
    *scope.lock().unwrap() = Some(started);
    // A thread gives itself its name.
    eventually("loopscope's threads", || (loopscope_threads() >= 2).then_some(()));
    stall(&scope);
    await_end_of_threads();
    assert!(scope.lock().unwrap().is_none());
}

/// The reporting thread drops the callback at its end.
#[test]
#[ignore = "a scenario that another test runs in a child process"]
fn owned_by_callback() {
    let owned = builder().start().unwrap();
    let scope = builder().on_finding(move |_| drop(owned.findings())).start().unwrap();
    drop(scope);
    await_end_of_threads();
}

#[test]
#[ignore = "a scenario that another test runs in a child process"]
fn in_each_others_callback() {
    let scopes = [SharedScope::default(), SharedScope::default()];
    let both = Arc::new(std::sync::Barrier::new(2));
    for (scope, other) in [(0, 1), (1, 0)] {
        let (other, both) = (Arc::clone(&scopes[other]), Arc::clone(&both));
        let callback = move |_: &loopscope::Finding| {
            if let Some(other) = other.lock().unwrap().take() {
                both.wait();
                drop(other);
            }
        };
        *scopes[scope].lock().unwrap() = Some(builder().on_finding(callback).start().unwrap());
    }
    let runtimes = [0, 1].map(|n| runtime(scopes[n].lock().unwrap().as_ref().unwrap(), 1));
    eventually("the end of loopscope's threads", || {
        let sleeps = runtimes.each_ref().map(|runtime| {
            let _guard = runtime.enter();
            loopscope::spawn("sleeper", async { thread::sleep(STALL) })
        });
        for (runtime, sleep) in runtimes.iter().zip(sleeps) {
            runtime.block_on(sleep).unwrap();
        }
        (loopscope_threads() == 0).then_some(())
    });
}

/// Drops a scope when it receives an event of loopscope.
struct DropOnEvent(SharedScope);

impl<S: tracing::Subscriber> Layer<S> for DropOnEvent {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        if event.metadata().target().starts_with("loopscope") {
            drop(self.0.lock().unwrap().take());
        }
    }
}

#[test]
#[ignore = "a scenario that another test runs in a child process"]
fn in_subscriber() {
    let scope = SharedScope::default();
    let subscriber = tracing_subscriber::registry().with(DropOnEvent(Arc::clone(&scope)));
    tracing::subscriber::set_global_default(subscriber).unwrap();
    *scope.lock().unwrap() = Some(builder().start().unwrap());
    stall(&scope);
    await_end_of_threads();
    assert!(scope.lock().unwrap().is_none());
}

#[test]
#[ignore = "a scenario that another test runs in a child process"]
fn in_task() {
    for mut runtime in [Builder::new_current_thread(), Builder::new_multi_thread()] {
        let scope = builder().start().unwrap();
        let runtime = scope.watch(runtime.enable_all()).build().unwrap();
        let task = async move {
            thread::sleep(STALL / 4);
            drop(scope);
        };
        runtime.block_on(async { loopscope::spawn("drops", task).await }).unwrap();
        await_end_of_threads();
        runtime.block_on(async { tokio::spawn(async {}).await }).unwrap();
    }
}

#[test]
#[ignore = "a scenario that another test runs in a child process"]
fn in_thread_local() {
    thread_local! {
        static KEPT: RefCell<Option<Scope>> = const { RefCell::new(None) };
    }
    let keep = || KEPT.set(Some(builder().start().unwrap()));
    thread::spawn(keep).join().unwrap();
    await_end_of_threads();
    // A worker that was watched itself.
    let scope = SharedScope::default();
    *scope.lock().unwrap() = Some(builder().start().unwrap());
    let runtime = runtime(scope.lock().unwrap().as_ref().unwrap(), 1);
    runtime.spawn(async move { KEPT.set(scope.lock().unwrap().take()) });
    drop(runtime);
    await_end_of_threads();
}

#[test]
#[ignore = "a scenario that another test runs in a child process"]
fn in_unwinding() {
    let unwinds = panic::catch_unwind(|| {
        let _scope = builder().start().unwrap();
        // Not `panic!`: its hook would write to the terminal.
        panic::resume_unwind(Box::new("the caller catches this"));
    });
    assert!(unwinds.is_err());
    await_end_of_threads();
}

static SCOPE_OF_PROCESS: OnceLock<SharedScope> = OnceLock::new();

fn drop_scope_at_exit(builder: ScopeBuilder) {
    extern "C" fn drop_scope() {
        let scope = SCOPE_OF_PROCESS.get().and_then(|scope| scope.lock().unwrap().take());
        assert!(scope.is_some());
        drop(scope);
    }
    // SAFETY: the function may run at the exit of the process.
    assert_eq!(unsafe { libc::atexit(drop_scope) }, 0);
    let scope = SCOPE_OF_PROCESS.get_or_init(SharedScope::default);
    *scope.lock().unwrap() = Some(builder.start().unwrap());
}

#[test]
#[ignore = "a scenario that another test runs in a child process"]
fn at_exit() {
    drop_scope_at_exit(builder());
    // The scenario's process exits when this function has returned.
}

#[test]
#[ignore = "a scenario that another test runs in a child process"]
fn exit_in_callback() {
    drop_scope_at_exit(builder().on_finding(|_| {
        // What `run_scenario` expects from a scenario that returns.
        println!("1 passed");
        process::exit(0);
    }));
    stall(SCOPE_OF_PROCESS.get().unwrap());
    thread::sleep(Duration::from_secs(60));
    panic!("the callback has not ended the process");
}
