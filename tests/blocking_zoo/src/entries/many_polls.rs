//! No poll is long, but the task is ready again at once, and another task of
//! the same worker waits each time.

use std::time::{Duration, Instant};

// Where the hypervisor takes the CPU away, a poll seems to compute for longer.
// Both causes are right at each line of the loop.
#[inline(never)]
// BLOCKS: hog -
fn compute_briefly() -> u64 { // BLOCKS: cpu -
    let begin = Instant::now();
    let mut n = 0_u64;
    while begin.elapsed() < Duration::from_millis(4) { // BLOCKS
        for _ in 0..1000 { // BLOCKS
            n = std::hint::black_box(n.wrapping_mul(31).wrapping_add(7)); // BLOCKS
        }
    }
    n
}

pub(crate) async fn prepare(stall: Duration) {
    // Long enough for a machine that runs another entry at the same time.
    let end = Instant::now() + stall * 8;
    let other = tokio::spawn(async move {
        while Instant::now() < end {
            tokio::task::yield_now().await;
        }
    });
    while Instant::now() < end {
        std::hint::black_box(compute_briefly());
        tokio::task::yield_now().await;
    }
    other.await.unwrap();
}
