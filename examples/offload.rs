//! `spawn_blocking`: work that takes a while, once on the event loop and once on a
//! thread for such work. A ticker that shares the loop shows what it feels.
//!
//! `cargo run --example offload`

use std::hint::black_box;
use std::time::{Duration, Instant};

use loopscope::Scope;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let scope = Scope::builder().start()?;
    let runtime = scope.watch(tokio::runtime::Builder::new_current_thread().enable_all()).build()?;
    scope.block_on(&runtime, async {
        let late = beside(loopscope::spawn("on-the-loop", async { work() })).await;
        println!("on the event loop: a tick came {} ms late", late.as_millis());
        let late = beside(loopscope::spawn_blocking("off-the-loop", work)).await;
        println!("spawn_blocking: a tick came {} ms late", late.as_millis());
    });
    let snapshot = scope.snapshot();
    for call in &snapshot.blocking_calls {
        println!("loopscope: {} went to the blocking pool {} time(s)", call.name, call.queue_wait.count);
    }
    Ok(())
}

/// Half a password hash.
fn work() {
    let begin = Instant::now();
    let mut sum = 0_u64;
    while begin.elapsed() < Duration::from_millis(120) {
        sum = black_box(sum.wrapping_mul(31).wrapping_add(7));
    }
}

/// Ticks every 5 ms until `task` is done; how late the latest tick was.
async fn beside(task: tokio::task::JoinHandle<()>) -> Duration {
    let mut latest = Duration::ZERO;
    while !task.is_finished() {
        let due = tokio::time::Instant::now() + Duration::from_millis(5);
        tokio::time::sleep_until(due).await;
        latest = latest.max(due.elapsed());
    }
    latest
}
