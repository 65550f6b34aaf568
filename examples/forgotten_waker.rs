//! A hand-written future that returns `Pending` without storing the waker. It
//! is never polled again. loopscope counts it as the lint `lost-waker`. The
//! example also runs the correct version of the future.
//!
//! `cargo run --example forgotten_waker`

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use loopscope::Scope;

#[loopscope::main(worker_threads = 2)]
async fn main(scope: &Scope) -> Result<(), Box<dyn std::error::Error>> {
    for stores_waker in [true, false] {
        let (name, slot) = (if stores_waker { "stores" } else { "forgets" }, Slot::default());
        let reader = loopscope::spawn(name, Receive { slot: slot.clone(), stores_waker });
        // After this time, the future has been polled once and waits.
        tokio::time::sleep(Duration::from_millis(50)).await;
        slot.send("hello");
        match tokio::time::timeout(Duration::from_millis(200), reader).await {
            Ok(received) => println!("{name}: received {:?}", received?),
            Err(_) => println!("{name}: the text is there, but the task was not woken"),
        }
    }
    for kind in scope.snapshot().kinds {
        if kind.lost_wakers > 0 {
            println!("loopscope: `{}` lost its waker ({} time)", kind.name, kind.lost_wakers);
        }
    }
    Ok(())
}

/// A text that is sent later, and the waker of the task that waits for it.
#[derive(Clone, Default)]
struct Slot(Arc<Mutex<(Option<&'static str>, Option<Waker>)>>);

impl Slot {
    fn send(&self, text: &'static str) {
        let mut slot = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        slot.0 = Some(text);
        let waker = slot.1.take();
        drop(slot);
        waker.into_iter().for_each(Waker::wake);
    }
}

struct Receive {
    slot: Slot,
    stores_waker: bool,
}

impl Future for Receive {
    type Output = &'static str;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut slot = self.slot.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(text) = slot.0 {
            return Poll::Ready(text);
        }
        // The mistake is to leave this out.
        if self.stores_waker {
            slot.1 = Some(context.waker().clone());
        }
        Poll::Pending
    }
}
