//! A process that is watched may fork, in any order of `fork` and start. The
//! child works, or says once that it is not watched. It never aborts, panics or
//! hangs.
//!
//! Each scenario runs in a separate process: see `common::run_scenario`.
#![cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
#![allow(unsafe_code)]

#[macro_use]
mod common;

use std::fs;
#[cfg(feature = "telemetry")]
use std::io::{Read as _, Write as _};
#[cfg(feature = "telemetry")]
use std::net::SocketAddr;
#[cfg(feature = "telemetry")]
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::panic::{self, AssertUnwindSafe};
use std::path::PathBuf;
use std::process::{self, Command};
use std::sync::atomic::AtomicI32;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::{compute, eventually, in_child, runtime, scope};
use loopscope::{Evidence, Named, Scope, Terminal};
use tokio::runtime::{Builder, Runtime};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

/// What the child's warning contains.
const WARNING: &str = "this process was forked after its scope had started";

scenarios! {
    a_scope_that_starts_after_the_fork_works runs fork_before_start;
    a_child_starts_a_scope_of_its_own runs second_scope_in_child;
    a_child_executes_a_program runs exec_in_child;
    a_callback_can_fork_and_return runs fork_in_callback;
    a_hook_in_a_child_calls_no_subscriber runs subscriber_locked_at_the_fork;
    a_child_prints_although_a_report_was_being_printed runs fork_during_a_report;
    locks_that_were_held_at_the_fork_do_not_stop_the_child runs many_forks_under_load;
}

#[test]
fn a_child_that_uses_the_scope_warns_once() {
    for scenario in ["daemonize", "runtime_in_child", "fork_in_a_task", "fork_in_a_worker"] {
        let text = common::run_scenario(scenario);
        assert_eq!(text.matches(WARNING).count(), 1, "{scenario}: {text}");
    }
}

#[test]
fn a_child_says_nothing_of_a_scope_that_has_ended_or_that_its_own_replaces() {
    for scenario in ["ended_before_fork", "own_scope_replaces_the_parents"] {
        let text = common::run_scenario(scenario);
        assert!(!text.contains(WARNING), "{scenario}: {text}");
    }
}

#[cfg(feature = "telemetry")]
#[test]
fn a_child_does_not_keep_the_telemetry_address() {
    common::run_scenario("child_outlives_the_listener");
}

/// A scope that also prints what it says.
fn printing_scope() -> Scope {
    Scope::builder().terminal(Terminal::Always).start().unwrap()
}

fn current_thread_runtime(scope: &Scope) -> Runtime {
    let mut builder = Builder::new_current_thread();
    scope.watch(builder.enable_all()).build().unwrap()
}

#[inline(never)]
fn computes() {
    compute(Duration::from_millis(100));
    std::hint::black_box(());
}

/// Checks that a computation is found with its stack. On a busy machine the
/// watchdog may miss the first one.
fn assert_works(scope: &Scope, name: &'static str) {
    let runtime = runtime(scope, 1);
    eventually("a stack", || {
        runtime.block_on(async { loopscope::spawn(name, async { computes() }).await }).unwrap();
        let findings = scope.findings().findings;
        findings.into_iter().any(|found| found.evidence == Evidence::Stack).then_some(())
    });
}

/// Uses everything that a scope has.
fn use_scope(scope: &Scope) {
    assert!(scope.findings().findings.is_empty());
    assert!(scope.snapshot().kinds.is_empty());
    assert!(scope.stalls(None).stalls.is_empty());
    let runtime = current_thread_runtime(scope);
    let canary = scope.canary("in the child");
    scope.block_on(&runtime, async {
        tokio::spawn(canary).await.unwrap();
        loopscope::spawn("named", async { common::spin(Duration::from_millis(12)) }).await.unwrap();
        loopscope::spawn_blocking("call", || ()).await.unwrap();
    });
}

/// The program forks after the start, as `daemonize` does. The child continues.
#[test]
#[ignore = "a scenario that another test runs in a child process"]
fn daemonize() {
    let scope = printing_scope();
    in_child(|| {
        use_scope(&scope);
        drop(scope);
    });
}

/// The runtime exists before the fork, and only the hooks can say something.
#[test]
#[ignore = "a scenario that another test runs in a child process"]
fn runtime_in_child() {
    let scope = printing_scope();
    let runtime = current_thread_runtime(&scope);
    runtime.block_on(async { tokio::spawn(async { computes() }).await }).unwrap();
    in_child(|| {
        for _ in 0..2 {
            runtime.block_on(async {
                tokio::spawn(async { computes() }).await.unwrap();
                // Without `tokio_unstable`, only a park calls a hook.
                tokio::time::sleep(Duration::from_millis(1)).await;
            });
        }
        drop(runtime);
        drop(scope);
    });
}

/// A task forks, and the child runs the task and its runtime to their ends.
#[test]
#[ignore = "a scenario that another test runs in a child process"]
fn fork_in_a_task() {
    let scope = printing_scope();
    let runtime = current_thread_runtime(&scope);
    in_task_of_child(&runtime, || {
        runtime.block_on(async {
            tokio::task::yield_now().await;
            tokio::spawn(async { computes() }.named("in the child")).await.unwrap();
        });
        drop(scope);
    });
}

/// Forks in a task. The child continues that task, and then runs `after`.
fn in_task_of_child(runtime: &Runtime, after: impl FnOnce()) {
    let is_child = runtime.block_on(async {
        let task = async {
            // SAFETY: see `in_child`.
            let pid = unsafe { libc::fork() };
            tokio::task::yield_now().await;
            pid
        };
        loopscope::spawn("forks", task).await.unwrap()
    });
    if is_child == 0 {
        let result = panic::catch_unwind(AssertUnwindSafe(after));
        process::exit(if result.is_ok() { 7 } else { 101 });
    }
    let status = eventually("the end of the child", || {
        let mut status = 0;
        // SAFETY: the call writes only to `status`.
        (unsafe { libc::waitpid(is_child, &raw mut status, libc::WNOHANG) } != 0).then_some(status)
    });
    assert!(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 7, "status {status:#x}");
}

/// A worker thread forks and drops the scope in the child.
#[test]
#[ignore = "a scenario that another test runs in a child process"]
fn fork_in_a_worker() {
    let scope = Arc::new(Mutex::new(Some(printing_scope())));
    let runtime = runtime(scope.lock().unwrap().as_ref().unwrap(), 2);
    let task = async move {
        in_child(|| {
            let scope = scope.lock().unwrap().take().unwrap();
            use_scope_without_runtime(&scope);
            drop(scope);
        });
    };
    runtime.block_on(async { loopscope::spawn("forks", task).await }).unwrap();
}

fn use_scope_without_runtime(scope: &Scope) {
    assert!(scope.findings().findings.is_empty());
    drop(scope.canary("in the child"));
}

#[test]
#[ignore = "a scenario that another test runs in a child process"]
fn fork_before_start() {
    in_child(|| assert_works(&scope(), "in the child"));
    assert_works(&scope(), "in the parent");
}

#[test]
#[ignore = "a scenario that another test runs in a child process"]
fn second_scope_in_child() {
    let parents = scope();
    assert_works(&parents, "before the fork");
    in_child(|| {
        assert_works(&scope(), "in the child");
        in_child(|| assert_works(&scope(), "in the child of the child"));
        drop(parents);
        assert_works(&scope(), "after the parent's scope");
    });
    let again = scope();
    assert_works(&again, "after the fork");
}

#[test]
#[ignore = "a scenario that another test runs in a child process"]
fn exec_in_child() {
    let scope = scope();
    assert_works(&scope, "before the fork");
    let mut command = Command::new("true");
    // SAFETY: the closure does nothing. Its presence makes std use `fork`.
    unsafe { command.pre_exec(|| Ok(())) };
    assert!(command.status().unwrap().success());
    assert_works(&scope, "after the fork");
}

/// The child has no other thread than the one that runs the callback, so it
/// ends after that.
#[test]
#[ignore = "a scenario that another test runs in a child process"]
fn fork_in_callback() {
    static CHILD: AtomicI32 = AtomicI32::new(-1);
    let callback = |_: &loopscope::Finding| {
        if CHILD.load(Relaxed) == -1 {
            // SAFETY: see `in_child`.
            CHILD.store(unsafe { libc::fork() }, Relaxed);
        }
    };
    let scope = Scope::builder().terminal(Terminal::Never).on_finding(callback).start().unwrap();
    assert_works(&scope, "forks");
    eventually("the end of the child", || {
        let child = CHILD.load(Relaxed);
        // SAFETY: null is allowed.
        (child > 0 && unsafe { libc::waitpid(child, std::ptr::null_mut(), libc::WNOHANG) } == child)
            .then_some(())
    });
    assert_works(&scope, "after the fork");
}

/// The threads of loopscope and of the runtime take their locks all the time.
#[test]
#[ignore = "a scenario that another test runs in a child process"]
fn many_forks_under_load() {
    let builder = Scope::builder().terminal(Terminal::Never).blocking_threshold(Duration::from_millis(1));
    let shared = Mutex::new(builder.captures_per_second(10_000).start().ok());
    let runtime = runtime(shared.lock().unwrap().as_ref().unwrap(), 2);
    let load = runtime.spawn(async {
        loop {
            loopscope::spawn("stalls", async { common::spin(Duration::from_millis(2)) }).await.unwrap();
        }
    });
    for _ in 0..50 {
        in_child(|| {
            let parents = shared.lock().unwrap().take().unwrap();
            use_scope(&parents);
            let own = scope();
            use_own_scope(&own);
            drop(own);
            drop(parents);
        });
    }
    load.abort();
}

fn use_own_scope(scope: &Scope) {
    let runtime = current_thread_runtime(scope);
    scope.block_on(&runtime, async { tokio::spawn(async {}).await.unwrap() });
    assert!(scope.snapshot().kinds.iter().any(|kind| kind.name == "main"));
}

/// The parent starts its telemetry again while the child lives, and then the
/// child starts its own at the same address.
#[cfg(feature = "telemetry")]
#[test]
#[ignore = "a scenario that another test runs in a child process"]
fn child_outlives_the_listener() {
    let start = |address| Scope::builder().terminal(Terminal::Never).telemetry(address).start().unwrap();
    let parents = start(SocketAddr::from(([127, 0, 0, 1], 0)));
    let address = parents.telemetry_address().unwrap();
    let (mut of_parent, mut of_child) = UnixStream::pair().unwrap();
    let restart = std::thread::spawn(move || {
        of_parent.read_exact(&mut [0]).unwrap();
        drop(parents);
        drop(start(address));
        of_parent.write_all(&[0]).unwrap();
    });
    in_child(|| {
        of_child.write_all(&[0]).unwrap();
        of_child.read_exact(&mut [0]).unwrap();
        let own = start(address);
        assert_eq!(own.telemetry_address(), Some(address));
    });
    restart.join().unwrap();
}

#[test]
#[ignore = "a scenario that another test runs in a child process"]
fn ended_before_fork() {
    let scope = printing_scope();
    let runtime = current_thread_runtime(&scope);
    drop(scope);
    in_child(|| runtime.block_on(async { tokio::spawn(async {}).await.unwrap() }));
}

/// The thread has poll stacks of both scopes.
#[test]
#[ignore = "a scenario that another test runs in a child process"]
fn own_scope_replaces_the_parents() {
    let parents = printing_scope();
    let runtime = current_thread_runtime(&parents);
    runtime.block_on(async { tokio::spawn(async {}).await.unwrap() });
    in_child(|| {
        let own = printing_scope();
        use_own_scope(&own);
        runtime.block_on(async { tokio::spawn(async {}).await.unwrap() });
        drop(own);
        drop(parents);
    });
}

/// Takes a lock for each event, as a subscriber with a writer does.
struct LockingLayer;

static SUBSCRIBER_LOCK: Mutex<u32> = Mutex::new(0);

impl<S: tracing::Subscriber> Layer<S> for LockingLayer {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        if event.metadata().target() == "loopscope" && *event.metadata().level() == tracing::Level::WARN {
            *SUBSCRIBER_LOCK.lock().unwrap() += 1;
        }
    }
}

/// A thread of the application is in the subscriber at the moment of the fork.
/// Then only a call of the application may emit the warning.
#[test]
#[ignore = "a scenario that another test runs in a child process"]
fn subscriber_locked_at_the_fork() {
    let subscriber = tracing_subscriber::registry().with(LockingLayer);
    tracing::subscriber::set_global_default(subscriber).unwrap();
    let scope = printing_scope();
    let runtime = current_thread_runtime(&scope);
    let polls = || runtime.block_on(async { tokio::spawn(async {}).await.unwrap() });
    polls();
    let locked = SUBSCRIBER_LOCK.lock().unwrap();
    in_child(|| {
        polls();
        assert_eq!(*locked, 0);
        drop(locked);
        assert!(scope.findings().findings.is_empty());
        assert_eq!(*SUBSCRIBER_LOCK.lock().unwrap(), 1, "one event");
    });
}

/// Returns whether a thread of loopscope waits in a write to stderr.
fn is_printing() -> bool {
    let is_printing = |task: PathBuf| {
        let call = fs::read_to_string(task.join("syscall")).unwrap_or_default();
        let is_own = fs::read_to_string(task.join("comm")).is_ok_and(|name| name.starts_with("loopscope-"));
        is_own && call.starts_with(&format!("{} 0x2 ", libc::SYS_write))
    };
    fs::read_dir("/proc/self/task").unwrap().any(|task| is_printing(task.unwrap().path()))
}

/// stderr is a pipe that nothing reads, and it is full. The process forks while
/// loopscope waits for room to print a report.
#[test]
#[ignore = "a scenario that another test runs in a child process"]
fn fork_during_a_report() {
    let mut pipe = [0; 2];
    // SAFETY: the calls get numbers and pointers to initialised locals.
    let stderr = unsafe {
        assert_eq!(libc::pipe2(pipe.as_mut_ptr(), libc::O_NONBLOCK), 0);
        let bytes = [b'x'; 4096];
        while libc::write(pipe[1], bytes.as_ptr().cast(), bytes.len()) > 0 {}
        libc::fcntl(pipe[1], libc::F_SETFL, 0);
        let stderr = libc::dup(2);
        libc::dup2(pipe[1], 2);
        stderr
    };
    let scope = printing_scope();
    let runtime = runtime(&scope, 1);
    runtime.block_on(async { loopscope::spawn("computes", async { computes() }).await }).unwrap();
    eventually("a report that waits for room", || is_printing().then_some(()));
    let mut status = 0;
    // SAFETY: see `in_child`. The parent prints nothing before the child has
    // ended. `status` is a local.
    unsafe {
        libc::dup2(stderr, 2);
        let pid = libc::fork();
        if pid == 0 {
            libc::alarm(5);
            eprintln!("the child prints");
            libc::_exit(7);
        }
        libc::waitpid(pid, &raw mut status, 0);
        // Ends the write.
        libc::close(pipe[0]);
        libc::close(pipe[1]);
    }
    drop(scope);
    assert!(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 7, "status {status:#x}");
}
