//! The telemetry thread answers while every worker is blocked.

mod common;
#[path = "common/http.rs"]
mod http;

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use common::meeting::Meeting;
use common::{eventually, runtime};
use http::get;
use loopscope::{Cause, FindingsDocument, Named, Scope, Stall, StallsDocument, Terminal};

/// How long all workers are blocked.
const SLEEP: Duration = Duration::from_secs(2);

/// Returns the value of a metric without labels.
fn metric(text: &str, name: &str) -> f64 {
    let line = text.lines().find(|line| line.starts_with(&format!("{name} "))).expect("the metric is there");
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

#[test]
fn the_telemetry_thread_responds_while_all_workers_are_blocked() {
    let scope =
        Scope::builder().terminal(Terminal::Never).telemetry("127.0.0.1:0".parse().unwrap()).start().unwrap();
    let address = scope.telemetry_address().unwrap();
    let runtime = runtime(&scope, 2);
    assert_eq!(get(address, "/healthz").0, 200);

    let all_blocked = Arc::new(Meeting::new(2));
    let tasks: Vec<_> = (0..2)
        .map(|_| {
            let all_blocked = Arc::clone(&all_blocked);
            let work = async move {
                all_blocked.wait();
                thread::sleep(SLEEP);
            };
            runtime.spawn(work.named("blocked"))
        })
        .collect();
    all_blocked.gather(&runtime);

    let age = eventually("the age of the stall", || {
        let (status, text) = get(address, "/metrics");
        assert_eq!(status, 200);
        let age = metric(&text, "loopscope_longest_active_poll_seconds");
        (age >= 1.0 && metric(&text, "loopscope_workers_blocked") == 2.0).then_some(age)
    });
    assert!(age < 60.0, "{age}");
    let (status, reason) = get(address, "/healthz");
    assert_eq!(status, 503, "{reason}");

    for task in tasks {
        runtime.block_on(task).unwrap();
    }
    // The poll of a task may last a little longer than the task.
    eventually("free workers", || (get(address, "/healthz").0 == 200).then_some(()));
    // On a busy machine, the wait for the other task is a stall of its own.
    let sleeps = |document: &FindingsDocument| {
        document.findings.iter().find(|finding| finding.cause == Cause::Sleep && finding.count == 2).cloned()
    };
    common::ended_findings(&scope, |document| sleeps(document).is_some());
    let (_, text) = get(address, "/findings");
    let findings: FindingsDocument = serde_json::from_str(&text).unwrap();
    let finding = sleeps(&findings).unwrap_or_else(|| panic!("two sleeps: {text}"));
    assert_eq!(findings.schema, loopscope::FINDINGS_SCHEMA);
    let (_, text) = get(address, "/stalls");
    let stalls: StallsDocument = serde_json::from_str(&text).unwrap();
    let is_sleep = |stall: &&Stall| stall.finding.as_ref() == Some(&finding.id);
    let sleeps: Vec<_> = stalls.stalls.iter().filter(is_sleep).collect();
    assert_eq!(sleeps.len(), 2, "{text}");
    assert_ne!(sleeps[0].worker, sleeps[1].worker, "{text}");
    // The poll of a worker is one stall, or two if it waited for the other task.
    for Stall { worker, .. } in sleeps {
        let of_worker = || stalls.stalls.iter().filter(|stall| stall.worker == *worker);
        let begin = of_worker().map(|stall| stall.start).min().unwrap();
        let end = of_worker().map(|stall| stall.end.unwrap()).max().unwrap();
        let length = end.duration_since(begin).unwrap();
        assert!(length >= SLEEP && end <= stalls.now, "{length:?}: {text}");
    }
}

#[test]
fn a_port_in_use_is_an_error() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let error = Scope::builder().telemetry(address).start().unwrap_err().to_string();
    assert!(error.contains(&address.to_string()) && error.contains("choose a free port"), "{error}");
}

#[test]
fn the_trace_contains_past_polls_and_stalls() {
    let scope =
        Scope::builder().terminal(Terminal::Never).telemetry("127.0.0.1:0".parse().unwrap()).start().unwrap();
    let address = scope.telemetry_address().unwrap();
    let runtime = runtime(&scope, 1);
    for (name, time) in [("short", Duration::from_millis(2)), ("long", common::STALL)] {
        runtime.block_on(runtime.spawn(async move { thread::sleep(time) }.named(name))).unwrap();
    }
    common::finding(&scope, "long");
    let (status, text) = get(address, "/trace?seconds=600");
    assert_eq!(status, 200, "{text}");
    let trace: serde_json::Value = serde_json::from_str(&text).unwrap();
    let events = trace["traceEvents"].as_array().unwrap();
    let event = |category: &str, name: &str| {
        let matches = |event: &&serde_json::Value| {
            event["cat"] == category && event["name"].as_str().unwrap().contains(name)
        };
        events.iter().find(matches).unwrap_or_else(|| panic!("no {category} event named {name}: {text}"))
    };
    let (short, long, stall) =
        (event("poll", "short"), event("poll", "long"), event("stall", "std::thread::sleep"));
    let micros = |event: &serde_json::Value, field: &str| event[field].as_f64().unwrap();
    assert!(micros(short, "dur") >= 2e3 && micros(long, "dur") >= 3e5, "{text}");
    assert!(micros(short, "ts") < micros(long, "ts") && long["tid"] == stall["tid"], "{text}");
    assert!((micros(stall, "ts") - micros(long, "ts")).abs() < 1e4, "the stall begins with its poll: {text}");
}
