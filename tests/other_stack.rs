//! A task may block on another stack than its thread's own: of a coroutine, of
//! a fiber, or a stack that a recursive function allocates to grow.
#![cfg(all(target_os = "linux", target_arch = "x86_64", target_env = "gnu"))]
// SAFETY of all unsafe blocks: `on_other_stack` argues it.
#![allow(unsafe_code, clippy::undocumented_unsafe_blocks)]

mod common;

use std::cell::Cell;
use std::time::{Duration, Instant};
use std::{io, mem, ptr, thread};

use common::{STALL, compute, finding, runtime, scope};
use loopscope::{Cause, Evidence};

const OTHER_STACK_BYTES: usize = 256 * 1024;

thread_local! {
    static WORK: Cell<fn()> = const { Cell::new(|| {}) };
}

extern "C" fn run_work() {
    WORK.get()();
}

/// Runs `work`, which must not panic, on a stack of its own.
///
/// The two contexts and the stack outlive `swapcontext`, which returns once
/// `run_work` has returned to `back`. The stack is large enough for `work`, and
/// `makecontext` aligns it.
#[inline(never)]
fn on_other_stack(work: fn()) {
    WORK.set(work);
    let mut stack = vec![0_u8; OTHER_STACK_BYTES];
    unsafe {
        let mut back: libc::ucontext_t = mem::zeroed();
        let mut there: libc::ucontext_t = mem::zeroed();
        assert_eq!(libc::getcontext(&raw mut there), 0);
        there.uc_stack.ss_sp = stack.as_mut_ptr().cast();
        there.uc_stack.ss_size = stack.len();
        there.uc_link = &raw mut back;
        libc::makecontext(&raw mut there, run_work, 0);
        assert_eq!(libc::swapcontext(&raw mut back, &raw const there), 0);
    }
    drop(stack);
}

#[inline(never)]
fn sleeps() {
    thread::sleep(STALL);
    std::hint::black_box(());
}

#[inline(never)]
fn computes() {
    compute(STALL);
}

/// A signal would interrupt this call.
#[inline(never)]
fn polls() {
    let begin = Instant::now();
    let returned = unsafe { libc::poll(ptr::null_mut(), 0, STALL.as_millis() as i32) };
    let (error, took) = (io::Error::last_os_error(), begin.elapsed());
    if returned != 0 || took < STALL - Duration::from_millis(1) {
        eprintln!("poll returned {returned} after {took:?}: {error}");
        std::process::abort();
    }
}

#[test]
fn waits_on_another_stack_are_found_at_their_functions() {
    for (name, work, cause, call, function) in [
        ("sleeper", sleeps as fn(), Cause::Sleep, "clock_nanosleep", "sleeps"),
        ("poller", polls, Cause::Other, "poll", "polls"),
    ] {
        let scope = scope();
        let runtime = runtime(&scope, 1);
        let task = async move { on_other_stack(work) };
        runtime.block_on(async { loopscope::spawn(name, task).await }).unwrap();
        let finding = finding(&scope, name);
        assert_eq!(finding.cause, cause, "{finding:#?}");
        assert_eq!(finding.detail.syscall.as_deref(), Some(call));
        assert!(finding.total + finding.split.not_own() >= STALL, "{finding:#?}");
        assert!(finding.site.as_ref().unwrap().function.ends_with(function), "{finding:#?}");
    }
}

/// The signal handler does not know the bounds of the other stack, so it copies
/// nothing.
#[test]
fn a_computation_on_another_stack_is_found_without_its_line() {
    let scope = scope();
    let runtime = runtime(&scope, 1);
    let task = async { on_other_stack(computes) };
    runtime.block_on(async { loopscope::spawn("computer", task).await }).unwrap();
    let finding = finding(&scope, "computer");
    assert_eq!(finding.cause, Cause::Cpu, "{finding:#?}");
    assert_eq!(finding.evidence, Evidence::None, "{finding:#?}");
    assert!(finding.total + finding.split.not_own() >= STALL, "{finding:#?}");
}
