//! A loop whose awaits are always ready: one endless poll.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::Duration;

use futures::{SinkExt, StreamExt};
use futures::channel::mpsc;

pub(crate) async fn prepare(stall: Duration) {
    // Two channels: if all samples were at one place, it could as well be a
    // computation there.
    let (mut sender, mut receiver) = mpsc::channel::<u64>(8);
    let (mut answer, mut answers) = mpsc::channel::<u64>(8);
    let over = Arc::new(AtomicBool::new(false));
    let end = Arc::clone(&over);
    // Another thread ends the loop: a clock in the loop would be sampled as
    // often as the channel.
    thread::spawn(move || {
        thread::sleep(stall * 10);
        end.store(true, Relaxed);
    });
    while !over.load(Relaxed) { // BLOCKS: unyielding -
        sender.send(1).await.unwrap(); // BLOCKS
        receiver.next().await.unwrap(); // BLOCKS
        answer.send(1).await.unwrap(); // BLOCKS
        answers.next().await.unwrap(); // BLOCKS
    }
}
