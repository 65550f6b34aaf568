//! Inside a `poll` written by hand.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::thread;
use std::time::Duration;

struct Nap(Duration);

impl Future for Nap {
    type Output = ();

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        thread::sleep(self.0); // BLOCKS: sleep std::thread::sleep
        Poll::Ready(())
    }
}

pub(crate) async fn prepare(stall: Duration) {
    Nap(stall).await;
}
