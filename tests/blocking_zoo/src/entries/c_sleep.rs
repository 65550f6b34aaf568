//! Calls a sleep function of the C library.

use std::time::Duration;

pub(crate) async fn prepare(stall: Duration) {
    // SAFETY: the function takes a number only.
    unsafe { libc::usleep(stall.as_micros() as u32) }; // BLOCKS: sleep usleep
    crate::stage::keep();
}
