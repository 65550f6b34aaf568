//! Blocks in a `poll` that is written by hand.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::thread;
use std::time::Duration;

struct Pause(Duration);

impl Future for Pause {
    type Output = ();

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        thread::sleep(self.0); // BLOCKS: sleep std::thread::sleep
        Poll::Ready(())
    }
}

pub(crate) async fn prepare(stall: Duration) {
    Pause(stall).await;
}
