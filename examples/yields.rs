//! A watched runtime with one task that yields N times. A tracer shows which
//! system calls the poll path makes.
//!
//! `cargo run --release --example yields -- 1000000`

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let polls = std::env::args().nth(1).map_or(Ok(1000), |n| n.parse::<u64>())?;
    let scope = loopscope::Scope::builder().start()?;
    let runtime = scope.watch(&mut tokio::runtime::Builder::new_current_thread()).build()?;
    scope.block_on(&runtime, async move {
        tokio::spawn(async move {
            for _ in 0..polls {
                tokio::task::yield_now().await;
            }
        })
        .await
    })?;
    let recorded: u64 = scope.snapshot().workers.iter().map(|worker| worker.polls).sum();
    println!("{recorded} polls were recorded");
    Ok(())
}
