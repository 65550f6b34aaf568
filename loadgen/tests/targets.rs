//! Targets and flags that make a verdict impossible give one sentence, exit
//! code 2, and a report if there was a run.

mod support;

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;

use support::chat::{Faults, Server};
#[cfg(unix)]
use support::program::interrupted;
use support::program::{Outcome, loadgen, run};

/// Starts a server that calls `serve` for each connection.
fn target(serve: fn(TcpStream)) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || serve(stream));
        }
    });
    address
}

#[track_caller]
fn assert_invalid(outcome: &Outcome, failure: &str, sentence: &str) {
    assert_eq!(outcome.code, 2, "{}", outcome.stderr);
    assert_eq!(outcome.report["verdict"]["outcome"], "invalid");
    assert!(outcome.count(&format!("/load/failures/{failure}")) > 0, "{}", outcome.report["load"]);
    assert!(outcome.reasons().contains(sentence), "{}", outcome.reasons());
    assert!(outcome.stderr.contains(sentence), "{}", outcome.stderr);
}

#[test]
fn a_target_that_refuses_connections_is_reported() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    drop(listener);
    assert_invalid(&run(address, &[]), "refused", "the target refuses connections");
}

#[test]
fn a_target_that_closes_connections_is_reported() {
    let address = target(|mut stream| {
        let _ = stream.read(&mut [0; 512]);
    });
    assert_invalid(&run(address, &[]), "closed", "the target closed the connection");
}

#[test]
fn the_targets_reason_for_closing_is_reported() {
    let address = target(|mut stream| {
        let _ = stream.read(&mut [0; 512]);
        let _ = stream.write_all(b"ERROR :no room \x1b[2J\xff\r\n");
        let _ = stream.read(&mut [0; 512]);
    });
    assert_invalid(&run(address, &[]), "closed", "ERROR :no room");
}

#[test]
fn a_target_that_resets_connections_is_reported() {
    // A socket that is closed with unread data resets the connection.
    let address = target(|stream| {
        let _ = stream.peek(&mut [0]);
    });
    assert_invalid(&run(address, &[]), "reset", "the target reset the connection");
}

#[test]
fn a_silent_target_is_reported_as_a_timeout() {
    let address = target(|mut stream| {
        let _ = stream.read_to_end(&mut Vec::new());
    });
    assert_invalid(&run(address, &["--timeout", "200ms"]), "timeout", "wait for more than 200ms");
}

#[test]
fn a_target_that_does_not_speak_irc_is_reported() {
    let address = target(|mut stream| {
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        let _ = stream.read_to_end(&mut Vec::new());
    });
    assert_invalid(&run(address, &[]), "protocol", "does not speak IRC: it sent `HTTP/1.1 400 Bad Request`");
}

#[test]
fn a_target_that_fails_during_the_run_ends_it() {
    let server = Server::start(Faults { closes_after: Some(20), ..Faults::default() });
    let outcome = run(server.address, &["--duration", "20s"]);
    assert_invalid(&outcome, "closed", "every connection was closed");
    assert!(outcome.count("/load/deliveries/delivered") > 0);
    assert!(outcome.number("/load/measured_seconds") < 10.0, "the run must end when no connection is left");
}

#[test]
fn a_late_generator_makes_the_run_invalid() {
    let server = Server::start(Faults::default());
    let outcome = run(server.address, &["--max-send-lag", "1ns"]);
    assert_eq!((outcome.code, outcome.count("/load/deliveries/lost")), (2, 0), "{}", outcome.stderr);
    assert!(outcome.reasons().contains("the generator was late, not the server"), "{}", outcome.reasons());
}

#[test]
fn a_host_name_that_does_not_resolve_is_reported() {
    let outcome = loadgen(&["run", "--target", "nowhere.invalid:6667", "--json", "-", "--quiet"]);
    assert_eq!(outcome.code, 2, "{}", outcome.stderr);
    assert!(outcome.reasons().contains("the address of nowhere.invalid:6667"), "{}", outcome.reasons());
}

#[test]
fn invalid_flags_are_rejected_in_one_sentence() {
    let target = ["run", "--target", "127.0.0.1:1"];
    for (flags, sentence) in [
        (&["--rooms", "600"][..], "use at most 500"),
        (&["--payload", "500"], "use at most 400"),
        (&["--rate", "0"], "above 0"),
        (&["--duration", "soon"], "500ms, 20s or 2m"),
        (&["--slo", "p98<5ms"], "cannot be an objective"),
        (&["--slo", "login.p98<5ms"], "`service.`, `login.`, `send_lag.`, `receive_lag.`"),
        (&["--slo", "blocking.events==0"], "add --telemetry URL"),
        (&["--slo-file", "/nowhere/at/all"], "cannot be read"),
        (&["--stages", "5"], "RATE:DURATION"),
        (&["--stages", "5:1s", "--rate", "5"], "cannot be used with"),
        (&["--mix", "dance"], "not a command of the mix"),
        (&["--mix", "oper:1"], "needs --oper NAME:PASSWORD"),
        (&["--oper", "a:b c"], "must not be empty, have blanks"),
        (&["--nick-prefix", "9x"], "begin with a letter"),
        (&["--telemetry", "nowhere"], "is not a URL"),
        (&["--telemetry", "127.0.0.1:1"], "the telemetry at http://127.0.0.1:1 cannot be read"),
        (&["--telemetry", "http://127.0.0.1:1"], "the telemetry at http://127.0.0.1:1 cannot be read"),
        (&["--bogus"], "unexpected argument '--bogus'"),
        (&["--duratoin", "1s"], "a similar argument exists: '--duration'"),
        (&["--from", "127.0.0.300"], "invalid IP address"),
    ] {
        let outcome = loadgen(&[&target[..], flags].concat());
        assert_eq!(outcome.code, 2, "{flags:?}: {}", outcome.stderr);
        assert!(outcome.stderr.contains(sentence), "{flags:?}: {}", outcome.stderr);
        assert_eq!(outcome.stderr.lines().count(), 1, "{flags:?}: {}", outcome.stderr);
    }
    for arguments in
        [&["run"][..], &[], &["hunt", "--target", "127.0.0.1:1"], &["run", "--target", "nowhere"], &["hnt"]]
    {
        let outcome = loadgen(arguments);
        assert_eq!(
            (outcome.code, outcome.stderr.lines().count()),
            (2, 1),
            "{arguments:?}: {}",
            outcome.stderr
        );
    }
}

/// Skipped for a user that can raise its hard limit or has a high one.
#[cfg(unix)]
#[test]
fn too_few_descriptors_are_reported_before_the_run() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let may_raise = limit.maximum.is_none_or(|maximum| {
        let more = Rlimit { current: limit.current, maximum: Some(maximum + 1) };
        setrlimit(Resource::Nofile, more).is_ok()
    });
    if may_raise || limit.maximum.is_some_and(|maximum| maximum >= 100_064) {
        eprintln!("SKIPPED: this user can open 100,064 file descriptors");
        return;
    }
    let outcome = loadgen(&["run", "--target", "127.0.0.1:1", "--connections", "100000"]);
    assert_eq!((outcome.code, outcome.stderr.lines().count()), (2, 1), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("needs 100064 file descriptors"), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("or use at most "), "{}", outcome.stderr);
}

/// While the generator connects, nothing is measured yet. The report says so.
#[cfg(unix)]
#[test]
fn a_signal_while_connecting_gives_an_invalid_report() {
    let address = target(|mut stream| {
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let target = address.to_string();
    let flags = ["--connections", "10", "--rooms", "2", "--ramp", "0s", "--timeout", "10m", "--json", "-"];
    let outcome = interrupted(&[&["run", "--target", &target][..], &flags].concat(), "connecting");
    assert_eq!((outcome.code, &outcome.report["interrupted"]), (2, &serde_json::Value::Bool(true)));
    assert!(outcome.reasons().contains("interrupted before anything was measured"), "{}", outcome.reasons());
}

#[cfg(unix)]
#[test]
fn a_signal_ends_the_run_early_with_a_correct_report() {
    let server = Server::start(Faults::default());
    let target = server.address.to_string();
    let flags = [
        "--connections",
        "10",
        "--rooms",
        "2",
        "--ramp",
        "0s",
        "--duration",
        "10m",
        "--max-send-lag",
        "10s",
        "--json",
        "-",
    ];
    let outcome = interrupted(&[&["run", "--target", &target][..], &flags].concat(), "measuring");
    assert_eq!((outcome.code, &outcome.report["interrupted"]), (0, &serde_json::Value::Bool(true)));
    let messages = server.counts(|counts| counts.messages);
    assert_eq!(outcome.count("/load/commands/by_kind/privmsg/planned"), messages);
    assert_eq!(outcome.count("/load/deliveries/expected"), messages * 4);
    assert_eq!(outcome.count("/load/deliveries/delivered"), messages * 4);
}
