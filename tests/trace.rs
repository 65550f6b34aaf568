//! The slices of a trace nest, and each stall is in its poll, at any age and
//! while stalls last.
//!
//! The normal tests run a short form. The long form:
//!
//! `LOOPSCOPE_TRACE_SECONDS=600 cargo test --features telemetry --test trace --
//! --ignored --nocapture`
#![cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]

mod common;
#[path = "common/http.rs"]
mod http;

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant, SystemTime};
use std::{env, fs, thread};

use common::{runtime, spin};
use http::get;
use loopscope::{Named, Scope, StallsDocument, Terminal};
use serde_json::Value;
use tokio::runtime::Runtime;
use tokio::task::{LocalSet, block_in_place, yield_now};

/// Far above the threshold of 10 ms.
const STALL: Duration = Duration::from_millis(50);
/// A busy machine may see few of them within the time of a test.
const MIN_STALLS: usize = 5;
/// The wall clock is adjusted meanwhile.
const WALL_CLOCK_TOLERANCE: f64 = 0.01;

/// The threads that have polled the tasks `stall`.
static STALLED_THREADS: Mutex<Vec<u64>> = Mutex::new(Vec::new());

fn current_tid() -> u64 {
    let link = fs::read_link("/proc/thread-self").unwrap();
    link.file_name().unwrap().to_str().unwrap().parse().unwrap()
}

async fn stall() {
    STALLED_THREADS.lock().unwrap().push(current_tid());
    thread::sleep(STALL);
}

async fn two_calls() {
    thread::sleep(STALL * 2);
    spin(STALL * 2);
}

async fn short_polls() {
    for _ in 0..20 {
        spin(Duration::from_micros(80));
        yield_now().await;
    }
}

/// Another thread takes over the worker.
async fn in_place() {
    thread::sleep(STALL);
    block_in_place(|| thread::sleep(STALL));
    spin(STALL);
}

/// Holds its worker over many polls, each under the threshold.
async fn many_polls() {
    for _ in 0..60 {
        spin(Duration::from_millis(4));
        yield_now().await;
    }
}

/// A root future with polls of other tasks inside of its own.
async fn root() {
    let tasks = LocalSet::new();
    tasks.spawn_local(async { thread::sleep(STALL) }.named("local"));
    tasks.spawn_local(short_polls().named("local, short"));
    tasks.await;
    thread::sleep(STALL);
}

fn round(scope: &Scope, [runtime, single]: &[Runtime; 2]) {
    let tasks = [
        single.spawn(many_polls().named("many polls")),
        single.spawn(short_polls().named("short polls")),
        runtime.spawn(stall().named("stall")),
        runtime.spawn(two_calls().named("two calls")),
        runtime.spawn(short_polls().named("short polls")),
        runtime.spawn(in_place().named("in place")),
        runtime.spawn(short_polls().named("short polls")),
    ];
    scope.block_on(runtime, root());
    for task in tasks {
        runtime.block_on(task).unwrap();
    }
}

#[derive(Debug)]
struct Stall {
    finding: String,
    begin_unix_seconds: f64,
    seconds: f64,
}

/// Fetches the trace, and asserts that slices of one thread nest, that all are
/// in the order of their times, and that each stall is in a poll of its task.
/// Returns the stalls.
fn checked_stalls(address: SocketAddr, seconds: u64) -> Vec<Stall> {
    let (status, text) = get(address, &format!("/trace?seconds={seconds}"));
    assert_eq!(status, 200, "{text}");
    let trace: Value = serde_json::from_str(&text).unwrap();
    let begin = trace["otherData"]["begin_unix_seconds"].as_f64().unwrap();
    let mut open: HashMap<u64, Vec<(u64, &Value)>> = HashMap::new();
    let (mut latest, mut stalls) = (0, Vec::new());
    for event in trace["traceEvents"].as_array().unwrap().iter().filter(|event| event["ph"] == "X") {
        let nanos = |field: &str| {
            let micros = event[field].as_f64().unwrap();
            assert!(micros >= 0.0, "{event}");
            (micros * 1e3).round() as u64
        };
        let (start, end) = (nanos("ts"), nanos("ts") + nanos("dur"));
        assert!(latest <= start, "out of order: {event}");
        latest = start;
        let outer = open.entry(event["tid"].as_u64().unwrap()).or_default();
        while outer.pop_if(|(end, _)| *end <= start).is_some() {}
        if let Some((outer_end, outer)) = outer.last() {
            assert!(end <= *outer_end, "{event} begins in {outer} and ends after it");
        }
        if event["cat"] == "stall" {
            let is_its_poll =
                |(_, outer): &(u64, &Value)| outer["cat"] == "poll" && outer["name"] == event["args"]["task"];
            let poll = outer.iter().rfind(|outer| is_its_poll(outer));
            let (_, poll) = poll.unwrap_or_else(|| panic!("{event} is in {outer:?}"));
            let length = (end - start) as f64 / 1e9;
            let seconds = event["args"]["seconds"].as_f64().unwrap_or(length);
            // The end of a run of polls is not known exactly.
            let is_exact = poll["args"]["polls"].is_null();
            assert!(seconds >= length && (seconds < length + 1e-6 || !is_exact), "{event} in {poll}");
            stalls.push(Stall {
                finding: event["args"]["finding"].as_str().unwrap().to_owned(),
                begin_unix_seconds: begin + start as f64 / 1e9,
                seconds,
            });
        }
        outer.push((end, event));
    }
    stalls
}

/// Runs the program for a time, with a request for a trace now and then.
fn record(length: Duration) {
    let scope =
        Scope::builder().terminal(Terminal::Never).telemetry("127.0.0.1:0".parse().unwrap()).start().unwrap();
    let address = scope.telemetry_address().unwrap();
    let runtimes = [runtime(&scope, 2), runtime(&scope, 1)];
    let (begin, is_done) = (Instant::now(), AtomicBool::new(false));
    thread::scope(|threads| {
        threads.spawn(|| {
            while begin.elapsed() < length || scope.stalls(None).stalls.len() < MIN_STALLS {
                round(&scope, &runtimes);
            }
            is_done.store(true, Relaxed);
        });
        while !is_done.load(Relaxed) {
            checked_stalls(address, 1);
            checked_stalls(address, 600);
            thread::sleep(length / 40);
        }
    });
    common::flushed(&scope);
    let in_trace = checked_stalls(address, 86_400);
    let document: StallsDocument = serde_json::from_str(&get(address, "/stalls").1).unwrap();
    assert_eq!(in_trace.len(), document.stalls.len());
    let seconds = |time: SystemTime| time.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs_f64();
    for stall in &document.stalls {
        let (start, end) = (seconds(stall.start), seconds(stall.end.unwrap()));
        let is_same = |other: &&Stall| {
            stall.finding.as_deref() == Some(&other.finding)
                && (other.begin_unix_seconds - start).abs() < WALL_CLOCK_TOLERANCE
                && (other.seconds - (end - start)).abs() < 2e-6
        };
        assert!(in_trace.iter().any(|other| is_same(&other)), "{stall:?} is not in {in_trace:#?}");
    }
    assert_rows(address);
    println!("{} stalls in {} s", document.stalls.len(), length.as_secs());
}

/// Asserts that rows have the ids of their threads, and the names of workers.
fn assert_rows(address: SocketAddr) {
    let trace: Value = serde_json::from_str(&get(address, "/trace").1).unwrap();
    let events = trace["traceEvents"].as_array().unwrap();
    let tids = |is_included: &dyn Fn(&Value) -> bool| -> HashSet<u64> {
        let included = events.iter().filter(|event| is_included(event));
        included.map(|event| event["tid"].as_u64().unwrap()).collect()
    };
    let stalled = tids(&|event| event["ph"] == "X" && event["name"] == "stall");
    let threads = STALLED_THREADS.lock().unwrap();
    assert!(!stalled.is_empty() && stalled.iter().all(|tid| threads.contains(tid)), "{stalled:?}");
    let all = tids(&|event| event["ph"] == "X");
    assert_eq!(tids(&|event| event["name"] == "thread_name"), all);
    assert_eq!(tids(&|event| event["name"] == "thread_sort_index"), all);
    // A thread that has been both workers has both labels.
    let labels = events.iter().filter(|event| event["name"] == "thread_name");
    let labels = labels.filter_map(|event| event["args"]["name"].as_str()?.strip_prefix("worker "));
    let labels: HashSet<_> = labels.flat_map(|labels| labels.split(", ")).collect();
    assert!(labels.contains("0") || labels.contains("1"), "{labels:?}");
    let is_run = |event: &&Value| event["args"]["polls"].as_u64().is_some_and(|polls| polls > 1);
    println!("{} runs of polls", events.iter().filter(is_run).count());
}

#[test]
fn slices_nest_at_any_age_and_while_stalls_last() {
    record(Duration::from_millis(1_200));
}

#[test]
#[ignore = "runs for minutes"]
fn slices_nest_for_minutes() {
    let seconds = env::var("LOOPSCOPE_TRACE_SECONDS").map_or(120, |seconds| seconds.parse().unwrap());
    record(Duration::from_secs(seconds));
}
