//! A recursion that takes exponential time.

use std::hint::black_box;
use std::time::{Duration, Instant};

#[inline(never)]
fn fibonacci(n: u32) -> u64 { // BLOCKS: cpu -
    if n < 2 { u64::from(n) } else { fibonacci(black_box(n - 1)) + fibonacci(black_box(n - 2)) } // BLOCKS
} // BLOCKS

pub(crate) async fn prepare(stall: Duration) {
    let end = Instant::now() + stall;
    while Instant::now() < end {
        black_box(fibonacci(black_box(28)));
    }
}
