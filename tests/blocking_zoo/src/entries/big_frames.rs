//! Blocks below a frame that is larger than the copied part of the stack.

use std::thread;
use std::time::Duration;

#[inline(never)]
fn with_buffer(stall: Duration) -> u8 {
    let mut buffer = [0_u8; 100 * 1024];
    std::hint::black_box(&mut buffer);
    thread::sleep(stall); // BLOCKS: sleep std::thread::sleep
    buffer[std::hint::black_box(5)]
}

pub(crate) async fn prepare(stall: Duration) {
    std::hint::black_box(with_buffer(stall));
}
