//! `hunt -- COMMAND` generates the load with another program.

mod support;

use support::program::{Outcome, loadgen};
use support::{schema, telemetry};

fn hunt(findings: Vec<serde_json::Value>, more: &[&str]) -> Outcome {
    let url = telemetry::start(findings);
    loadgen(&[&["hunt", "--telemetry", &url, "--json", "-", "--quiet"][..], more].concat())
}

#[test]
fn findings_during_a_command_are_reported() {
    let outcome =
        hunt(vec![telemetry::finding("a", 0.1)], &["--deny", "--", "sh", "-c", "echo $LOADGEN_TELEMETRY"]);
    assert_eq!(outcome.code, 1, "{}", outcome.stderr);
    schema::assert_valid(&outcome.report);
    assert_eq!(outcome.report["program"]["exit_code"], 0);
    assert_eq!(outcome.report["findings"]["findings"][0]["id"], "a");
    assert!(outcome.report["tail"].is_null(), "without the generator no delivery is measured");
    assert!(
        outcome.stderr.starts_with("http://127.0.0.1:"),
        "the output of the command comes first: {}",
        outcome.stderr
    );
}

#[test]
fn a_hunt_without_findings_reports_the_number_of_polls() {
    let outcome = hunt(vec![], &["--slo", "blocking.events==0", "--", "true"]);
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    schema::assert_valid(&outcome.report);
    assert_eq!(outcome.count("/coverage/polls"), 100);
    assert!(outcome.stderr.contains("no blocking call found in 100 polls and "), "{}", outcome.stderr);
}

#[test]
fn a_failed_command_makes_the_hunt_invalid() {
    let outcome = hunt(vec![], &["--", "sh", "-c", "exit 3"]);
    assert_eq!(outcome.code, 2, "{}", outcome.stderr);
    schema::assert_valid(&outcome.report);
    assert!(outcome.reasons().contains("the command `sh` failed (exit status: 3)"), "{}", outcome.reasons());
    let outcome = hunt(vec![], &["--", "/nowhere/wrk"]);
    assert_eq!((outcome.code, outcome.stderr.lines().count()), (2, 1), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("`/nowhere/wrk` cannot be started"), "{}", outcome.stderr);
}

#[test]
fn options_that_do_not_fit_a_command_are_rejected_in_one_sentence() {
    let outcome = hunt(vec![], &["--slo", "p99<50ms", "--", "true"]);
    assert_eq!((outcome.code, outcome.stderr.lines().count()), (2, 1), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("p99<50ms"), "{}", outcome.stderr);
    // The command would load a server that is not watched.
    let outcome = loadgen(&["hunt", "--", "true"]);
    assert_eq!((outcome.code, outcome.stderr.lines().count()), (2, 1), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("add --telemetry URL"), "{}", outcome.stderr);
    let outcome = loadgen(&["hunt", "--telemetry", "http://127.0.0.1:1"]);
    assert_eq!((outcome.code, outcome.stderr.lines().count()), (2, 1), "{}", outcome.stderr);
}
