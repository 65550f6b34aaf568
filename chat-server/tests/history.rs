//! The history, also after the server was killed.
#![cfg(unix)]
#![allow(missing_docs)]

mod support;

use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use support::program::{Program, say};

struct Server(Program);

impl Server {
    fn start(directory: &Path) -> Self {
        let data_dir = format!("--data-dir={}", directory.display());
        let flags = ["--listen=127.0.0.1:0", "--telemetry=off", "--flood-limit=off", &data_dir];
        Self(Program::start_with_file_size_limit(flags))
    }

    /// Returns a registered client in `#a`.
    fn member(&self) -> BufReader<TcpStream> {
        let mut client = self.0.client("NICK ada\r\nUSER ada 0 * :Ada\r\nJOIN #a");
        until(&mut client, " 366 ");
        client
    }
}

/// Returns all lines up to the first that contains `part`.
fn until(client: &mut BufReader<TcpStream>, part: &str) -> Vec<String> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        assert!(client.read_line(&mut line).expect("a line in time") > 0, "ended after {lines:#?}");
        lines.push(line.trim_end().to_owned());
        if line.contains(part) {
            return lines;
        }
    }
}

/// Returns the lines that HISTORY shows, without times and without the lines
/// `may be lost`.
fn history(client: &mut BufReader<TcpStream>) -> Vec<String> {
    say(client, "HISTORY #a 100");
    let lines = until(client, " :End of history");
    let texts = lines.iter().filter_map(|line| line.split_once("Z] ")).map(|(_, text)| text.to_owned());
    texts.filter(|text| text != "<ada> may be lost").collect()
}

#[cfg(target_os = "linux")]
#[test]
fn the_history_keeps_what_the_disk_refuses_and_stores_it_later() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = Server::start(directory.path());
    let mut ada = server.member();
    say(&mut ada, "PRIVMSG #a :before");
    assert_eq!(history(&mut ada), ["<ada> before"]);
    server.0.limit_file_size(Some(0));
    let mut expected = vec!["<ada> before".to_owned()];
    for number in 0..61 {
        say(&mut ada, &format!("PRIVMSG #a :{number}"));
        expected.push(format!("<ada> {number}"));
    }
    say(&mut ada, "HISTORY #a 100");
    let answer = until(&mut ada, " :The history is not available now, try again later").join("\n");
    assert!(answer.contains(" :Newer lines that are not on disk yet, try again later: 61"), "{answer}");
    say(&mut ada, "CHATHISTORY LATEST #a * 100");
    let answer = until(&mut ada, " FAIL CHATHISTORY MESSAGE_ERROR LATEST #a :").join("\n");
    let missing = " WARN CHATHISTORY MESSAGES_MISSING LATEST #a :Newer lines that are not on disk yet: 61";
    assert!(answer.contains(missing), "{answer}");
    // The chat itself goes on.
    say(&mut ada, "PRIVMSG ada :hello");
    until(&mut ada, " PRIVMSG ada :hello");
    server.0.limit_file_size(None);
    loop {
        say(&mut ada, "HISTORY #a 100\r\nPING end");
        let answer = until(&mut ada, " PONG ");
        let has = |part| answer.iter().any(|line| line.contains(part));
        // The store may be readable before the server writes to it again.
        if has(" :End of history") && !has("Newer lines") {
            break;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    say(&mut ada, "PRIVMSG #a :after");
    expected.push("<ada> after".to_owned());
    assert_eq!(history(&mut ada), expected);
    drop((server, ada));
    let server = Server::start(directory.path());
    assert_eq!(history(&mut server.member()), expected);
}

#[test]
fn lines_shown_by_history_survive_sigkill() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut expected = Vec::new();
    for round in 0..3 {
        let server = Server::start(directory.path());
        let mut ada = server.member();
        assert_eq!(history(&mut ada), expected, "after {round} kills");
        for line in 0..10 {
            say(&mut ada, &format!("PRIVMSG #a :{round}.{line}"));
            expected.push(format!("<ada> {round}.{line}"));
        }
        assert_eq!(history(&mut ada), expected, "before the kill");
        // No HISTORY follows this message, so it may be lost. The file must
        // stay valid.
        say(&mut ada, "PRIVMSG #a :may be lost");
        drop(server);
    }
}

#[test]
fn the_history_shows_actions_and_skips_ctcp_requests() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = Server::start(directory.path());
    let mut ada = server.member();
    say(&mut ada, "PRIVMSG #a :\x01ACTION waves\x01\r\nPRIVMSG #a :\x01VERSION\x01");
    say(&mut ada, "NOTICE #a :\x01VERSION x\x01\r\nPRIVMSG #a :hello\r\nHISTORY #a");
    let [.., waves, hello, end] = &until(&mut ada, " :End of history")[..] else { panic!("three lines") };
    assert!(waves.contains(" NOTICE #a :[20") && waves.ends_with("Z] * ada waves"), "{waves}");
    assert!(hello.ends_with("Z] <ada> hello"), "{hello}");
    assert!(end.ends_with(" :End of history, lines: 2"), "{end}");
}

#[test]
fn the_longest_lines_are_shown_completely() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = Server::start(directory.path());
    let mut ada = server.member();
    let long = "€".repeat(160);
    say(&mut ada, &format!("PRIVMSG #a :{long}\r\nPRIVMSG #a :\x01ACTION {long}\x01\r\nHISTORY #a"));
    let mut lines = until(&mut ada, " :End of history");
    assert!(lines.iter().all(|line| line.len() <= 510), "{lines:#?}");
    let cut = lines.extract_if(.., |line| line.contains(" was cut: ")).count();
    assert_eq!(cut, 2, "members received less than the history has");
    assert!(lines[4].ends_with(", lines: 2"), "both on two lines each: {lines:#?}");
    for (pieces, who) in [(&lines[..2], "<ada> "), (&lines[2..4], "* ada ")] {
        let heads: Vec<_> = pieces.iter().filter_map(|line| line.split_once(who)).collect();
        assert_eq!(heads[0].0, heads[1].0, "the same time");
        assert_eq!([heads[0].1, heads[1].1].concat(), long);
    }
}

#[test]
fn only_members_can_read_the_history() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = Server::start(directory.path());
    let mut ada = server.member();
    say(&mut ada, "PRIVMSG #a :secret");
    assert_eq!(history(&mut ada), ["<ada> secret"]);
    say(&mut ada, "HISTORY #b\r\nHISTORY\r\nPING end");
    let answers = until(&mut ada, "PONG");
    assert!(answers[0].contains(" 403 ada #b "), "{answers:?}");
    assert!(answers[1].contains(" 461 ada HISTORY "), "{answers:?}");
    for number in ["0", "-1", "+1", "ten", "1.5", "\u{661}"] {
        say(&mut ada, &format!("HISTORY #A {number}\r\nPING end"));
        let answers = until(&mut ada, "PONG");
        assert!(answers[0].ends_with(" NOTICE #a :The number of lines must be 1 or more"), "{answers:?}");
        assert_eq!(answers.len(), 2, "{answers:?}");
    }
    say(&mut ada, "HISTORY #a 99999999999999999999999");
    assert_eq!(until(&mut ada, " :End of history").len(), 2, "all lines that exist");
    let mut bob = server.0.client("NICK bob\r\nUSER bob 0 * :Bob\r\nHISTORY #a\r\nPING end");
    let answers = until(&mut bob, "PONG").join("\n");
    assert!(answers.contains(" 442 bob #a ") && !answers.contains("secret"), "{answers}");
}
