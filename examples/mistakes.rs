//! Four mistakes that block the event loop, each in a separate task. loopscope
//! prints its findings on the terminal.
//!
//! `cargo run --example mistakes`

use std::fs::File;
use std::io::Write;
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use loopscope::{Scope, Terminal};

fn main() -> anyhow::Result<()> {
    let scope = Scope::builder().terminal(Terminal::Always).start()?;
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = scope.watch(builder.worker_threads(2).enable_all()).build()?;
    scope.block_on(&runtime, async {
        loopscope::spawn("sleeper", sleeper()).await?;
        loopscope::spawn("writer", writer()).await??;
        loopscope::spawn("spinner", spinner()).await?;
        loopscope::spawn("waiter", waiter()).await?;
        anyhow::Ok(())
    })?;
    drop(runtime);
    // The last stall takes a moment to become a finding.
    let begin = Instant::now();
    while scope.findings().findings.len() < 4 && begin.elapsed() < Duration::from_secs(10) {
        thread::sleep(Duration::from_millis(10));
    }
    for finding in scope.findings().findings {
        let site = finding.site.map(|site| site.to_string()).unwrap_or_default();
        println!(
            "{:5} {:.0} ms at {site} ({})",
            finding.cause,
            finding.total.as_secs_f64() * 1e3,
            finding.evidence
        );
    }
    Ok(())
}

async fn sleeper() {
    thread::sleep(Duration::from_millis(100));
}

async fn writer() -> std::io::Result<()> {
    let path = std::env::temp_dir().join(format!("loopscope-example-{}", std::process::id()));
    let mut file = File::create(&path)?;
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_millis(100) {
        file.write_all(&[0; 1 << 20])?;
        file.sync_all()?;
    }
    std::fs::remove_file(path)
}

async fn spinner() {
    let begin = Instant::now();
    let mut n = 0_u64;
    while begin.elapsed() < Duration::from_millis(100) {
        n = std::hint::black_box(n + 1);
    }
}

async fn waiter() {
    let lock = Arc::new(Mutex::new(()));
    let (held, is_held) = mpsc::channel();
    let holder = Arc::clone(&lock);
    thread::spawn(move || {
        let guard = holder.lock();
        let _ = held.send(());
        thread::sleep(Duration::from_millis(100));
        drop(guard);
    });
    // Waits until the other thread holds the lock, so that `lock` must block.
    let _ = is_held.recv();
    drop(lock.lock());
}
