//! `merge` adds shards up to the report of one run.

mod support;

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use support::chat::{DeliveryOutcome, Faults, Server};
use support::program::{Outcome, loadgen, run};
use support::schema;

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name)
}

/// Runs two shards against one server that loses some deliveries. Returns the
/// reports, and the paths of the reports and logs.
fn run_shards(name: &str) -> [(Value, PathBuf, PathBuf); 2] {
    let delivery = |number: u64, _: &str| {
        if number.is_multiple_of(50) { DeliveryOutcome::Dropped } else { DeliveryOutcome::Passed }
    };
    let server = Server::start(Faults { delivery, ..Faults::default() });
    [("a", "1"), ("b", "2")].map(|(nick, seed)| {
        let (report, log) = (path(&format!("{name}-{nick}.json")), path(&format!("{name}-{nick}.hlog")));
        let more = ["--nick-prefix", nick, "--seed", seed, "--hlog", log.to_str().expect("text")];
        let outcome = run(server.address, &more);
        std::fs::write(&report, outcome.report.to_string()).expect("a file can be written");
        (outcome.report, report, log)
    })
}

fn merge(shards: &[&Path], more: &[&str]) -> Outcome {
    let names: Vec<_> = shards.iter().map(|path| path.to_str().expect("text")).collect();
    loadgen(&[&["merge", "--json", "-"][..], &names, more].concat())
}

#[test]
fn the_merged_report_is_the_sum_of_the_reports() {
    let [(a, a_path, _), (b, b_path, _)] = run_shards("reports");
    let outcome = merge(&[&a_path, &b_path], &["--slo", "p99<5s", "--slo", "lost<50%"]);
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    schema::assert_valid(&outcome.report);
    for pointer in [
        "/load/commands/sent",
        "/load/deliveries/expected",
        "/load/deliveries/lost",
        "/load/connections/joined",
        "/load/latency/samples",
        "/settings/connections",
    ] {
        let count = |report: &Value| report.pointer(pointer).and_then(Value::as_u64).expect(pointer);
        assert_eq!(count(&outcome.report), count(&a) + count(&b), "{pointer}");
    }
    let number = |report: &Value, pointer| report.pointer(pointer).and_then(Value::as_f64).expect("a number");
    let max = "/load/latency/max_seconds";
    assert!((number(&outcome.report, max) - number(&a, max).max(number(&b, max))).abs() < 1e-9);
    let p50 = "/load/latency/p50_seconds";
    let (low, high) = (number(&a, p50).min(number(&b, p50)), number(&a, p50).max(number(&b, p50)));
    assert!(
        (low..=high).contains(&number(&outcome.report, p50)),
        "the merged quantile is between those of the shards"
    );
}

#[test]
fn a_merged_report_can_be_merged_again() {
    let [(_, a, _), (_, b, _)] = run_shards("again");
    let once = merge(&[&a, &b], &[]);
    let merged = path("again.json");
    std::fs::write(&merged, once.report.to_string()).expect("a file can be written");
    let twice = merge(&[&merged], &[]);
    assert_eq!(once.report["load"], twice.report["load"], "{}", twice.stderr);
}

#[test]
fn merged_logs_agree_with_merged_reports_and_can_be_read_back() {
    let [(_, a_report, a), (_, b_report, b)] = run_shards("logs");
    let reports = merge(&[&a_report, &b_report], &[]);
    let merged = path("merged.hlog");
    let logs = merge(&[&a, &b], &["--hlog", merged.to_str().expect("text"), "--slo", "p99.9<60s"]);
    assert_eq!(logs.code, 0, "{}", logs.stderr);
    for (tag, pointer) in [("latency", "/load/latency"), ("service", "/load/service")] {
        let expected = reports.report.pointer(pointer).expect(pointer);
        for field in ["samples", "p99_seconds", "max_seconds"] {
            assert_eq!(logs.report["timings"][tag][field], expected[field], "{tag} {field}");
        }
    }
    let again = merge(&[&merged], &[]);
    assert_eq!(again.report["timings"], logs.report["timings"]);
    assert_eq!(again.report["intervals"], json!(2), "one interval per tag");
    let missed = merge(&[&a], &["--slo", "p50<1ns"]);
    assert_eq!(missed.code, 1, "{}", missed.stderr);
}

#[test]
fn inputs_that_do_not_belong_together_are_rejected_in_one_sentence() {
    let [(report, a, a_log), (_, b, _)] = run_shards("refused");
    let mut longer = report;
    longer["settings"]["duration_seconds"] = json!(99);
    let other = path("refused-longer.json");
    std::fs::write(&other, longer.to_string()).expect("a file can be written");
    let garbage = path("garbage.hlog");
    std::fs::write(&garbage, "Tag=latency,0.0,1.0,2.0,HISTnonsense\n").expect("a file can be written");
    let valid = std::fs::read_to_string(&a_log).expect("a log");
    let (_, histogram) = valid
        .lines()
        .find(|line| line.starts_with("Tag="))
        .and_then(|line| line.rsplit_once(','))
        .expect("one");
    let never = path("never-ends.hlog");
    std::fs::write(&never, format!("Tag=latency,18446744073709551615.5,1.5,2.0,{histogram}\n"))
        .expect("a file");
    let late = path("starts-late.hlog");
    std::fs::write(&late, format!("#[StartTime: 18446744073709551615.0 (seconds)]\n{valid}"))
        .expect("a file");
    let merged = path("refused-merged.hlog");
    for (shards, more) in [
        (&[&*a, &*a_log][..], &[][..]),
        (&[&*a, &*other], &[]),
        (&[&*garbage], &[]),
        (&[&*never], &[]),
        (&[&*late], &["--hlog", merged.to_str().expect("text")]),
        (&[Path::new("/nowhere.json")], &[]),
        (&[&*a_log], &["--slo", "lost==0"]),
        (&[&*a, &*b], &["--hlog", "/nowhere"]),
    ] {
        let outcome = merge(shards, more);
        assert_eq!((outcome.code, outcome.stderr.lines().count()), (2, 1), "{shards:?}: {}", outcome.stderr);
    }
}
