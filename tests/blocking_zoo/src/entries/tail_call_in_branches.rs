//! Blocks in the last call of either branch of a function. Nothing tells which
//! of them was taken: the function is certain, the line is not.

use std::thread;
use std::time::Duration;

#[inline(never)]
fn wait(stall: Duration, is_doubled: bool) {
    // BLOCKS IN THIS FUNCTION: sleep std::thread::sleep
    if is_doubled {
        std::hint::black_box(2);
        thread::sleep(stall * 2);
    } else {
        std::hint::black_box(1);
        thread::sleep(stall);
    }
}

pub(crate) async fn prepare(stall: Duration) {
    wait(stall, std::hint::black_box(false));
    crate::stage::keep();
}
