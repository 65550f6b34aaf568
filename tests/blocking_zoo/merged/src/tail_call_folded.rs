//! Calls one of two functions that the compiler has merged. Their calls have
//! become one, which has no line: only the function with both calls is certain.

use std::thread;
use std::time::Duration;

#[inline(never)]
fn read(stall: Duration) {
    thread::sleep(stall);
}

#[inline(never)]
fn write(stall: Duration) {
    thread::sleep(stall);
}

#[inline(never)]
fn access(stall: Duration, is_write: bool) {
    // BLOCKS IN THIS FUNCTION: sleep std::thread::sleep
    if is_write {
        write(stall);
    } else {
        read(stall);
    }
    crate::keep();
}

/// Blocks in `write`.
pub fn block(stall: Duration) {
    access(Duration::ZERO, std::hint::black_box(false));
    access(stall, std::hint::black_box(true));
}
