//! `--inject chathistory` and `--inject history`: loopscope finds the mistake
//! at its line.
#![cfg(target_os = "linux")]
#![allow(missing_docs)]

mod support;

use std::io::{BufRead, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use support::program::{Program, connect};

const READER: &str = include_str!("../src/services/history_reader.rs");
const WRITER: &str = include_str!("../src/services/history.rs");

/// Returns file and line of each finding.
fn found_lines(telemetry: SocketAddr) -> Vec<(String, u64)> {
    let mut stream = connect(telemetry);
    write!(stream, "GET /findings HTTP/1.1\r\nHost: {telemetry}\r\nConnection: close\r\n\r\n").expect("sent");
    let mut response = String::new();
    stream.read_to_string(&mut response).expect("a response");
    let body = response.split_once("\r\n\r\n").expect("a body").1;
    let document: serde_norway::Value =
        serde_norway::from_str(&body[body.find('{').expect("JSON")..=body.rfind('}').expect("JSON")])
            .expect("JSON");
    let findings = document["findings"].as_sequence().expect("findings");
    let site = |finding: &serde_norway::Value| {
        let site = &finding["site"];
        Some((site["file"].as_str()?.to_owned(), site["line"].as_u64()?))
    };
    findings.iter().filter_map(site).collect()
}

#[test]
fn a_read_on_the_event_loop_is_found_at_its_line() {
    assert_found("chathistory=100ms", "CHATHISTORY LATEST #a * 1", "services/history_reader.rs", READER);
}

#[test]
fn a_write_on_the_event_loop_is_found_at_its_line() {
    assert_found("history=100ms@100%", "PRIVMSG #a :y", "services/history.rs", WRITER);
}

/// Sends `command` until the mistake in the file is found. The session makes it
/// before it handles the next line.
fn assert_found(mistake: &str, command: &str, file: &str, source: &str) {
    let inject = format!("--inject={mistake}");
    let server = Program::start(["--listen=127.0.0.1:0", "--telemetry=127.0.0.1:0", &inject]);
    let mut ada = server.client("NICK ada\r\nUSER ada 0 * :r\r\nJOIN #a\r\nPRIVMSG #a :x");
    let line =
        source.lines().position(|line| line.ends_with("// THE MISTAKE")).expect("the mistake") as u64 + 1;
    let started = Instant::now();
    loop {
        write!(ada.get_mut(), "{command}\r\nPING end\r\n").expect("sent");
        let mut answer = String::new();
        while !answer.contains(" PONG ") {
            answer.clear();
            assert!(ada.read_line(&mut answer).expect("an answer in time") > 0);
        }
        let found = found_lines(server.address("telemetry="));
        let has_line = |(path, at): &(String, u64)| path.ends_with(file) && *at == line;
        if found.iter().any(has_line) {
            return;
        }
        assert!(started.elapsed() < Duration::from_secs(30), "line {line}, found {found:?}");
        std::thread::sleep(Duration::from_millis(100));
    }
}
