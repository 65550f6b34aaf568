//! In a closure that an iterator calls.

use std::thread;
use std::time::Duration;

pub(crate) async fn prepare(stall: Duration) {
    let naps: Vec<_> = std::iter::repeat_n(stall / 2, 2).collect();
    let slept: Duration = naps
        .iter()
        .map(|nap| {
            thread::sleep(*nap); // BLOCKS: sleep std::thread::sleep
            *nap
        })
        .sum();
    std::hint::black_box(slept);
}
