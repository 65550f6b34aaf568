use serde_json::{Value, json};

use super::*;
use crate::export::fake::FakeSource;
use crate::export::source::Source;
use crate::finding::{Cause, Site};
use crate::report::sample;
use crate::snapshot::FlightThread;

fn trace(recording: &FlightRecording) -> Value {
    serde_json::to_value(document(recording, &FakeSource::new().findings())).unwrap()
}

fn recording() -> FlightRecording {
    FakeSource::new().flight(Duration::MAX)
}

fn slices(trace: &Value) -> Vec<&Value> {
    trace["traceEvents"].as_array().unwrap().iter().filter(|event| event["ph"] == "X").collect()
}

#[test]
fn each_stall_is_in_a_poll_in_the_row_of_its_thread() {
    let trace = trace(&recording());
    let shown =
        |event: &&Value| json!([event["cat"], event["name"], event["tid"], event["ts"], event["dur"]]);
    let sleep = "std::thread::sleep at src/flood.rs:31";
    assert_eq!(
        json!(slices(&trace).iter().map(shown).collect::<Vec<_>>()),
        json!([
            ["poll", "session", 4_243, 0.0, 500_000.0],
            ["stall", sleep, 4_243, 0.0, 500_000.0],
            ["poll", "session", 4_243, 1_000_000.0, 500_000.0],
            ["stall", sleep, 4_243, 1_000_000.0, 500_000.0],
        ])
    );
    assert_eq!(slices(&trace)[2]["args"], json!({ "known_from_stall": true }));
    assert_eq!(
        slices(&trace)[3]["args"],
        json!({
            "finding": "sleep-5f3a", "task": "session", "ongoing": false,
            "cause": "sleep", "call": "std::thread::sleep", "site": "src/flood.rs:31", "evidence": "stack",
            "stalls": 12, "total_seconds": 2.41, "max_seconds": 0.212,
            "waits": 52, "waiting_tasks": 37, "delay_seconds": 4.1,
        })
    );
    assert_eq!(
        trace["otherData"],
        json!({
            "begin_unix_seconds": 1.0, "end_unix_seconds": 3.0, "program": "/usr/bin/chat",
            "loopscope": "0.1.0", "threshold_seconds": 0.01, "omitted_polls": 0,
        })
    );
}

#[test]
fn rows_are_sorted_by_runtime_and_by_the_number_of_the_worker() {
    let labels = ["main", "10", "9", "io/0", "9"];
    let thread =
        |(n, label): (usize, &&str)| FlightThread { tid: 100 - n as u32, label: (*label).to_owned() };
    let threads: Vec<_> = labels.iter().enumerate().map(thread).collect();
    let poll = |thread: &FlightThread| FlightPoll {
        tid: thread.tid,
        kind: 0,
        start_nanos: 1,
        end_nanos: Some(2_000),
    };
    let polls = threads.iter().map(poll).collect();
    let trace = trace(&FlightRecording { threads, polls, stalls: Vec::new(), ..recording() });
    let events = trace["traceEvents"].as_array().unwrap();
    assert_eq!(events[0]["args"]["name"], "chat");
    let named = |name: &'static str| events.iter().filter(move |event| event["name"] == name);
    let names: Vec<_> = named("thread_name").map(|event| event["args"]["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["worker 9", "worker 9", "worker 10", "worker main", "worker io/0"]);
    let indices: Vec<_> = named("thread_sort_index").map(|event| &event["args"]["sort_index"]).collect();
    assert_eq!(indices, [0, 1, 2, 3, 4]);
}

/// A reader may add floating point microseconds, or may cut each number to
/// whole nanoseconds first.
#[test]
fn equal_times_are_equal_in_every_arithmetic() {
    let day = 86_400_000_000_000;
    let polls: Vec<_> = (0..1_000)
        .map(|n| day / 1_000 * n + n * n * 37)
        .map(|start_nanos| FlightPoll { tid: 1, kind: 0, start_nanos, end_nanos: None })
        .collect();
    let end_to_end =
        polls.windows(2).map(|pair| FlightPoll { end_nanos: Some(pair[1].start_nanos), ..pair[0] });
    let recording =
        FlightRecording { now_nanos: day, polls: end_to_end.collect(), stalls: Vec::new(), ..recording() };
    let trace = trace(&recording);
    let times: Vec<_> = slices(&trace)
        .into_iter()
        .map(|slice| (slice["ts"].as_f64().unwrap(), slice["dur"].as_f64().unwrap()))
        .collect();
    assert_eq!(times.len(), 999);
    for pair in times.windows(2) {
        let [(ts, dur), (next, _)] = pair else { unreachable!() };
        assert_eq!(ts + dur, *next);
        let cut = |micros: &f64| (micros * 1e3) as u64;
        assert_eq!(cut(ts) + cut(dur), cut(next));
    }
    for (poll, (ts, _)) in recording.polls.iter().zip(&times) {
        assert!((poll.start_nanos as f64 - ts * 1e3).abs() < 126.0, "{poll:?} at {ts} µs");
    }
}

#[test]
fn a_document_is_limited_and_has_the_newest_polls() {
    let kinds = vec!["other".to_owned(), "\n".repeat(10_000), "\n".repeat(10_001)];
    let poll = |n: u64| FlightPoll {
        tid: 1,
        kind: (n % 3) as usize,
        start_nanos: n * 1_000,
        end_nanos: Some(n * 1_000 + 500),
    };
    let polls: Vec<_> = (0..100_000).map(poll).collect();
    let now_nanos = 100_000_000;
    let recording = FlightRecording { kinds, polls, now_nanos, stalls: Vec::new(), ..recording() };
    let trace = trace(&recording);
    let bytes = trace.to_string().len();
    assert!((MAX_POLL_BYTES / 2..MAX_POLL_BYTES + 10_000).contains(&bytes), "{bytes}");
    let slices = slices(&trace);
    assert_eq!(trace["otherData"]["omitted_polls"], 100_000 - slices.len());
    let end = |slice: &Value| slice["ts"].as_f64().unwrap() + slice["dur"].as_f64().unwrap();
    let length = trace["otherData"]["end_unix_seconds"].as_f64().unwrap()
        - trace["otherData"]["begin_unix_seconds"].as_f64().unwrap();
    assert!((length * 1e6 - end(slices.last().unwrap())).abs() < 2.0, "the newest polls are there");
    let names: BTreeSet<_> = slices.iter().map(|slice| slice["name"].as_str().unwrap()).collect();
    assert_eq!(names.len(), 3, "names that were cut stay different");
}

#[test]
fn the_name_of_a_stall_has_nothing_that_changes() {
    let mut finding = sample::sleep();
    let name = name_of(&finding);
    finding.count += 1;
    finding.total *= 2;
    finding.ongoing = Some(Duration::from_secs(1));
    assert_eq!(name_of(&finding), name);
    finding.cause = Cause::Cpu;
    assert_eq!(name_of(&finding), "cpu in chat::flood::throttle", "another sample may show another call");
    let site = Some(Site { line: None, ..finding.site.take().unwrap() });
    assert_eq!(name_of(&Finding { site, ..finding.clone() }), "cpu in chat::flood::throttle");
    finding.cause = Cause::Lock;
    finding.primitive = None;
    assert_eq!(name_of(&finding), "lock");
}

#[test]
fn a_stall_whose_slice_is_cut_has_its_length() {
    let mut recording = recording();
    recording.stalls.truncate(1);
    recording.stalls[0].polls = 2;
    let start_nanos = recording.stalls[0].start_nanos + 400_000_000;
    recording.polls = vec![FlightPoll { start_nanos, end_nanos: None, ..recording.polls[0] }];
    let trace = trace(&recording);
    let shown = |event: &&Value| {
        json!([event["cat"], event["dur"], event["args"]["polls"], event["args"]["seconds"]])
    };
    assert_eq!(
        json!(slices(&trace).iter().map(shown).collect::<Vec<_>>()),
        json!([
            ["poll", 400_000.0, 2, null],
            ["stall", 400_000.0, null, 0.5],
            ["poll", 1_600_000.0, null, null]
        ])
    );
}

#[test]
fn a_trace_of_nothing_is_whole() {
    let nothing = FlightRecording { polls: Vec::new(), stalls: Vec::new(), ..recording() };
    let trace = trace(&nothing);
    assert!(slices(&trace).is_empty());
    assert_eq!(trace["otherData"]["begin_unix_seconds"], 3.0);
}
