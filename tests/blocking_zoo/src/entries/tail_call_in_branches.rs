//! Blocks in the last call of either branch of a function. Nothing tells which
//! of them was taken: the function is certain, the line is not.

use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::Duration;

static LONG_WAITS: AtomicU32 = AtomicU32::new(0);

#[inline(never)]
fn wait(millis: u32, is_short: bool) {
    // BLOCKS IN THIS FUNCTION: sleep std::thread::sleep
    if is_short {
        thread::sleep(Duration::from_millis(millis.into()));
    } else {
        LONG_WAITS.fetch_add(1, Relaxed);
        thread::sleep(Duration::from_secs(millis.into()));
    }
}

pub(crate) async fn prepare(stall: Duration) {
    wait(stall.as_millis() as u32, std::hint::black_box(true));
    crate::stage::keep();
}
