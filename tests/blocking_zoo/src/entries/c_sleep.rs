//! A sleep of the C library's.

use std::time::Duration;

pub(crate) async fn prepare(stall: Duration) {
    // SAFETY: takes a number.
    unsafe { libc::usleep(stall.as_micros() as u32) }; // BLOCKS: sleep usleep
    crate::stage::keep();
}
