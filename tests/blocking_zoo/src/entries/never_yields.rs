//! A loop whose awaits are ready at once: one endless poll.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::Duration;

use futures::{SinkExt, StreamExt};
use futures::channel::mpsc;

pub(crate) async fn prepare(stall: Duration) {
    // Two of a kind: met in one place only, it could as well be a computation there.
    let (mut sender, mut receiver) = mpsc::channel::<u64>(8);
    let (mut answer, mut answers) = mpsc::channel::<u64>(8);
    let over = Arc::new(AtomicBool::new(false));
    let ends = Arc::clone(&over);
    // No clock in the loop, which would be met there as often as the channel.
    thread::spawn(move || {
        thread::sleep(stall * 10);
        ends.store(true, Relaxed);
    });
    while !over.load(Relaxed) { // BLOCKS: unyielding -
        sender.send(1).await.unwrap(); // BLOCKS
        receiver.next().await.unwrap(); // BLOCKS
        answer.send(1).await.unwrap(); // BLOCKS
        answers.next().await.unwrap(); // BLOCKS
    }
}
