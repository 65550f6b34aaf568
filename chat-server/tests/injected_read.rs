//! `--inject chathistory`: loopscope finds the read at its line.
#![cfg(target_os = "linux")]
#![allow(missing_docs)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const SOURCE: &str = include_str!("../src/services/history_reader.rs");

struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn connect(address: &str) -> TcpStream {
    let stream = TcpStream::connect(address).expect("accepted");
    stream.set_read_timeout(Some(Duration::from_secs(30))).expect("set");
    stream
}

/// Returns file and line of each finding.
fn found_lines(telemetry: &str) -> Vec<(String, u64)> {
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
    let mut process = Command::new(env!("CARGO_BIN_EXE_chat-server"))
        .args(["--listen=127.0.0.1:0", "--telemetry=127.0.0.1:0", "--inject=chathistory=100ms"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("it runs");
    let mut ready = String::new();
    let stdout = process.stdout.take().expect("piped");
    let _server = Server(process);
    BufReader::new(stdout).read_line(&mut ready).expect("a line");
    let address = |name: &str| {
        ready.split_whitespace().find_map(|word| word.strip_prefix(name)).expect(&ready).to_owned()
    };
    let mut ada = BufReader::new(connect(&address("irc=")));
    ada.get_mut().write_all(b"NICK ada\r\nUSER ada 0 * :r\r\nJOIN #a\r\nPRIVMSG #a :x\r\n").expect("sent");
    let line =
        SOURCE.lines().position(|line| line.ends_with("// THE MISTAKE")).expect("the mistake") as u64 + 1;
    let started = Instant::now();
    loop {
        ada.get_mut().write_all(b"CHATHISTORY LATEST #a * 1\r\n").expect("sent");
        let mut answer = String::new();
        while !answer.contains(" PRIVMSG #a :x") {
            answer.clear();
            assert!(ada.read_line(&mut answer).expect("an answer in time") > 0);
        }
        let found = found_lines(&address("telemetry="));
        let has_line = |(file, at): &(String, u64)| file.ends_with("history_reader.rs") && *at == line;
        if found.iter().any(has_line) {
            return;
        }
        assert!(started.elapsed() < Duration::from_secs(30), "line {line}, found {found:?}");
        std::thread::sleep(Duration::from_millis(100));
    }
}
