//! The HTTP driver uses the same schedule and report as the IRC driver.

mod support;

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use support::program::{Outcome, loadgen};
use support::web::{ReceivedRequest, WebFaults, WebServer};

/// Runs a short load: five connections, 100 requests per second for one second.
fn run_get(address: SocketAddr, more: &[&str]) -> Outcome {
    let url = format!("http://{address}/page?x=1");
    let mut arguments = vec!["run", "--target", &url, "--json", "-", "--quiet"];
    for (flag, value) in [
        ("--connections", "5"),
        ("--rate", "100"),
        ("--duration", "1s"),
        ("--ramp", "50ms"),
        ("--drain", "1s"),
        ("--max-send-lag", "10s"),
    ] {
        if !more.contains(&flag) {
            arguments.extend([flag, value]);
        }
    }
    arguments.extend(more);
    loadgen(&arguments)
}

#[test]
fn every_request_is_answered_and_counted() {
    let server = WebServer::start(WebFaults { fails_every: Some(10), ..WebFaults::default() });
    let outcome =
        run_get(server.address, &["--slo", "lost==0", "--slo", "error_replies<20%", "--slo", "p99<5s"]);
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    assert_eq!(outcome.count("/load/commands/by_kind/get/sent"), 100);
    assert_eq!(outcome.count("/load/deliveries/delivered"), 100);
    assert_eq!(outcome.count("/load/latency/samples"), 100);
    assert_eq!(outcome.count("/load/send_lag/samples"), 100);
    assert_eq!(server.count(), 105, "each of the 5 connections first sends a request to check for HTTP");
    // None of these first five requests failed.
    assert_eq!(outcome.count("/load/commands/error_replies/503"), 10);
}

#[test]
fn errors_that_no_objective_limits_cause_a_warning() {
    let server = WebServer::start(WebFaults { fails_every: Some(10), ..WebFaults::default() });
    let warning = "10 of 100 answers were errors (503), but count as answers";
    let outcome = run_get(server.address, &[]);
    assert!(outcome.code == 0 && outcome.stderr.contains(warning), "{}", outcome.stderr);
    let outcome = run_get(server.address, &["--slo", "error_replies<20%"]);
    assert!(outcome.code == 0 && !outcome.stderr.contains("warning"), "{}", outcome.stderr);
    let healthy = WebServer::start(WebFaults::default());
    let outcome = run_get(healthy.address, &[]);
    assert!(outcome.code == 0 && !outcome.stderr.contains("warning"), "{}", outcome.stderr);
}

#[test]
fn a_search_takes_no_rate_at_which_the_server_answers_with_errors() {
    let server = WebServer::start(WebFaults { fails_every: Some(1), ..WebFaults::default() });
    let url = format!("http://{}/page?x=1", server.address);
    let search = |more: &[&str]| {
        let arguments = ["search", "--target", &url, "--json", "-", "--quiet", "--connections", "2"];
        let trials =
            ["--ramp", "0s", "--duration", "300ms", "--rate", "4", "--max-rate", "4", "--trials", "1"];
        loadgen(&[&arguments[..], &trials, &["--max-send-lag", "10s", "--slo", "lost==0"], more].concat())
    };
    let outcome = search(&[]);
    assert_eq!(outcome.code, 1, "{}", outcome.stderr);
    assert_eq!(outcome.report["objectives"], serde_json::json!(["lost==0", "error_replies==0"]));
    assert_eq!(outcome.report["limit"]["reasons"], serde_json::json!(["error_replies==0 was missed"]));
    let outcome = search(&["--slo", "error_replies<=100%"]);
    assert_eq!((outcome.code, &outcome.report["answer"]["rate"]), (0, &serde_json::json!(4.0)));
}

#[test]
fn a_server_that_closes_every_connection_loses_nothing() {
    let server = WebServer::start(WebFaults { closes: true, ..WebFaults::default() });
    let outcome = run_get(server.address, &[]);
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    assert_eq!(outcome.count("/load/deliveries/delivered"), 100);
    assert_eq!(outcome.count("/load/deliveries/lost"), 0);
}

/// The figures of the report whose bounds follow from the server's clock.
const PERCENTILES: [(&str, f64); 5] =
    [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p999", 0.999), ("max", 1.0)];

/// 200 requests are evenly spread over 2 s, and the server freezes for 1 s. Half
/// of the requests wait, although there are only five connections. Each
/// percentile lies between two values that follow from the schedule and the
/// server's clock alone; a busy machine moves them together with the percentile.
#[test]
fn a_freeze_delays_all_requests_that_were_due_during_it() {
    // At the 50th of the 200 requests, after the first one of each connection.
    let freeze = Some((55, Duration::from_secs(1)));
    let server = WebServer::start(WebFaults { freeze, ..WebFaults::default() });
    let outcome = run_get(server.address, &["--duration", "2s", "--drain", "60s"]);
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    assert_eq!(outcome.count("/load/deliveries/delivered"), 200);
    let begin = UNIX_EPOCH + Duration::from_secs_f64(outcome.number("/started_unix_seconds"));
    let shortest = shortest_possible_waits(&server, begin);
    let longest = longest_possible_waits(&server, begin);
    assert_eq!((shortest.len(), longest.len()), (200, 200));
    let max = outcome.number("/load/latency/max_seconds");
    assert!(max >= 0.999, "the request during which the server freezes takes 1 s, not {max}");
    let assert_within = |pointer: &str, at_least: f64, at_most: f64| {
        let actual = outcome.number(pointer);
        // The report keeps three digits; the two clocks differ by less than
        // 200 µs.
        assert!(
            (at_least * 0.998 - 0.000_2..at_most * 1.002 + 0.000_2).contains(&actual),
            "{pointer}: {at_least} <= {actual} <= {at_most}"
        );
    };
    for (name, quantile) in PERCENTILES {
        let index = (quantile * 200.0).ceil() as usize - 1;
        assert_within(&format!("/load/latency/{name}_seconds"), shortest[index], longest[index]);
    }
    let mean = |waits: &[f64]| waits.iter().sum::<f64>() / 200.0;
    assert_within("/load/latency/mean_seconds", mean(&shortest), mean(&longest));
    // The service time is what a closed-loop generator would report: five slow
    // responses.
    let (service, latency) = ("/load/service/p90_seconds", "/load/latency/p90_seconds");
    assert!(outcome.number(service) < outcome.number(latency) / 2.0, "{}", outcome.report["load"]["service"]);
    assert!(outcome.number("/load/send_lag/p90_seconds") < 0.5, "the wait for a connection is not send lag");
}

/// Returns how long each measured request must have waited, in seconds and
/// ascending: none that was due during the freeze is answered before its end.
fn shortest_possible_waits(server: &WebServer, begin: SystemTime) -> Vec<f64> {
    let (frozen, thawed) = server.frozen().expect("it froze");
    let wait = |number: u32| {
        let due = begin + Duration::from_millis(10) * number;
        let waits = due >= frozen && due < thawed;
        if waits { thawed.duration_since(due).unwrap_or_default().as_secs_f64() } else { 0.0 }
    };
    let mut waits: Vec<_> = (0..200).map(wait).collect();
    waits.sort_by(f64::total_cmp);
    waits
}

/// Returns how long each measured request can have waited at most by the times
/// of the server, in seconds and ascending. One is due every 10 ms, the first
/// at `begin`.
fn longest_possible_waits(server: &WebServer, begin: SystemTime) -> Vec<f64> {
    let mut requests = server.requests();
    requests.retain(|request| !request.is_first);
    let now = SystemTime::now();
    let longest = |request: &ReceivedRequest| {
        // The requests are sent in the order in which they are due.
        let is_earlier = |other: &&ReceivedRequest| other.sent_before <= request.sent_after;
        let earlier = requests.iter().filter(is_earlier).count() as u32;
        let due = begin + Duration::from_millis(10) * earlier;
        // Every connection is closed by now.
        let answered = request.answered_before.unwrap_or(now);
        answered.duration_since(due).unwrap_or_default().as_secs_f64()
    };
    let mut waits: Vec<_> = requests.iter().map(longest).collect();
    waits.sort_by(f64::total_cmp);
    waits
}

#[test]
fn requests_without_a_response_are_lost() {
    let server = WebServer::start(WebFaults { stalls_after: Some(55), ..WebFaults::default() });
    let outcome = run_get(server.address, &["--timeout", "300ms", "--slo", "lost==0"]);
    assert_eq!(outcome.code, 1, "{}", outcome.stderr);
    assert_eq!(outcome.count("/load/deliveries/delivered"), 50);
    assert_eq!(outcome.count("/load/deliveries/lost"), 50);
    assert_eq!(outcome.count("/load/latency/samples"), 100);
    assert!(
        outcome.number("/load/latency/p90_seconds") >= 1.0,
        "a lost request counts as at least the drain time"
    );
    assert!(outcome.count("/load/failures/timeout") > 0, "{}", outcome.report["load"]["failures"]);
}

/// Each of the five connections waits for the answer to its first request
/// until the end, so the others stay in the queue.
#[test]
fn requests_that_no_connection_was_free_for_are_not_sent() {
    let server = WebServer::start(WebFaults { stalls_after: Some(5), ..WebFaults::default() });
    let outcome = run_get(server.address, &["--drain", "100ms", "--timeout", "10m"]);
    for counts in ["/load/commands", "/load/commands/by_kind/get", "/load/stages/0/commands"] {
        let count = |name: &str| outcome.count(&format!("{counts}/{name}"));
        assert_eq!((count("planned"), count("sent"), count("skipped")), (100, 5, 95), "{counts}");
    }
    assert_eq!(outcome.count("/load/deliveries/lost"), 100);
    // The pacer of a busy machine may be late, which lowers the rate.
    assert!(
        outcome.number("/load/commands/sent_per_second") <= 5.0,
        "{}",
        outcome.report["load"]["commands"]
    );
    let bins = outcome.report["load"]["timeline"]["bins"].as_array().expect("bins");
    assert_eq!(bins.iter().map(|bin| bin["sent"].as_u64().expect("a count")).sum::<u64>(), 5);
}

#[test]
fn a_target_that_does_not_speak_http_is_reported() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.read(&mut [0; 512]);
            let _ = stream.write_all(b":server NOTICE * :who are you\r\n\r\n");
        }
    });
    let outcome = run_get(address, &[]);
    assert_eq!(outcome.code, 2, "{}", outcome.stderr);
    assert!(outcome.reasons().contains("does not speak HTTP/1.1"), "{}", outcome.reasons());
    assert!(outcome.count("/load/failures/protocol") > 0);
}

#[test]
fn a_mix_that_does_not_fit_the_target_is_rejected() {
    let page = loadgen(&["run", "--target", "http://127.0.0.1:1/", "--mix", "privmsg"]);
    assert!(page.code == 2 && page.stderr.contains("knows only `get`"), "{}", page.stderr);
    let chat = loadgen(&["run", "--target", "127.0.0.1:1", "--mix", "privmsg,get"]);
    assert!(chat.code == 2 && chat.stderr.contains("--mix has `get`"), "{}", chat.stderr);
    let plain = loadgen(&["run", "--target", "http://127.0.0.1:1/", "--insecure"]);
    assert!(plain.code == 2 && plain.stderr.contains("needs a target with TLS"), "{}", plain.stderr);
    let other = loadgen(&["run", "--target", "ftp://127.0.0.1:1/"]);
    assert!(other.code == 2 && other.stderr.contains("`ftp` is not supported"), "{}", other.stderr);
}
