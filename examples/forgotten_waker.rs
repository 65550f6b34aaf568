//! A future written by hand that returns `Pending` and forgets the waker: nobody
//! will ever poll it again. loopscope counts it as the lint `lost-waker`; beside it
//! the same future as it should be.
//!
//! `cargo run --example forgotten_waker`

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use loopscope::Scope;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let scope = Scope::builder().start()?;
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = scope.watch(builder.worker_threads(2).enable_all()).build()?;
    scope.block_on(&runtime, async {
        for remembers in [true, false] {
            let (name, letter) = (if remembers { "remembers" } else { "forgets" }, Letter::default());
            let reader = loopscope::spawn(name, Read { letter: letter.clone(), remembers });
            // It has been polled once by the time this is over, and waits.
            tokio::time::sleep(Duration::from_millis(50)).await;
            letter.deliver("hello");
            match tokio::time::timeout(Duration::from_millis(200), reader).await {
                Ok(read) => println!("{name}: read {:?}", read?),
                Err(_) => println!("{name}: the letter is there, and it still sleeps"),
            }
        }
        Ok::<_, tokio::task::JoinError>(())
    })?;
    for kind in scope.snapshot().kinds {
        if kind.lost_wakers > 0 {
            println!("loopscope: {} lost its waker ({} time)", kind.name, kind.lost_wakers);
        }
    }
    Ok(())
}

/// A text that comes later, and who is to be woken when it does.
#[derive(Clone, Default)]
struct Letter(Arc<Mutex<(Option<&'static str>, Option<Waker>)>>);

impl Letter {
    fn deliver(&self, text: &'static str) {
        let mut letter = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        letter.0 = Some(text);
        let waker = letter.1.take();
        drop(letter);
        waker.into_iter().for_each(Waker::wake);
    }
}

struct Read {
    letter: Letter,
    remembers: bool,
}

impl Future for Read {
    type Output = &'static str;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut letter = self.letter.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(text) = letter.0 {
            return Poll::Ready(text);
        }
        // Forgetting this line is the mistake.
        if self.remembers {
            letter.1 = Some(context.waker().clone());
        }
        Poll::Pending
    }
}
