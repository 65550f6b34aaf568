//! A loop whose awaits are ready at once: one endless poll.

use std::time::{Duration, Instant};

use futures::{SinkExt, StreamExt, channel::mpsc};

pub(crate) async fn prepare(stall: Duration) {
    let (mut sender, mut receiver) = mpsc::channel::<u64>(8);
    let end = Instant::now() + stall * 4;
    while Instant::now() < end { // BLOCKS: unyielding -
        sender.send(1).await.unwrap(); // BLOCKS
        receiver.next().await.unwrap(); // BLOCKS
    }
}
