//! Blocks in a closure that an iterator calls.

use std::thread;
use std::time::Duration;

pub(crate) async fn prepare(stall: Duration) {
    let pauses: Vec<_> = std::iter::repeat_n(stall / 2, 2).collect();
    let slept: Duration = pauses
        .iter()
        .map(|pause| {
            thread::sleep(*pause); // BLOCKS: sleep std::thread::sleep
            *pause
        })
        .sum();
    std::hint::black_box(slept);
}
