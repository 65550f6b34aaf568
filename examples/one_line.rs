//! loopscope in one line: the attribute runs the application's main function on
//! a watched runtime.
//!
//! `cargo run --example one_line` prints findings to stderr, because no
//! `tracing` subscriber takes them. `LOOPSCOPE=off` turns loopscope off.

use std::thread;
use std::time::Duration;

#[loopscope::main]
async fn main() {
    loopscope::spawn("greeter", greet()).await.expect("the greeter does not panic");
}

async fn greet() {
    // The mistake: all tasks on this worker wait. The fix is
    // `tokio::time::sleep`.
    thread::sleep(Duration::from_millis(50));
    println!("hello");
}
