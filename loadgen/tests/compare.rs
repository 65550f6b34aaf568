//! `compare` reports real changes and ignores random ones.

mod support;

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use support::chat::{Faults, Server};
use support::program::{Outcome, loadgen, run};
use support::telemetry;

/// Runs against a server with these faults, and saves the report in a file.
fn save_report(name: &str, faults: Faults, more: &[&str]) -> (PathBuf, Value) {
    let server = Server::start(faults);
    let report = run(server.address, more).report;
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::write(&path, report.to_string()).expect("a file can be written");
    (path, report)
}

fn compare(a: &Path, b: &Path, more: &[&str]) -> Outcome {
    let (a, b) = (a.display().to_string(), b.display().to_string());
    loadgen(&[&["compare", &a, &b, "--json", "-"][..], more].concat())
}

/// Returns how a latency quantile changed.
fn change<'a>(outcome: &'a Outcome, name: &str) -> &'a str {
    let quantiles = outcome.report["latency"].as_array().expect("latencies");
    let quantile = quantiles.iter().find(|quantile| quantile["name"] == name).expect("the quantile");
    quantile["change"].as_str().expect("text")
}

#[test]
fn a_report_compared_with_itself_is_the_same() {
    let (path, _) = save_report("same.json", Faults::default(), &[]);
    let outcome = compare(&path, &path, &[]);
    assert_eq!((outcome.code, &outcome.report["outcome"]), (0, &json!("same")), "{}", outcome.stderr);
    assert_eq!(outcome.report["notes"], json!([]));
}

#[test]
fn a_slower_server_is_regressed_and_a_faster_one_is_better() {
    let (fast, _) = save_report("fast.json", Faults::default(), &[]);
    let freeze = Some((Duration::ZERO, Duration::from_millis(900)));
    let (slow, _) = save_report("slow.json", Faults { freeze, ..Faults::default() }, &["--rate", "101"]);
    let outcome = compare(&fast, &slow, &[]);
    assert_eq!((outcome.code, &outcome.report["outcome"]), (1, &json!("regressed")), "{}", outcome.stderr);
    assert_eq!(change(&outcome, "p50"), "worse");
    assert_eq!(outcome.report["notes"], json!(["rate 100 in A, 101 in B"]));
    let outcome = compare(&slow, &fast, &[]);
    assert_eq!((outcome.code, &outcome.report["outcome"]), (0, &json!("better")), "{}", outcome.stderr);
}

#[test]
fn findings_are_reported_as_new_gone_or_worse() {
    let (_, plain) = save_report("plain.json", Faults::default(), &[]);
    let save_with_findings = |name: &str, findings: Vec<Value>| {
        let mut report = plain.clone();
        report["watched_seconds"] = json!(10.0);
        report["findings"] = telemetry::document(&findings, 0);
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::write(&path, report.to_string()).expect("a file can be written");
        path
    };
    let mut many_stalls = telemetry::finding("worse", 0.1);
    let mut few_stalls = many_stalls.clone();
    (few_stalls["count"], few_stalls["total_seconds"]) = (json!(20), json!(1.0));
    (many_stalls["count"], many_stalls["total_seconds"]) = (json!(80), json!(4.0));
    let a = save_with_findings("a.json", vec![telemetry::finding("gone", 0.1), few_stalls]);
    let b = save_with_findings("b.json", vec![telemetry::finding("new", 0.1), many_stalls]);
    let outcome = compare(&a, &b, &[]);
    assert_eq!(outcome.code, 1, "{}", outcome.stderr);
    let changes = outcome.report["findings"].as_array().expect("findings");
    let changes: Vec<_> = changes.iter().map(|change| (&change["id"], &change["change"])).collect();
    let expected =
        [("new", "new"), ("worse", "worse"), ("gone", "gone")].map(|(id, kind)| (json!(id), json!(kind)));
    assert_eq!(changes, expected.iter().map(|(id, kind)| (id, kind)).collect::<Vec<_>>());
}

#[test]
fn latency_that_cannot_be_judged_is_not_the_same() {
    let (whole, report) = save_report("whole.json", Faults::default(), &[]);
    let save = |name: &str, report: &Value| {
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::write(&path, report.to_string()).expect("a file can be written");
        path
    };
    let mut document = report.clone();
    document["load"]["histograms"]["latency_slices"] = json!([]);
    let without_slices = save("without-slices.json", &document);
    let (silent, _) = save_report("silent.json", Faults::default(), &["--mix", "who"]);
    for (a, b, reason) in [
        (&without_slices, &without_slices, "too little was measured"),
        (&silent, &whole, "a run of A has delivered nothing"),
        (&whole, &silent, "a run of B has delivered nothing"),
    ] {
        let outcome = compare(a, b, &[]);
        assert_eq!((outcome.code, &outcome.report["outcome"]), (2, &json!("invalid")), "{}", outcome.stderr);
        assert!(outcome.report["reasons"][0].as_str().expect("text").contains(reason), "{}", outcome.stderr);
    }
    let outcome = compare(&silent, &silent, &[]);
    assert_eq!((outcome.code, &outcome.report["outcome"]), (0, &json!("same")), "nothing was to be judged");

    document["load"]["deliveries"]["lost"] = json!(5);
    let lossy = save("lossy.json", &document);
    let outcome = compare(&without_slices, &lossy, &[]);
    assert_eq!((outcome.code, &outcome.report["outcome"]), (1, &json!("regressed")), "losses are a verdict");
    let outcome = compare(&lossy, &without_slices, &[]);
    assert_eq!((outcome.code, &outcome.report["outcome"]), (0, &json!("better")), "losses are a verdict");
}

#[test]
fn commands_of_a_and_b_run_alternately() {
    let (_, report) = save_report("round.json", Faults::default(), &[]);
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("round.json");
    let log = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("rounds.log");
    let _ = std::fs::remove_file(&log);
    let command = |name: &str| format!("echo {name} >> {}; cat {}", log.display(), path.display());
    let outcome =
        loadgen(&["compare", "--ab", &command("a"), &command("b"), "--rounds", "3", "--json", "-", "-q"]);
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    assert_eq!((&outcome.report["rounds"], &outcome.report["drawn"]), (&json!(3), &json!("rounds")));
    let order = std::fs::read_to_string(&log).expect("both were run");
    assert_eq!(order.split_whitespace().collect::<String>(), "abbaab");
    assert!(report["load"]["latency"].is_object());
}

#[test]
fn arguments_of_loadgen_need_no_program_name() {
    let server = Server::start(Faults::default());
    let line = format!(
        "run --target {} --connections 4 --rooms 1 --rate 50 --duration 300ms --ramp 0s --max-send-lag 10s --mix privmsg",
        server.address
    );
    let outcome = loadgen(&[
        "compare",
        "--ab",
        &line,
        &line,
        "--rounds",
        "2",
        "--json",
        "-",
        "-q",
        "--tolerance",
        "100%",
    ]);
    assert!(outcome.code <= 1, "{}", outcome.stderr);
    assert_eq!(outcome.report["findings"], Value::Null, "the runs had no telemetry");
}

#[test]
fn invalid_runs_and_missing_reports_allow_no_comparison() {
    let (path, _) = save_report("invalid.json", Faults::default(), &["--max-send-lag", "1ns"]);
    let outcome = compare(&path, &path, &[]);
    assert_eq!((outcome.code, &outcome.report["outcome"]), (2, &json!("invalid")), "{}", outcome.stderr);
    for arguments in [
        &["compare"][..],
        &["compare", "/nowhere"],
        &["compare", "/nowhere", "/nowhere"],
        &["compare", "--ab", "echo", "true"],
        &["compare", "--ab", "exit 3", "true"],
    ] {
        let outcome = loadgen(arguments);
        let lines = outcome.stderr.lines().filter(|line| !line.starts_with("round "));
        assert_eq!((outcome.code, lines.count()), (2, 1), "{arguments:?}: {}", outcome.stderr);
    }
}
