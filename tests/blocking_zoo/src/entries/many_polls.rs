//! Death by a thousand cuts: no poll is long, but the task is ready again at
//! once, and a neighbour waits each time.

use std::time::{Duration, Instant};

#[inline(never)]
fn a_little() -> u64 { // BLOCKS
    let begin = Instant::now();
    let mut n = 0_u64;
    while begin.elapsed() < Duration::from_millis(4) { // BLOCKS: hog -
        for _ in 0..1000 { // BLOCKS
            n = std::hint::black_box(n.wrapping_mul(31).wrapping_add(7)); // BLOCKS
        }
    }
    n
}

pub(crate) async fn prepare(stall: Duration) {
    // Long enough for a machine that is busy with other entries.
    let end = Instant::now() + stall * 8;
    let neighbour = tokio::spawn(async move {
        while Instant::now() < end {
            tokio::task::yield_now().await;
        }
    });
    while Instant::now() < end {
        std::hint::black_box(a_little());
        tokio::task::yield_now().await;
    }
    neighbour.await.unwrap();
}
