//! The HTTP driver: the same schedule, the same report.

mod support;

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use support::program::{Outcome, loadgen};
use support::web::{Manners, WebServer};

/// A short run: five connections, a hundred requests a second for a second.
fn get(address: SocketAddr, more: &[&str]) -> Outcome {
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
    let server = WebServer::start(Manners { fails_every: Some(10), ..Manners::default() });
    let outcome = get(server.address, &["--slo", "lost==0", "--slo", "error_replies<20%", "--slo", "p99<5s"]);
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    assert_eq!(outcome.count("/load/commands/by_kind/get/sent"), 100);
    assert_eq!(outcome.count("/load/deliveries/delivered"), 100);
    assert_eq!(outcome.count("/load/latency/samples"), 100);
    assert_eq!(outcome.count("/load/send_lag/samples"), 100);
    assert_eq!(server.count(), 105, "and one from each connection, to see whether the target speaks HTTP");
    // Of the first five requests none failed.
    assert_eq!(outcome.count("/load/commands/error_replies/503"), 10);
}

#[test]
fn a_server_that_closes_every_connection_loses_nothing() {
    let server = WebServer::start(Manners { closes: true, ..Manners::default() });
    let outcome = get(server.address, &[]);
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    assert_eq!(outcome.count("/load/deliveries/delivered"), 100);
    assert_eq!(outcome.count("/load/deliveries/lost"), 0);
}

/// 200 requests come evenly over 2 s and the server freezes for 1 s: half of
/// them wait, although there are only five connections to wait on.
#[test]
fn a_frozen_server_cannot_hide() {
    let freeze = Some((Duration::from_millis(500), Duration::from_secs(1)));
    let server = WebServer::start(Manners { freeze, ..Manners::default() });
    let outcome = get(server.address, &["--duration", "2s"]);
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    assert_eq!(outcome.count("/load/deliveries/delivered"), 200);
    let near = |pointer: &str, expected: f64| {
        let actual = outcome.number(pointer);
        // A busy machine adds to a wait and takes nothing away.
        let about = expected - 0.2..expected + 0.6;
        assert!(about.contains(&actual), "{pointer} is {actual}, not about {expected}");
    };
    near("/load/latency/max_seconds", 1.0);
    near("/load/latency/p90_seconds", 0.8);
    near("/load/latency/mean_seconds", 0.25);
    // What a closed model would have reported: five slow answers.
    let (service, latency) = ("/load/service/p90_seconds", "/load/latency/p90_seconds");
    assert!(outcome.number(service) < outcome.number(latency) / 2.0, "{}", outcome.report["load"]["service"]);
    assert!(outcome.number("/load/send_lag/p90_seconds") < 0.5, "waiting for a connection is no lateness");
}

#[test]
fn a_server_that_stalls_loses_what_it_does_not_answer() {
    let server = WebServer::start(Manners { stalls_after: Some(55), ..Manners::default() });
    let outcome = get(server.address, &["--timeout", "300ms", "--slo", "lost==0"]);
    assert_eq!(outcome.code, 1, "{}", outcome.stderr);
    assert_eq!(outcome.count("/load/deliveries/delivered"), 50);
    assert_eq!(outcome.count("/load/deliveries/lost"), 50);
    assert_eq!(outcome.count("/load/latency/samples"), 100);
    assert!(outcome.number("/load/latency/p90_seconds") >= 1.0, "censored at no less than the drain time");
    assert!(outcome.count("/load/failures/timeout") > 0, "{}", outcome.report["load"]["failures"]);
}

#[test]
fn nonsense_is_told_as_such() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.read(&mut [0; 512]);
            let _ = stream.write_all(b":server NOTICE * :who are you\r\n\r\n");
        }
    });
    let outcome = get(address, &[]);
    assert_eq!(outcome.code, 2, "{}", outcome.stderr);
    assert!(outcome.reasons().contains("does not speak HTTP/1.1"), "{}", outcome.reasons());
    assert!(outcome.count("/load/failures/protocol") > 0);
}

#[test]
fn a_chat_mix_is_refused_for_a_page_and_a_page_for_chat() {
    let page = loadgen(&["run", "--target", "http://127.0.0.1:1/", "--mix", "privmsg"]);
    assert!(page.code == 2 && page.stderr.contains("knows only `get`"), "{}", page.stderr);
    let chat = loadgen(&["run", "--target", "127.0.0.1:1", "--mix", "privmsg,get"]);
    assert!(chat.code == 2 && chat.stderr.contains("--mix has `get`"), "{}", chat.stderr);
    let tls = loadgen(&["run", "--target", "https://127.0.0.1:1/"]);
    assert!(tls.code == 2 && tls.stderr.contains("only http://"), "{}", tls.stderr);
}
