//! Measures what reading costs: the time of a snapshot, its effect on workers
//! that poll, and the memory per task kind. The process has two workers and the
//! maximum number of task kinds.
//!
//! `cargo bench --bench snapshot`. README.md in this folder contains the output
//! of a run.

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
    // The first polls allocate what exists once per thread.
    run_polls(&runtime, &["first".to_owned().leak()]);
    let before = resident_bytes();
    let names: Vec<&'static str> = (0..KINDS).map(|n| &*format!("kind {n}").leak()).collect();
    run_polls(&runtime, &names);
    let growth = resident_bytes().saturating_sub(before);
    let snapshot = scope.snapshot();
    let used: usize = snapshot.kinds.iter().map(|kind| kind.poll_time.buckets.len()).sum();
    println!("{} kinds, 2 workers, {used} buckets in use in total", snapshot.kinds.len());
    println!("memory: {} bytes per kind and worker", growth / KINDS / 2);

    let mut times: Vec<Duration> = (0..SNAPSHOTS)
        .map(|_| {
            let begin = Instant::now();
            black_box(scope.snapshot());
            begin.elapsed()
        })
        .collect();
    times.sort();
    println!("a snapshot: median {:?}, p99 {:?}", times[SNAPSHOTS / 2], times[SNAPSHOTS * 99 / 100]);

    // The runtime polls on one thread, so that on a machine with two CPUs the
    // reader has the other CPU.
    let mut builder = Builder::new_current_thread();
    let poller = scope.watch(&mut builder).build().expect("a runtime");
    let [mut without_reader, mut with_reader] = [Vec::new(), Vec::new()];
    for _ in 0..15 {
        without_reader.push(nanos_per_poll(&poller));
        let stop = AtomicBool::new(false);
        thread::scope(|threads| {
            threads.spawn(|| {
                while !stop.load(Relaxed) {
                    black_box(scope.snapshot());
                    thread::sleep(Duration::from_millis(10));
                }
            });
            with_reader.push(nanos_per_poll(&poller));
            stop.store(true, Relaxed);
        });
    }
    let median = |rounds: &mut Vec<f64>| {
        rounds.sort_by(f64::total_cmp);
        rounds[rounds.len() / 2]
    };
    let (without_reader, with_reader) = (median(&mut without_reader), median(&mut with_reader));
    println!(
        "a poll: {without_reader:.1} ns, with 100 snapshots per second {with_reader:.1} ns, ratio {:.3}",
        with_reader / without_reader
    );
}

/// Runs tasks of each kind on both workers, with polls from 100 ns to 30 µs.
fn run_polls(runtime: &Runtime, names: &[&'static str]) {
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

/// Runs polls that only yield, and returns the nanoseconds per poll.
fn nanos_per_poll(runtime: &Runtime) -> f64 {
    const POLLS: u32 = 2_000_000;
    let begin = Instant::now();
    runtime.block_on(async {
        let task = async {
            for _ in 0..POLLS {
                tokio::task::yield_now().await;
            }
        };
        tokio::spawn(task).await.expect("no task panics");
    });
    begin.elapsed().as_nanos() as f64 / f64::from(POLLS)
}

fn resident_bytes() -> usize {
    let statm = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: usize = statm.split_whitespace().nth(1).and_then(|n| n.parse().ok()).unwrap_or(0);
    pages * 4096
}
