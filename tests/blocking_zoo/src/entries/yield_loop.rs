//! A loop that yields the CPU to other threads, but not to other tasks.

use std::thread;
use std::time::{Duration, Instant};

pub(crate) async fn prepare(stall: Duration) {
    let end = Instant::now() + stall;
    while Instant::now() < end { // BLOCKS
        thread::yield_now(); // BLOCKS: cpu sched_yield
    }
}
