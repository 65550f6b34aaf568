//! Blocks in a function of the C library, as the last call of a function.

use std::time::Duration;

#[inline(never)]
fn wait(stall: Duration) -> i32 {
    // SAFETY: the function takes a number only.
    unsafe { libc::usleep(stall.as_micros() as u32) } // BLOCKS: sleep usleep
}

pub(crate) async fn prepare(stall: Duration) {
    assert_eq!(wait(stall), 0);
}
