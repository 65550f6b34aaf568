//! Touches new memory: each page is a page fault.

use std::time::{Duration, Instant};

pub(crate) async fn prepare(stall: Duration) {
    let end = Instant::now() + stall;
    while Instant::now() < end {
        let mut memory = Vec::<u8>::with_capacity(256 << 20); // BLOCKS
        for page in 0..(256 << 20) / 4096 {
            // SAFETY: the offset is within the capacity.
            unsafe { memory.as_mut_ptr().add(page * 4096).write_volatile(1) }; // BLOCKS: cpu -
        }
        drop(memory); // BLOCKS
    }
}
