//! Copies memory again and again.

use std::time::{Duration, Instant};

pub(crate) fn prepare(stall: Duration) -> impl Future<Output = ()> + Send {
    let from = vec![1_u8; 64 << 20];
    let mut to = vec![0_u8; 64 << 20];
    async move {
        let end = Instant::now() + stall;
        while Instant::now() < end {
            to.copy_from_slice(std::hint::black_box(&from)); // BLOCKS: cpu core::slice::copy_from_slice
            std::hint::black_box(&mut to);
        }
    } // BLOCKS
}
