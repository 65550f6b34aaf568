//! What reading costs: the time of a snapshot of as many kinds as there may be
//! on two workers, its effect on those who poll, and the memory a kind takes.
//!
//! `cargo bench --bench snapshot`; README.md in this folder keeps a run's output.

use std::hint::black_box;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};
use std::{fs, thread};

use loopscope::{Named, Scope, Terminal};
use tokio::runtime::{Builder, Runtime};

const KINDS: usize = 256;
const SNAPSHOTS: usize = 2_000;

fn main() {
    let scope = Scope::builder().terminal(Terminal::Never).start().expect("a scope");
    let mut builder = Builder::new_multi_thread();
    let runtime = scope.watch(builder.worker_threads(2).enable_all()).build().expect("a runtime");
    // The first polls set up what is there once a thread.
    fill(&runtime, &["first".to_owned().leak()]);
    let before = resident_bytes();
    let names: Vec<&'static str> = (0..KINDS).map(|n| &*format!("kind {n}").leak()).collect();
    fill(&runtime, &names);
    let grown = resident_bytes().saturating_sub(before);
    let snapshot = scope.snapshot();
    let used: usize = snapshot.kinds.iter().map(|kind| kind.poll_time.buckets.len()).sum();
    println!("{} kinds, 2 workers, {used} buckets in use over all", snapshot.kinds.len());
    println!("memory: {} bytes a kind and worker", grown / KINDS / 2);

    let mut times: Vec<Duration> = (0..SNAPSHOTS)
        .map(|_| {
            let begin = Instant::now();
            black_box(scope.snapshot());
            begin.elapsed()
        })
        .collect();
    times.sort();
    println!("a snapshot: median {:?}, 99 % {:?}", times[SNAPSHOTS / 2], times[SNAPSHOTS * 99 / 100]);

    // The pollers go on one CPU of two, so that the reader takes none from them.
    let mut builder = Builder::new_current_thread();
    let poller = scope.watch(&mut builder).build().expect("a runtime");
    let [mut alone, mut read] = [Vec::new(), Vec::new()];
    for _ in 0..15 {
        alone.push(yields(&poller));
        let stop = AtomicBool::new(false);
        thread::scope(|threads| {
            threads.spawn(|| {
                while !stop.load(Relaxed) {
                    black_box(scope.snapshot());
                    thread::sleep(Duration::from_millis(10));
                }
            });
            read.push(yields(&poller));
            stop.store(true, Relaxed);
        });
    }
    let median = |rounds: &mut Vec<f64>| {
        rounds.sort_by(f64::total_cmp);
        rounds[rounds.len() / 2]
    };
    let (alone, read) = (median(&mut alone), median(&mut read));
    println!(
        "a poll: {alone:.1} ns, with 100 snapshots a second beside it {read:.1} ns, ratio {:.3}",
        read / alone
    );
}

/// Tasks of each kind on both workers, with polls from 100 ns to 30 µs.
fn fill(runtime: &Runtime, names: &[&'static str]) {
    runtime.block_on(async {
        for name in names {
            let tasks: Vec<_> = (0..4_u64)
                .map(|task| {
                    let work = async move {
                        for n in 0..60_u64 {
                            let begin = Instant::now();
                            let nanos = 100 << ((n + task) % 9);
                            while begin.elapsed() < Duration::from_nanos(nanos) {}
                            tokio::task::yield_now().await;
                        }
                    };
                    tokio::spawn(work.named(name))
                })
                .collect();
            for task in tasks {
                task.await.expect("no task panics");
            }
        }
    });
}

/// Nanoseconds a poll.
fn yields(runtime: &Runtime) -> f64 {
    const POLLS: u32 = 2_000_000;
    let begin = Instant::now();
    runtime.block_on(async {
        let yields = async {
            for _ in 0..POLLS {
                tokio::task::yield_now().await;
            }
        };
        tokio::spawn(yields).await.expect("no task panics");
    });
    begin.elapsed().as_nanos() as f64 / f64::from(POLLS)
}

fn resident_bytes() -> usize {
    let statm = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: usize = statm.split_whitespace().nth(1).and_then(|n| n.parse().ok()).unwrap_or(0);
    pages * 4096
}
