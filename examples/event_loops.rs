//! Several event loops observed by one scope: a runtime with a name, a thread
//! with a `LocalSet`, and a blocking pool that is too small for its load. No
//! hook sees the tasks of the `LocalSet`, so a canary measures its lag.
//!
//! `LOOPSCOPE_TELEMETRY=127.0.0.1:9465 cargo run --features telemetry --example event_loops -- 60`
//! serves the live page for a minute.

use std::task::Poll;
use std::thread;
use std::time::Duration;

use loopscope::{Named, Scope};
use tokio::runtime::Builder;
use tokio::task::LocalSet;
use tokio::time::sleep;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let seconds = std::env::args().nth(1).map_or(Ok(1), |n| n.parse())?;
    let scope = Scope::builder().start()?;

    let canary = scope.canary("local set");
    let local = Builder::new_current_thread().enable_all().build()?;
    let local_loop = thread::spawn(move || {
        LocalSet::new().block_on(&local, async {
            tokio::task::spawn_local(canary);
            sleep(Duration::from_secs(seconds)).await;
        });
    });

    let mut builder = Builder::new_multi_thread();
    builder.enable_all().worker_threads(2).max_blocking_threads(1);
    #[cfg(tokio_unstable)]
    builder.name("api");
    let runtime = scope.watch(&mut builder).build()?;
    scope.block_on(&runtime, async {
        for _ in 0..3 {
            tokio::spawn(requests().named("requests"));
        }
        tokio::spawn(self_waking().named("self-waking"));
        sleep(Duration::from_secs(seconds)).await;
    });
    runtime.shutdown_background();
    local_loop.join().map_err(|_| "the local loop panicked")?;

    let snapshot = scope.snapshot();
    for call in &snapshot.blocking_calls {
        println!(
            "{}: {} calls, p99 of the wait {:?}",
            call.name,
            call.queue_wait.count,
            call.queue_wait.quantile(0.99)
        );
    }
    for event_loop in &snapshot.loop_lag {
        let lag = &event_loop.lag;
        println!("{}: {} wakes, p99 of the lag {:?}", event_loop.name, lag.count, lag.quantile(0.99));
    }
    Ok(())
}

/// Each request runs a call on the blocking pool.
async fn requests() {
    loop {
        let _ = loopscope::spawn_blocking("hash", || thread::sleep(Duration::from_millis(5))).await;
        sleep(Duration::from_millis(1)).await;
    }
}

/// Wakes itself at each poll instead of waiting. loopscope counts this as the
/// lint `self-wake`.
async fn self_waking() {
    loop {
        let mut polls = 0;
        std::future::poll_fn(|context| {
            polls += 1;
            context.waker().wake_by_ref();
            if polls < 10 { Poll::Pending } else { Poll::Ready(()) }
        })
        .await;
        sleep(Duration::from_millis(10)).await;
    }
}
