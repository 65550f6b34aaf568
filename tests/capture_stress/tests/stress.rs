//! A stack can be captured at any moment: while the thread allocates, unwinds,
//! loads a library, spawns a thread, or ends. Nothing breaks.
#![cfg(all(target_os = "linux", target_arch = "x86_64", tokio_unstable))]
#![allow(unsafe_code)]

#[path = "../../common/mod.rs"]
mod common;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};
use std::{env, panic, thread};

use common::runtime;
use loopscope::{Scope, Signals, Terminal};

const CAPTURES: u64 = 10_000;
/// Sets another number of captures than [`CAPTURES`].
const CAPTURES_VARIABLE: &str = "LOOPSCOPE_STRESS_CAPTURES";
/// Far longer than the test needs. A hang in loopscope must not hang the tests.
const TEST_TIMEOUT: Duration = Duration::from_secs(180);
/// With a threshold of 1 ms, a poll of this duration is captured once or twice.
const POLL_DURATION: Duration = Duration::from_micros(3_500);

/// Repeats an action for [`POLL_DURATION`].
fn repeat_for_one_poll(mut action: impl FnMut(u64)) {
    let begin = Instant::now();
    let mut n = 0;
    while begin.elapsed() < POLL_DURATION {
        action(n);
        n += 1;
    }
}

fn allocate() {
    let mut kept = Vec::new();
    repeat_for_one_poll(|n| {
        kept.push(vec![n as u8; 16 << (n % 14)]);
        if n % 7 == 0 {
            kept.drain(..kept.len() / 2);
        }
    });
}

struct Guard(Vec<u8>);

impl Drop for Guard {
    fn drop(&mut self) {
        std::hint::black_box(&self.0);
    }
}

#[inline(never)]
fn unwind_from(depth: u64) {
    let guard = Guard(vec![1; 64]);
    if depth == 0 {
        // Not `panic!`: its hook would write to the terminal.
        panic::resume_unwind(Box::new("the caller catches this"));
    }
    unwind_from(depth - 1);
    drop(guard);
}

fn unwind_panics() {
    repeat_for_one_poll(|n| assert!(panic::catch_unwind(|| unwind_from(n % 20)).is_err()));
}

fn load_libraries() {
    const LIBRARIES: [&std::ffi::CStr; 4] =
        [c"libresolv.so.2", c"libutil.so.1", c"libnsl.so.1", c"libanl.so.1"];
    repeat_for_one_poll(|n| {
        // SAFETY: these libraries belong to the C library and do nothing when
        // they are loaded. A library is closed only after it was opened, and
        // nothing in it is used.
        unsafe {
            let library = libc::dlopen(LIBRARIES[n as usize % LIBRARIES.len()].as_ptr(), libc::RTLD_NOW);
            if !library.is_null() {
                libc::dlclose(library);
            }
        }
    });
}

fn spawn_threads() {
    repeat_for_one_poll(|_| thread::spawn(|| std::hint::black_box(vec![1; 100])).join().map(drop).unwrap());
}

/// Makes a watched thread stall while it ends.
struct StallOnThreadEnd;

impl Drop for StallOnThreadEnd {
    fn drop(&mut self) {
        allocate();
    }
}

thread_local! {
    static STALL_ON_THREAD_END: StallOnThreadEnd = const { StallOnThreadEnd };
}

/// Starts and ends worker threads while stacks are captured.
fn start_and_end_workers(scope: &Scope, stop: &AtomicBool) {
    while !stop.load(Relaxed) {
        let runtime = runtime(scope, 1);
        runtime.spawn(async {
            STALL_ON_THREAD_END.with(|_| ());
            allocate();
        });
        runtime.block_on(async { tokio::task::yield_now().await });
        drop(runtime);
    }
}

fn captures_with_result(scope: &Scope, result: &str) -> u64 {
    let captures = scope.snapshot().observer.captures;
    captures.iter().filter(|(name, _)| *name == result).map(|(_, n)| n).sum()
}

#[test]
fn ten_thousand_captures_break_nothing() {
    let captures = env::var(CAPTURES_VARIABLE).map_or(CAPTURES, |n| n.parse().unwrap());
    let scope = Scope::builder()
        .terminal(Terminal::Never)
        .blocking_threshold(Duration::from_millis(1))
        .captures_per_second(100_000)
        // Under valgrind, a thread sleeps whenever another one runs, so the
        // default would send no signal.
        .signals(Signals::Always)
        .start()
        .unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let runtime = runtime(&scope, 2);
    for action in [allocate, unwind_panics, load_libraries, spawn_threads] {
        let stop = Arc::clone(&stop);
        runtime.spawn(async move {
            while !stop.load(Relaxed) {
                action();
                tokio::task::yield_now().await;
            }
        });
    }
    let begin = Instant::now();
    thread::scope(|threads| {
        threads.spawn(|| start_and_end_workers(&scope, &stop));
        // Under valgrind, most threads answer late.
        let made = || captures_with_result(&scope, "signal") + captures_with_result(&scope, "late");
        while made() < captures && begin.elapsed() < TEST_TIMEOUT {
            thread::sleep(Duration::from_millis(20));
        }
        stop.store(true, Relaxed);
    });
    let [signal, late] = ["signal", "late"].map(|result| captures_with_result(&scope, result));
    println!("{signal} captures by signal and {late} late ones in {:?}", begin.elapsed());
    assert!(signal + late >= captures, "{signal} + {late} captures in {:?}", begin.elapsed());
    // The runtime and the scope still end.
    drop(runtime);
    drop(scope);
}
