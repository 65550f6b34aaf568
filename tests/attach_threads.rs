//! What `ps` says of the threads of another process: of a child of each test,
//! which is this test program itself.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use std::{env, hint, io, thread};

use loopscope::attach::{self, PsRole, PsThread, PsThreadState};
use loopscope::{Cause, Evidence};

/// Time after which a test fails. A reading takes a second in a debug build.
const TIMEOUT: Duration = Duration::from_secs(60);
/// A child outlives no test: it ends with its stdin.
const FOREVER: Duration = Duration::from_secs(100_000);

/// Another process, which ends with this value.
struct Target(Child);

impl Target {
    /// Starts a scenario and waits until it says that it is ready.
    fn start(scenario: &str) -> Self {
        let mut command = Command::new(env::current_exe().unwrap());
        command.args(["--exact", scenario, "--ignored", "--nocapture"]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(lines.map_while(Result::ok).any(|line| line.ends_with("ready")), "{scenario} is not ready");
        Self(child)
    }

    /// Returns the threads once `is_expected` holds for them.
    fn threads_when(&self, is_expected: impl Fn(&[PsThread]) -> bool) -> Vec<PsThread> {
        let begin = Instant::now();
        loop {
            let document = attach::ps(self.0.id() as i32).unwrap();
            if is_expected(&document.threads) {
                return document.threads;
            }
            assert!(begin.elapsed() < TIMEOUT, "the threads do not do what they should: {document:#?}");
        }
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Ends the process when a scenario panics, so that its test does not wait.
fn end_with_a_panic() {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        hook(panic);
        std::process::abort();
    }));
}

fn say_ready_and_end_with_the_test() {
    println!("ready");
    let _ = io::stdin().read_line(&mut String::new());
    std::process::exit(0);
}

#[inline(never)]
fn naps() {
    thread::sleep(FOREVER);
    hint::black_box(1_u8);
}

#[inline(never)]
fn takes(lock: &Mutex<u8>) {
    *lock.lock().unwrap() += 1;
    hint::black_box(2_u8);
}

#[inline(never)]
fn computes() {
    let mut number = 0_u64;
    loop {
        number = hint::black_box(number.wrapping_mul(31) + 1);
    }
}

#[inline(never)]
fn job() {
    thread::sleep(FOREVER);
    hint::black_box(3_u16);
}

#[inline(never)]
fn job_in_place() {
    thread::sleep(FOREVER);
    hint::black_box(4_u32);
}

/// Six workers: one that sleeps, one that waits for a lock, one that computes,
/// one that has left its tasks to another thread, one that drives I/O, and one
/// that is parked.
#[test]
#[ignore = "a scenario that another test runs in a child process"]
fn busy_workers() {
    end_with_a_panic();
    let lock = Arc::new(Mutex::new(0));
    let held = Arc::clone(&lock);
    let (send, is_held) = std::sync::mpsc::channel();
    let holder = thread::Builder::new().name("holder".to_owned());
    let hold = move || {
        let _guard = held.lock().unwrap();
        send.send(()).unwrap();
        thread::sleep(FOREVER);
    };
    holder.spawn(hold).unwrap();
    is_held.recv().unwrap();
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    // A thread of the pool that has nothing to do stays.
    let runtime = builder.worker_threads(6).thread_keep_alive(FOREVER).enable_all().build().unwrap();
    runtime.spawn(async { naps() });
    runtime.spawn(async move { takes(&lock) });
    runtime.spawn(async { computes() });
    let (send, is_in_place) = std::sync::mpsc::channel();
    runtime.spawn(async move {
        tokio::task::block_in_place(move || {
            send.send(()).unwrap();
            job_in_place();
        });
    });
    // An idle thread of the pool would become the worker instead.
    is_in_place.recv().unwrap();
    runtime.spawn_blocking(job);
    runtime.spawn_blocking(|| ());
    for _ in 0..8 {
        runtime.spawn(async { tokio::time::sleep(FOREVER).await });
    }
    say_ready_and_end_with_the_test();
}

fn with(threads: &[PsThread], role: PsRole, state: PsThreadState) -> Vec<&PsThread> {
    threads.iter().filter(|thread| (thread.role, thread.state) == (role, state)).collect()
}

fn is_at(thread: &PsThread, function: &str) -> bool {
    thread.site.as_ref().is_some_and(|site| site.function.ends_with(function))
}

#[test]
fn each_thread_of_a_runtime_has_its_role_and_its_state() {
    let target = Target::start("busy_workers");
    let threads = target.threads_when(|threads| {
        // What waits has waited for as long as the reading took, at least, if
        // it waited already when that began.
        let blocked = with(threads, PsRole::Worker, PsThreadState::Blocked);
        blocked.len() == 2
            && blocked.iter().all(|thread| thread.seconds.is_some_and(|seconds| seconds >= 0.02))
            && with(threads, PsRole::Worker, PsThreadState::DrivingIo).len() == 1
            && with(threads, PsRole::Worker, PsThreadState::Parked).len() == 2
            && with(threads, PsRole::Worker, PsThreadState::Polling).len() == 1
            && with(threads, PsRole::Blocking, PsThreadState::Parked).len() == 1
            && with(threads, PsRole::Blocking, PsThreadState::Waiting).len() == 2
    });
    let blocked = with(&threads, PsRole::Worker, PsThreadState::Blocked);
    let sleeper = blocked.iter().find(|thread| thread.cause == Some(Cause::Sleep)).unwrap();
    assert!(is_at(sleeper, "naps"), "{sleeper:#?}");
    assert_eq!(sleeper.primitive.as_deref(), Some("std::thread::sleep"));
    assert_eq!(sleeper.call.as_deref(), Some("clock_nanosleep"));
    assert!(sleeper.advice.as_ref().unwrap().contains("tokio::time::sleep"), "{sleeper:#?}");
    assert!(sleeper.site.as_ref().unwrap().line.is_some());
    let waiter = blocked.iter().find(|thread| thread.cause == Some(Cause::Lock)).unwrap();
    assert!(is_at(waiter, "takes"), "{waiter:#?}");
    let busy = with(&threads, PsRole::Blocking, PsThreadState::Waiting);
    for function in ["job", "job_in_place"] {
        assert!(busy.iter().any(|thread| is_at(thread, &format!("::{function}"))), "{function}: {busy:#?}");
    }
    let holder = threads.iter().find(|thread| thread.name == "holder").unwrap();
    assert_eq!(holder.role, PsRole::Other, "{holder:#?}");
    let polling = with(&threads, PsRole::Worker, PsThreadState::Polling)[0];
    assert_eq!(polling.evidence, Evidence::Stack);
    assert!(is_at(polling, "computes"), "{polling:#?}");
    assert_eq!(polling.seconds, None);
}

/// Threads that run a `block_on`, and threads that only wait for a message.
#[test]
#[ignore = "a scenario that another test runs in a child process"]
fn other_runtimes() {
    end_with_a_panic();
    let spawn = |name: &str, body: fn()| {
        thread::Builder::new().name(name.to_owned()).spawn(body).unwrap();
    };
    spawn("idle", || on_current_thread(async { tokio::time::sleep(FOREVER).await }));
    spawn("root", || on_current_thread(async { naps() }));
    spawn("task", || on_current_thread(async { tokio::spawn(async { naps() }).await.unwrap() }));
    spawn("local", || {
        let set = tokio::task::LocalSet::new();
        on_current_thread(set.run_until(async { tokio::task::spawn_local(async { naps() }).await.unwrap() }));
    });
    spawn("receiver", || {
        let (_sender, mut receiver) = tokio::sync::mpsc::channel::<u8>(1);
        receiver.blocking_recv();
    });
    say_ready_and_end_with_the_test();
}

fn on_current_thread(future: impl Future) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(future);
}

#[test]
fn a_thread_that_runs_a_block_on_is_told_from_one_that_waits_for_a_message() {
    let target = Target::start("other_runtimes");
    let expected = [
        ("idle", PsRole::BlockOn, PsThreadState::DrivingIo),
        ("root", PsRole::BlockOn, PsThreadState::Blocked),
        ("task", PsRole::BlockOn, PsThreadState::Blocked),
        ("local", PsRole::BlockOn, PsThreadState::Blocked),
        ("receiver", PsRole::Other, PsThreadState::Waiting),
    ];
    let has = |threads: &[PsThread], (name, role, state)| {
        threads.iter().any(|thread| thread.name == name && (thread.role, thread.state) == (role, state))
    };
    let threads = target.threads_when(|threads| expected.iter().all(|thread| has(threads, *thread)));
    for name in ["root", "task", "local"] {
        let thread = threads.iter().find(|thread| thread.name == name).unwrap();
        assert!(is_at(thread, "naps"), "{thread:#?}");
        assert_eq!(thread.cause, Some(Cause::Sleep), "{thread:#?}");
    }
}
