//! Blocks in a dependency: the line is the one that calls it.

use std::thread;
use std::time::{Duration, Instant};

use retry::OperationResult;
use retry::delay::Fixed;

pub(crate) async fn prepare(stall: Duration) {
    let end = Instant::now() + stall;
    let attempt = || if Instant::now() < end { OperationResult::Retry(()) } else { OperationResult::Ok(()) };
    let pause = Fixed::from_millis(stall.as_millis() as u64 / 2 + 1);
    let done = retry::retry(pause, attempt); // BLOCKS: sleep retry::retry
    assert!(done.is_ok());
    thread::yield_now();
}
