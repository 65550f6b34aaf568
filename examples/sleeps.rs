//! Compares `std::thread::sleep` with `tokio::time::sleep`: ten tasks on one
//! thread sleep for 20 ms each. With `std::thread::sleep` they take ten times as
//! long, and loopscope reports the line.
//!
//! `cargo run --example sleeps`

use std::time::{Duration, Instant};

use loopscope::{Scope, Terminal};

const SLEEP_TIME: Duration = Duration::from_millis(20);

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let scope = Scope::builder().terminal(Terminal::Always).start()?;
    let runtime = scope.watch(tokio::runtime::Builder::new_current_thread().enable_all()).build()?;
    scope.block_on(&runtime, async {
        let began = Instant::now();
        // Each task yields the thread while it sleeps, so all sleep at once.
        let right: Vec<_> =
            (0..10).map(|_| loopscope::spawn("right", tokio::time::sleep(SLEEP_TIME))).collect();
        for task in right {
            task.await?;
        }
        println!("tokio::time::sleep: ten tasks took {} ms", began.elapsed().as_millis());

        let began = Instant::now();
        // Each task keeps the thread, so they sleep one after the other.
        let wrong: Vec<_> =
            (0..10).map(|_| loopscope::spawn("wrong", async { std::thread::sleep(SLEEP_TIME) })).collect();
        for task in wrong {
            task.await?;
        }
        println!("std::thread::sleep: ten tasks took {} ms", began.elapsed().as_millis());
        Ok::<_, tokio::task::JoinError>(())
    })?;
    drop(runtime);
    // The last stall takes a moment to become a finding.
    let begin = Instant::now();
    while scope.findings().findings.is_empty() && begin.elapsed() < Duration::from_secs(1) {
        std::thread::sleep(Duration::from_millis(10));
    }
    for finding in scope.findings().findings {
        let site = finding.site.map(|site| site.to_string()).unwrap_or_default();
        println!("loopscope: {} at {site}: {}", finding.cause, finding.advice);
    }
    Ok(())
}
