//! The program as a user starts it.
#![allow(missing_docs)]

use std::process::{Command, Output};

fn run(flags: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_chat-server")).args(flags).output().expect("it runs")
}

#[test]
fn wrong_flags_get_one_sentence_and_code_2() {
    for (flags, part) in [
        (&["--threshold=soon"][..], "--threshold: `soon` must be a duration"),
        (&["--inject=kid"], "--inject: there is no site `kid`, it must be sleep"),
        (&["--data-dir=/dev/null/x"], "--data-dir: `/dev/null/x` must be a directory"),
    ] {
        let output = run(flags);
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{flags:?}: {error}");
        assert!(error.contains(part) && error.trim_end().lines().count() == 1, "{flags:?}: {error}");
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn a_port_in_use_gets_one_sentence_and_code_2() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound").to_string();
    let output = run(&["--telemetry=off", "--listen", &address]);
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{error}");
    assert!(error.contains(&format!("--listen: {address} cannot be bound")), "{error}");
}

#[cfg(unix)]
#[test]
fn it_says_where_it_listens_and_ends_on_sigterm() {
    use std::io::{BufRead, BufReader, Read, Write};
    use std::process::Stdio;

    let mut server = Command::new(env!("CARGO_BIN_EXE_chat-server"))
        .args(["--listen=127.0.0.1:0", "--telemetry=off", "--workers=2"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("it runs");
    let mut stdout = BufReader::new(server.stdout.take().expect("piped"));
    let mut ready = String::new();
    stdout.read_line(&mut ready).expect("a line");
    let address =
        ready.strip_prefix("chat-server ready irc=").and_then(|it| it.strip_suffix(" telemetry=none\n"));
    let mut client = std::net::TcpStream::connect(address.expect(&ready)).expect("accepted");
    client.write_all(b"PING x\r\n").expect("taken");
    BufReader::new(client.try_clone().expect("cloned")).read_line(&mut String::new()).expect("a PONG");
    let killed = Command::new("kill").arg(server.id().to_string()).status().expect("kill runs");
    assert!(killed.success());
    let mut rest = String::new();
    client.read_to_string(&mut rest).expect("the end");
    assert!(rest.contains("ERROR :Closing Link: 127.0.0.1 (Server shutting down)"), "{rest}");
    drop(client);
    assert!(server.wait().expect("it ends").success());
    stdout.read_line(&mut ready).expect("the end");
    assert_eq!(ready.lines().count(), 1, "one line on stdout only");
}
