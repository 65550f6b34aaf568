//! Blocks several async functions deep, after an await.

use std::thread;
use std::time::Duration;

async fn inner(stall: Duration) {
    tokio::task::yield_now().await;
    thread::sleep(stall); // BLOCKS: sleep std::thread::sleep
    tokio::task::yield_now().await;
}

async fn middle(stall: Duration) {
    inner(stall).await;
    tokio::task::yield_now().await;
}

pub(crate) async fn prepare(stall: Duration) {
    middle(stall).await;
}
