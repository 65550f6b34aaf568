//! `hunt` starts the embedded server, finds its mistakes, and the server ends
//! with its parent.

mod support;

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::Stdio;

use support::program::{command, loadgen};

const SMALL_LOAD: [&str; 10] =
    ["--connections", "10", "--rooms", "2", "--ramp", "0s", "--duration", "500ms", "--max-send-lag", "10s"];

#[test]
fn an_invalid_server_flag_is_reported_with_the_error_of_the_server() {
    let outcome = loadgen(&[&["hunt", "--inject", "dance", "--quiet"][..], &SMALL_LOAD].concat());
    assert_eq!((outcome.code, outcome.stderr.lines().count()), (2, 1), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("the embedded chat server did not start: "), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("dance"), "{}", outcome.stderr);
    assert_eq!(outcome.stderr.matches("loadgen: ").count(), 1, "{}", outcome.stderr);
}

#[test]
fn an_injected_mistake_is_found_and_fails_the_run_with_deny() {
    let hunt = ["hunt", "--inject", "sleep=60ms@50%", "--deny", "--json", "-", "--quiet"];
    // The load lasts long enough for a busy machine to read the debug
    // information.
    let load = ["--connections", "10", "--rooms", "2", "--ramp", "0s", "--stages", "50:1s,5:3s"];
    let outcome = loadgen(&[&hunt[..], &load, &["--max-send-lag", "10s"]].concat());
    assert_eq!(outcome.code, 1, "{}", outcome.stderr);
    let findings = outcome.report["findings"]["findings"].as_array().expect("findings");
    let sleep = findings.iter().find(|finding| finding["cause"] == "sleep").expect("the sleep is found");
    assert_eq!(sleep["site"]["file"], "chat-server/src/services/throttle.rs");
    assert!(outcome.stderr.contains("chat-server/src/services/throttle.rs:"), "{}", outcome.stderr);
}

/// Each client waits until the names of those before it were looked up. No
/// message is sent until then, so no delivery shows it.
#[test]
fn a_mistake_that_delays_only_logins_is_shown_with_their_time() {
    let hunt = ["hunt", "--inject", "resolve=100ms@100%", "--workers", "1", "--json", "-", "--quiet"];
    // The load lasts long enough for a busy machine to read the debug
    // information.
    let load = ["--connections", "10", "--rooms", "2", "--ramp", "0s", "--stages", "20:4s"];
    let outcome = loadgen(&[&hunt[..], &load, &["--max-send-lag", "10s"]].concat());
    let findings = outcome.report["findings"]["findings"].as_array().expect("findings");
    let dns = findings.iter().find(|finding| finding["cause"] == "dns").expect("the look-up is found");
    assert_eq!(dns["site"]["file"], "chat-server/src/services/resolve.rs");
    let tail = &outcome.report["login_tail"];
    assert_eq!(tail["findings"][0]["id"], dns["id"], "{tail}");
    let share = outcome.number("/login_tail/findings/0/share");
    assert!(share > 0.5, "{tail}");
    assert!(outcome.stderr.contains(" at or above the p90 of "), "{}", outcome.stderr);
    assert_eq!(outcome.stderr.matches("the server's clock is ").count(), 1, "{}", outcome.stderr);
}

#[test]
fn the_server_ends_when_its_standard_input_closes() {
    let mut serve = command(&["serve", "--", "--listen", "127.0.0.1:0", "--telemetry", "127.0.0.1:0"]);
    let mut child = serve.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it starts");
    let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
    let mut line = String::new();
    stdout.read_line(&mut line).expect("text");
    assert!(line.starts_with("chat-server ready irc=127.0.0.1:"), "{line}");
    drop(child.stdin.take());
    stdout.read_to_string(&mut line).expect("the output ends with the server");
    assert!(child.wait().expect("the server ends").success());
}
