//! loopscope in one line: the application is the future that `run` runs.
//!
//! `cargo run --example one_line` draws what it finds if stderr is a terminal,
//! and says nothing otherwise; `LOOPSCOPE=off` turns it off.

use std::thread;
use std::time::Duration;

fn main() {
    loopscope::run(async {
        loopscope::spawn("greeter", greet()).await.expect("the greeter does not panic");
    });
}

async fn greet() {
    // The mistake: everybody on this worker waits. `tokio::time::sleep` is the cure.
    thread::sleep(Duration::from_millis(50));
    println!("hello");
}
