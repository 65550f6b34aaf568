//! Sorts a large vector.

use std::time::{Duration, Instant};

pub(crate) fn prepare(stall: Duration) -> impl Future<Output = ()> + Send {
    let numbers: Vec<u64> = (0..1_000_000_u64).map(|n| n.wrapping_mul(0x9E37_79B9_7F4A_7C15)).collect();
    async move {
        let end = Instant::now() + stall;
        while Instant::now() < end {
            let mut sorted = numbers.clone(); // BLOCKS
            sorted.sort(); // BLOCKS: cpu alloc::slice::sort
            std::hint::black_box(sorted); // BLOCKS
        }
    } // BLOCKS
}
