//! The JSON report is valid by its schema, and the schema rejects other
//! documents.

mod support;

use serde_json::{Value, json};
use support::chat::{Faults, Server};
use support::program::{Outcome, loadgen, run};
use support::schema::{self, validator};
use support::telemetry;

#[track_caller]
fn assert_valid(outcome: &Outcome) {
    schema::assert_valid(&outcome.report);
}

/// Runs a hunt against a running server whose telemetry has these findings.
fn hunt(findings: Vec<Value>, more: &[&str]) -> Outcome {
    hunt_with_telemetry(&telemetry::start(findings), more)
}

/// Runs a hunt against a running server whose telemetry has this URL.
fn hunt_with_telemetry(url: &str, more: &[&str]) -> Outcome {
    let server = Server::start(Faults::default());
    let target = server.address.to_string();
    let hunt = ["hunt", "--target", &target, "--telemetry", url, "--json", "-", "--quiet"];
    let small_load = [
        "--connections",
        "4",
        "--rooms",
        "1",
        "--ramp",
        "0s",
        "--duration",
        "500ms",
        "--max-send-lag",
        "10s",
    ];
    loadgen(&[&hunt[..], &small_load, more].concat())
}

#[test]
fn the_report_of_a_run_is_valid() {
    let server = Server::start(Faults::default());
    let slo = ["--slo", "p99.9<5s", "--slo", "lost<1%", "--slo", "max<1us", "--mix", "privmsg,who,join"];
    let outcome = run(server.address, &[&slo[..], &["--churn", "20"]].concat());
    assert_eq!(outcome.code, 1, "{}", outcome.stderr);
    assert_valid(&outcome);
}

#[test]
fn the_report_of_a_run_that_cannot_start_is_valid() {
    let outcome = loadgen(&["run", "--target", "nowhere.invalid:1", "--json", "-", "--quiet"]);
    assert_eq!(outcome.code, 2);
    assert_valid(&outcome);
}

#[test]
fn the_report_of_a_hunt_is_valid_and_contains_the_findings() {
    let outcome = hunt(vec![telemetry::finding("a", 0.1), telemetry::finding("b", 0.5)], &[]);
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    assert_valid(&outcome);
    assert_eq!(outcome.report["findings"]["findings"][0]["id"], "b", "findings are sorted by total time");
    assert_eq!(outcome.report["stalls"]["stalls"][0]["start_unix_ns"], 1);
    for part in ["2 blocking calls found in ", ": 8 stalls, 600 ms of worker time; 3 polls starved"] {
        assert!(outcome.stderr.contains(part), "{}", outcome.stderr);
    }
}

#[test]
fn findings_fail_a_run_with_deny() {
    let denied = hunt(vec![telemetry::finding("a", 0.1)], &["--deny"]);
    assert_eq!((denied.code, &denied.report["verdict"]["outcome"]), (1, &json!("denied")));
    assert_valid(&denied);
    let clean = hunt(vec![], &["--deny", "--minimise"]);
    assert!(clean.report["minimal"].is_null(), "there is nothing to minimise");
    assert!(!clean.stderr.contains("least load"), "{}", clean.stderr);
    assert_eq!(clean.code, 0, "{}", clean.stderr);
    assert!(clean.stderr.contains("no blocking call found in "), "{}", clean.stderr);
}

/// In a container, the pid is the same before and after a restart.
#[test]
fn findings_of_a_restarted_server_count_although_its_pid_is_the_same() {
    let url = telemetry::start_restarted(vec![telemetry::finding("a", 0.1)]);
    let outcome = hunt_with_telemetry(&url, &["--deny", "--slo", "blocking.events==0"]);
    assert_eq!(outcome.code, 1, "{}", outcome.stderr);
    assert_eq!(outcome.reasons(), r#"["1 finding denied","blocking.events==0 was missed"]"#);
}

#[test]
fn objectives_from_a_file_are_checked_against_clients_and_server() {
    let path = std::env::temp_dir().join(format!("loadgen-slo-{}", std::process::id()));
    let objectives =
        "# clients and server\np99<5s  # what clients feel\n\nblocking.events==0\nblocking.share<1000%\n";
    std::fs::write(&path, objectives).expect("a file");
    let file = path.to_str().expect("text");
    let missed = hunt(vec![telemetry::finding("a", 0.1)], &["--slo-file", file]);
    assert_eq!(missed.code, 1, "{}", missed.stderr);
    assert_valid(&missed);
    assert_eq!(missed.reasons(), r#"["blocking.events==0 was missed"]"#);
    assert_eq!(missed.report["objectives"][1]["actual"], 4.0);
    assert_eq!(hunt(vec![], &["--slo-file", file]).code, 0);

    std::fs::write(&path, "p99<5s\np98<5s\n").expect("a file");
    let wrong = hunt(vec![], &["--slo-file", file]);
    assert_eq!(wrong.code, 2);
    assert!(wrong.stderr.contains(&format!("{file}:2: `p98` cannot be")), "{}", wrong.stderr);
    std::fs::remove_file(&path).expect("it was there");
}

#[test]
fn an_objective_missed_by_the_generator_makes_the_run_invalid() {
    let server = Server::start(Faults::default());
    let outcome = run(server.address, &["--slo", "send_lag.max<1ns", "--slo", "p99<1ns"]);
    assert_eq!(outcome.code, 2, "{}", outcome.stderr);
    assert_eq!(outcome.reasons(), r#"["the generator missed send_lag.max<1ns"]"#);
    assert_valid(&outcome);
    assert!(outcome.count("/generator/receive_lag/samples") > 50, "{}", outcome.report["generator"]);
}

#[test]
fn invalid_reports_are_rejected_by_the_schema() {
    let good = hunt(vec![telemetry::finding("a", 0.1)], &[]).report;
    let validator = validator("loadgen.report/1");
    assert!(validator.is_valid(&good));
    let broken: [(&str, Value); 8] = [
        ("/schema", json!("loadgen.report/2")),
        ("/load/deliveries/lost", json!(-1)),
        ("/load/latency/p99_seconds", json!("fast")),
        ("/settings/mix", json!({"dance": 1})),
        ("/verdict/exit_code", json!(1)),
        ("/findings/schema", json!("loopscope.findings/2")),
        ("/findings/findings/0/cause", json!("magic")),
        ("/findings/findings/0/stack/0", json!({"function": "f"})),
    ];
    for (pointer, value) in broken {
        let mut report = good.clone();
        *report.pointer_mut(pointer).expect(pointer) = value;
        assert!(!validator.is_valid(&report), "{pointer}");
    }
    let mut with_unknown_field = good.clone();
    with_unknown_field["surprise"] = json!(1);
    assert!(!validator.is_valid(&with_unknown_field));
    let mut without_load = good;
    without_load.as_object_mut().and_then(|report| report.remove("load")).expect("the report has a load");
    assert!(!validator.is_valid(&without_load));
}

#[test]
fn the_page_is_self_contained_and_escapes_markup() {
    let path = std::env::temp_dir().join(format!("loadgen-{}.html", std::process::id()));
    let mut finding = telemetry::finding("a", 0.1);
    finding["advice"] = json!("<script>alert(1)</script>");
    let outcome = hunt(vec![finding], &["--html", path.to_str().expect("text"), "--slo", "p99<5s"]);
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    let page = std::fs::read_to_string(&path).expect("the page");
    for part in [
        "<!doctype html>",
        "Latency by percentile",
        "prefers-color-scheme:dark",
        "p99&lt;5s",
        "app/src/main.rs",
        "&lt;script",
    ] {
        assert!(page.contains(part), "{part}");
    }
    assert_eq!(page.matches("<svg").count(), 4);
    assert_eq!(page.matches("<details>").count(), 3, "each picture has a table");
    let links: Vec<_> =
        page.split("href=\"").skip(1).map(|rest| rest.split('"').next().expect("a link")).collect();
    assert_eq!(links.len(), 2, "{links:?}");
    assert!(links[0] == "#finding-a" && page.contains("id=\"finding-a\""), "{links:?}");
    assert!(links[1].starts_with("http://127.0.0.1:") && links[1].ends_with("/#finding=a"), "{links:?}");
    for part in ["<script", "src=", "url(", "@import", "NaN", ",inf"] {
        assert!(!page.contains(part), "{part}");
    }
    std::fs::remove_file(path).expect("it was there");
}
