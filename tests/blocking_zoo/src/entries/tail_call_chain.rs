//! Blocks in the last call of a function that was the last call of another.
//! None of the three is on the stack.

use std::thread;
use std::time::Duration;

#[inline(never)]
fn wait(stall: Duration) {
    thread::sleep(stall + Duration::from_nanos(1)); // BLOCKS: sleep std::thread::sleep
}

#[inline(never)]
fn wait_for(millis: u64) {
    wait(Duration::from_millis(millis));
}

#[inline(never)]
fn wait_or_not(millis: u64, is_due: bool) -> bool {
    if is_due {
        wait_for(millis);
    }
    is_due
}

#[inline(never)]
fn wait_twice_as_long(millis: u64) {
    wait_for(millis + 1);
}

pub(crate) async fn prepare(stall: Duration) {
    // A function that has the same calls, but is not part of the stall.
    std::hint::black_box(wait_or_not(0, std::hint::black_box(false)));
    wait_twice_as_long(stall.as_millis() as u64);
    crate::stage::keep();
}
