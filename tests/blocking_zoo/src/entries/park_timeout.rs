//! Parks the thread for a time.

use std::thread;
use std::time::{Duration, Instant};

pub(crate) async fn prepare(stall: Duration) {
    let end = Instant::now() + stall;
    while Instant::now() < end {
        thread::park_timeout(stall); // BLOCKS: sleep std::thread::park_timeout
    }
}
