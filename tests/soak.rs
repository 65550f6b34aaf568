//! Threads and runtimes come and go, and stall, while the resources of the
//! process are watched.
//!
//! The normal tests run a short form. The long form:
//!
//! `LOOPSCOPE_SOAK_SECONDS=3600 cargo test --test soak -- --ignored
//! --nocapture`
#![cfg(target_os = "linux")]
#![allow(unsafe_code)]

mod common;
#[path = "common/library.rs"]
mod library;

use std::collections::HashSet;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use common::{runtime, scope, spin};
use library::{Folder, Library};
use loopscope::{Named, Scope};
use tokio::runtime::Builder;

/// Above the threshold of 10 ms.
const STALL: Duration = Duration::from_millis(25);
/// Of `/proc` files that are kept open, and of runtimes that ended within the
/// last half second.
const MAX_MORE_DESCRIPTORS: usize = 40;
/// How many stalls a scope keeps: see `Scope::stalls`.
const MAX_KEPT_STALLS: u64 = 4_096;
/// Of the live threads, and of those that ended last.
const MAX_LABELS: usize = 64;

/// What each round does. The number of the round is part of the names of
/// threads and runtimes.
const WORKLOADS: [fn(&Scope, u64); 5] =
    [named_threads, job_runtime, runtimes_in_turn, blocks_in_place, second_scope];

fn stalls(n: u64) {
    if n.is_multiple_of(2) {
        thread::sleep(STALL)
    } else {
        spin(STALL)
    }
    std::hint::black_box(());
}

/// A thread for each connection. Some stall.
fn named_threads(_: &Scope, round: u64) {
    let connections = (0..4).map(|n| {
        let poll = move || {
            futures::executor::block_on(
                async {
                    if n < 2 {
                        stalls(n + round)
                    }
                }
                .named("conn"),
            );
        };
        thread::Builder::new().name(format!("conn-{round}-{n}")).spawn(poll).unwrap()
    });
    connections.collect::<Vec<_>>().into_iter().for_each(|thread| thread.join().unwrap());
}

/// A runtime with a name for each job.
fn job_runtime(scope: &Scope, round: u64) {
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(2).enable_all().name(format!("job-{round}"));
    let runtime = scope.watch(&mut builder).build().unwrap();
    scope.block_on(&runtime, async {
        let tasks: Vec<_> = (0..20)
            .map(|n| {
                loopscope::spawn("job", async move {
                    if n == 0 { stalls(round) } else { tokio::task::yield_now().await }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
    });
}

/// One thread, which lives on, drives a runtime for each request.
fn runtimes_in_turn(scope: &Scope, round: u64) {
    for n in 0..3 {
        let mut builder = Builder::new_current_thread();
        builder.enable_all().name(format!("request-{round}-{n}"));
        let runtime = scope.watch(&mut builder).build().unwrap();
        runtime.block_on(async {
            tokio::spawn(async { tokio::time::sleep(Duration::from_millis(1)).await }).await.unwrap();
        });
    }
}

fn blocks_in_place(scope: &Scope, _: u64) {
    let runtime = runtime(scope, 1);
    let blocks = async { tokio::task::block_in_place(|| thread::sleep(Duration::from_millis(1))) };
    runtime.block_on(async { tokio::spawn(blocks.named("in place")).await.unwrap() });
}

/// A scope that lives for a short time, next to the one that stays.
fn second_scope(scope: &Scope, round: u64) {
    if round.is_multiple_of(10) {
        let second = common::scope();
        named_threads(&second, round);
        runtimes_in_turn(scope, round);
    }
}

/// Libraries that are loaded at the same addresses in turn.
struct Plugins {
    libraries: [PathBuf; 2],
    /// Deletes them at the end.
    _folder: Folder,
}

impl Plugins {
    fn new() -> Self {
        let folder = Folder::new("soak");
        let libraries = [("left", 100), ("right", 200)].map(|(name, line)| folder.library(name, line, &[]));
        Self { libraries, _folder: folder }
    }

    /// Loads a library, blocks in it and unloads it.
    fn block_in_next(&self, scope: &Scope, round: u64) {
        let library = Library::load(&self.libraries[(round % 2) as usize]);
        let runtime = runtime(scope, 1);
        let task = async move { loopscope::spawn("plugin", async move { library.block(STALL) }).await };
        runtime.block_on(task).unwrap();
    }
}

/// The resources of the process between two rounds.
#[derive(Debug, Clone, Copy)]
struct Reading {
    descriptors: usize,
    resident_kb: u64,
    threads: u64,
    labels: usize,
    workers: usize,
    stalls: u64,
}

fn status(key: &str) -> u64 {
    let text = fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(key)).unwrap();
    line.split_whitespace().find_map(|word| word.parse().ok()).unwrap()
}

/// Returns free memory to the system. The allocator keeps it for each thread
/// that it has served, and reading debug information takes much for a moment.
fn return_free_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: the call has no requirements.
    unsafe {
        libc::malloc_trim(0);
    }
}

impl Reading {
    fn now(scope: &Scope) -> Self {
        return_free_memory();
        let snapshot = scope.snapshot();
        let workers = snapshot.workers.iter().flat_map(|worker| [&worker.runtime, &worker.label]);
        let runtimes = snapshot.runtimes.iter().map(|runtime| &runtime.name);
        Self {
            descriptors: fs::read_dir("/proc/self/fd").unwrap().count(),
            resident_kb: status("VmRSS:"),
            threads: status("Threads:"),
            labels: workers.chain(runtimes).collect::<HashSet<_>>().len(),
            workers: snapshot.workers.len(),
            stalls: scope.findings().findings.iter().map(|finding| finding.count).sum(),
        }
    }
}

/// Runs rounds for `duration`. Fails if resources grow.
fn soak(duration: Duration, print_interval: Duration) {
    let scope = scope();
    let plugins = Plugins::new();
    let begin = Instant::now();
    let mut printed_at = begin;
    let mut polls = 0;
    let first = Reading::now(&scope);
    let mut readings = Vec::new();
    let mut round = 0;
    while begin.elapsed() < duration || round < 3 {
        WORKLOADS.iter().for_each(|workload| workload(&scope, round));
        plugins.block_in_next(&scope, round);
        round += 1;
        let snapshot = scope.snapshot();
        let polls_now = snapshot.kinds.iter().map(|kind| kind.poll_time.count).sum::<u64>();
        assert!(polls_now > polls, "{polls_now} polls after {polls}");
        polls = polls_now;
        let reading = Reading::now(&scope);
        if printed_at.elapsed() >= print_interval || round == 1 {
            printed_at = Instant::now();
            println!("{:>6.0?} round {round}: {reading:?}, polls {polls}", begin.elapsed());
        }
        assert!(
            reading.descriptors <= first.descriptors + MAX_MORE_DESCRIPTORS,
            "{reading:?}, at first {first:?}"
        );
        assert!(reading.labels.max(reading.workers) <= MAX_LABELS, "{reading:?}");
        readings.push(reading);
        // Leaves most of the machine to others.
        thread::sleep(Duration::from_millis(100).min(duration / 20));
    }
    let most = |part: &[Reading], value: fn(&Reading) -> u64| part.iter().map(value).max().unwrap_or(0);
    let (earlier, last) = readings.split_at(readings.len() * 2 / 3);
    let (_, middle) = earlier.split_at(earlier.len() / 2);
    let kb = [middle, last].map(|part| most(part, |reading| reading.resident_kb));
    let descriptors = [middle, last].map(|part| most(part, |reading| reading.descriptors as u64));
    println!(
        "{round} rounds; most of the second and of the last third: {kb:?} kB, {descriptors:?} descriptors"
    );
    if duration >= Duration::from_secs(300) {
        assert!(descriptors[1] <= descriptors[0] + 8, "descriptors grow: {descriptors:?}");
    }
    // Until this many stalls have ended, each one takes memory.
    if middle.last().is_some_and(|reading| reading.stalls >= MAX_KEPT_STALLS) {
        assert!(kb[1] <= kb[0] + kb[0] / 20 + 2_048, "resident memory grows: {kb:?} kB");
    } else {
        common::not_checked("resident memory, because the list of recent stalls is not full yet");
    }
    drop(scope);
    assert!(status("Threads:") <= first.threads, "loopscope's threads have ended");
}

#[test]
fn resources_are_bounded_while_threads_and_runtimes_come_and_go() {
    // A process of its own, whose descriptors no other test uses.
    common::run_scenario("short_soak");
}

#[test]
#[ignore = "runs as a child process"]
fn short_soak() {
    soak(Duration::from_millis(800), Duration::from_millis(200));
}

#[test]
#[ignore = "takes LOOPSCOPE_SOAK_SECONDS, ten minutes if it is not set"]
fn long_soak() {
    let seconds =
        env::var("LOOPSCOPE_SOAK_SECONDS").map_or(600, |text| text.parse().expect("a number of seconds"));
    soak(Duration::from_secs(seconds), Duration::from_secs(5));
}
