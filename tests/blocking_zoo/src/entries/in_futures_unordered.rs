//! Blocks in a child of `FuturesUnordered`, which is not a task.

use std::thread;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;

async fn child(n: u32, stall: Duration) {
    tokio::task::yield_now().await;
    if n == 2 {
        thread::sleep(stall); // BLOCKS: sleep std::thread::sleep
    }
}

pub(crate) async fn prepare(stall: Duration) {
    let mut children: FuturesUnordered<_> = (0..4).map(|n| child(n, stall)).collect();
    while children.next().await.is_some() {}
}
