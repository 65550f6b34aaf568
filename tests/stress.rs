//! Stacks are captured at any moment of anything, and nothing breaks.
#![cfg(all(target_os = "linux", target_arch = "x86_64", tokio_unstable))]
#![allow(unsafe_code)]

mod common;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};
use std::{panic, thread};

use common::runtime;
use loopscope::{Scope, Terminal};

const CAPTURES: u64 = 10_000;
/// Far more than it takes: a hang must not hang the tests.
const PATIENCE: Duration = Duration::from_secs(180);
/// A poll of so long is captured once or twice at a threshold of 1 ms.
const POLL: Duration = Duration::from_micros(3_500);

/// Does something over and over for the length of a poll.
fn over_and_over(mut act: impl FnMut(u64)) {
    let begin = Instant::now();
    let mut n = 0;
    while begin.elapsed() < POLL {
        act(n);
        n += 1;
    }
}

fn allocate() {
    let mut kept = Vec::new();
    over_and_over(|n| {
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
        // Not `panic!`, whose hook would write to the terminal.
        panic::resume_unwind(Box::new("caught again at once"));
    }
    unwind_from(depth - 1);
    drop(guard);
}

fn panics() {
    over_and_over(|n| assert!(panic::catch_unwind(|| unwind_from(n % 20)).is_err()));
}

fn load_libraries() {
    const LIBRARIES: [&std::ffi::CStr; 4] =
        [c"libresolv.so.2", c"libutil.so.1", c"libnsl.so.1", c"libanl.so.1"];
    over_and_over(|n| {
        // SAFETY: libraries of the C library's own, which do nothing as they are
        // loaded; what is closed has been opened, and nothing of it is used.
        unsafe {
            let library = libc::dlopen(LIBRARIES[n as usize % LIBRARIES.len()].as_ptr(), libc::RTLD_NOW);
            if !library.is_null() {
                libc::dlclose(library);
            }
        }
    });
}

fn threads_end() {
    over_and_over(|_| thread::spawn(|| std::hint::black_box(vec![1; 100])).join().map(drop).unwrap());
}

/// A watched thread that stalls as it ends.
struct AtTheEnd;

impl Drop for AtTheEnd {
    fn drop(&mut self) {
        allocate();
    }
}

thread_local! {
    static AT_THE_END: AtTheEnd = const { AtTheEnd };
}

/// Workers whose threads end in the middle of it all.
fn workers_come_and_go(scope: &Scope, over: &AtomicBool) {
    while !over.load(Relaxed) {
        let runtime = runtime(scope, 1);
        runtime.spawn(async {
            AT_THE_END.with(|_| ());
            allocate();
        });
        runtime.block_on(async { tokio::task::yield_now().await });
        drop(runtime);
    }
}

fn captured(scope: &Scope, how: &str) -> u64 {
    let captures = scope.snapshot().observer.captures;
    captures.iter().filter(|(name, _)| *name == how).map(|(_, n)| n).sum()
}

#[test]
fn ten_thousand_captures_break_nothing() {
    let scope = Scope::builder()
        .terminal(Terminal::Never)
        .blocking_threshold(Duration::from_millis(1))
        .captures_per_second(100_000)
        .start()
        .unwrap();
    let over = Arc::new(AtomicBool::new(false));
    let runtime = runtime(&scope, 2);
    for act in [allocate, panics, load_libraries, threads_end] {
        let over = Arc::clone(&over);
        runtime.spawn(async move {
            while !over.load(Relaxed) {
                act();
                tokio::task::yield_now().await;
            }
        });
    }
    let begin = Instant::now();
    thread::scope(|threads| {
        threads.spawn(|| workers_come_and_go(&scope, &over));
        while captured(&scope, "signal") < CAPTURES && begin.elapsed() < PATIENCE {
            thread::sleep(Duration::from_millis(20));
        }
        over.store(true, Relaxed);
    });
    let [signal, late] = ["signal", "late"].map(|how| captured(&scope, how));
    println!("{signal} by signal and {late} late in {:?}", begin.elapsed());
    assert!(signal >= CAPTURES, "{signal} captures in {:?}", begin.elapsed());
    // All of them are still in order.
    drop(runtime);
    drop(scope);
}
