//! Runs a long computation on the event loop, and then with `spawn_blocking` on
//! a thread of the blocking pool. A ticker on the event loop measures the delay
//! in both cases.
//!
//! `cargo run --example offload`

use std::hint::black_box;
use std::time::{Duration, Instant};

use loopscope::Scope;

#[loopscope::main(flavor = "current_thread")]
async fn main(scope: &Scope) {
    let delay = max_tick_delay(loopscope::spawn("on-the-loop", async { compute() })).await;
    println!("on the event loop: a tick was {} ms late", delay.as_millis());
    let delay = max_tick_delay(loopscope::spawn_blocking("off-the-loop", compute)).await;
    println!("spawn_blocking: a tick was {} ms late", delay.as_millis());
    for call in &scope.snapshot().blocking_calls {
        println!("loopscope: `{}` ran on the blocking pool {} time(s)", call.name, call.queue_wait.count);
    }
}

/// Computes for 120 ms, about half as long as a password hash takes.
fn compute() {
    let begin = Instant::now();
    let mut sum = 0_u64;
    while begin.elapsed() < Duration::from_millis(120) {
        sum = black_box(sum.wrapping_mul(31).wrapping_add(7));
    }
}

/// Ticks every 5 ms until `task` is done, and returns the largest delay of a
/// tick.
async fn max_tick_delay(task: tokio::task::JoinHandle<()>) -> Duration {
    let mut max_delay = Duration::ZERO;
    while !task.is_finished() {
        let due = tokio::time::Instant::now() + Duration::from_millis(5);
        tokio::time::sleep_until(due).await;
        max_delay = max_delay.max(due.elapsed());
    }
    max_delay
}
