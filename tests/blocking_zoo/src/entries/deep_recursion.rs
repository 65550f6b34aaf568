//! Blocks at the bottom of a recursion of 400 frames.

use std::thread;
use std::time::Duration;

#[inline(never)]
fn descend(depth: u32, stall: Duration) -> u32 {
    if depth == 0 {
        thread::sleep(stall); // BLOCKS: sleep std::thread::sleep
        return 0;
    }
    std::hint::black_box(descend(depth - 1, stall)) + 1
}

pub(crate) async fn prepare(stall: Duration) {
    std::hint::black_box(descend(400, stall));
}
