//! Blocks in one of several joined futures.

use std::thread;
use std::time::Duration;

async fn quick() {
    tokio::task::yield_now().await;
}

async fn slow(stall: Duration) {
    tokio::task::yield_now().await;
    thread::sleep(stall); // BLOCKS: sleep std::thread::sleep
    crate::stage::keep();
}

pub(crate) async fn prepare(stall: Duration) {
    tokio::join!(quick(), slow(stall), quick());
}
