//! Stands for the hooks of async-profiler's Rust agent, whose profiler is a
//! separate library that is not installed here.
//!
//! The hooks of version 0.1.15 read the time stamp counter before each poll,
//! note it and the thread's count of samples, and write an event after the poll
//! only if a sample was taken during it. The profiler's library returns the
//! place of that count. Here a function pointer does, so that the compiler
//! cannot see through the call. No sample is ever taken.

use std::cell::Cell;
use std::hint::black_box;
use std::sync::OnceLock;

thread_local! {
    static SAMPLES: Cell<u64> = const { Cell::new(0) };
    static BEGIN_TICKS: Cell<u64> = const { Cell::new(0) };
    static SAMPLES_BEFORE: Cell<u64> = const { Cell::new(0) };
}

/// The function of the profiler's library, once it is loaded.
static LIBRARY: OnceLock<extern "C" fn() -> u64> = OnceLock::new();

extern "C" fn samples_of_thread() -> u64 {
    SAMPLES.get()
}

fn samples() -> u64 {
    LIBRARY.get_or_init(|| black_box(samples_of_thread))()
}

pub fn before_poll() {
    BEGIN_TICKS.set(ticks());
    SAMPLES_BEFORE.set(samples());
}

pub fn after_poll() {
    if samples() != SAMPLES_BEFORE.get() {
        write_event(BEGIN_TICKS.get());
    }
}

#[cold]
#[inline(never)]
fn write_event(begin_ticks: u64) {
    black_box((begin_ticks, ticks()));
}

#[cfg(target_arch = "x86_64")]
fn ticks() -> u64 {
    // SAFETY: every x86_64 processor has this instruction.
    unsafe { core::arch::x86_64::_rdtsc() }
}

#[cfg(target_arch = "aarch64")]
fn ticks() -> u64 {
    let ticks;
    // SAFETY: Linux lets user code read this register.
    unsafe { core::arch::asm!("mrs {}, cntvct_el0", out(reg) ticks) };
    ticks
}
