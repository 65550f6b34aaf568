//! The program, as a user starts it.
#![allow(missing_docs)]

use std::process::{Command, Output};

fn run(flags: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_chat-server")).args(flags).output().expect("it runs")
}

#[test]
fn wrong_flags_print_one_sentence_and_exit_with_2() {
    for (flags, message) in [
        (&["--threshold=soon"][..], "--threshold: `soon` must be a duration"),
        (&["--inject=kid"], "--inject: unknown injection site `kid`, must be sleep"),
        (&["--data-dir=/dev/null/x"], "--data-dir: `/dev/null/x` must be a writable directory"),
    ] {
        let output = run(flags);
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{flags:?}: {error}");
        assert!(error.contains(message) && error.trim_end().lines().count() == 1, "{flags:?}: {error}");
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn a_port_in_use_prints_one_sentence_and_exits_with_2() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound").to_string();
    let output = run(&["--telemetry=off", "--listen", &address]);
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{error}");
    assert!(error.contains(&format!("--listen: {address} cannot be bound")), "{error}");
}

#[cfg(unix)]
#[test]
fn it_prints_its_addresses_and_ends_on_sigterm() {
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
    client.write_all(b"PING x\r\n").expect("sent");
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

#[cfg(unix)]
mod unix {
    use super::*;
    use rustix::process::{Pid, Signal, kill_process};
    use std::io::{BufRead, BufReader, Write};
    use std::net::TcpStream;
    use std::process::{Child, Stdio};
    use std::time::Duration;

    /// Starts a server that may open `max_descriptors` files and sockets.
    /// Returns the server and its address.
    fn start(max_descriptors: u32) -> (Child, String) {
        let program = env!("CARGO_BIN_EXE_chat-server");
        let mut server = Command::new("sh")
            .args(["-c", &format!("ulimit -n {max_descriptors}; exec \"$0\" \"$@\""), program])
            .args(["--listen=127.0.0.1:0", "--telemetry=off", "--workers=2"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it runs");
        let mut ready = String::new();
        BufReader::new(server.stdout.as_mut().expect("piped")).read_line(&mut ready).expect("a line");
        let address = ready.strip_prefix("chat-server ready irc=").and_then(|it| it.split(' ').next());
        (server, address.expect(&ready).to_owned())
    }

    fn signal(server: &Child, signal: Signal) {
        kill_process(Pid::from_child(server), signal).expect("it is running");
    }

    fn connect(address: &str) -> TcpStream {
        let stream = TcpStream::connect(address).expect("connected or in the backlog");
        stream.set_read_timeout(Some(Duration::from_secs(30))).expect("set");
        (&stream).write_all(b"PING x\r\n").expect("sent");
        stream
    }

    fn expect_pong(stream: &TcpStream) {
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).expect("an answer in time");
        assert!(line.contains(" PONG "), "{line}");
    }

    #[test]
    fn it_accepts_again_after_running_out_of_descriptors() {
        const MAX_DESCRIPTORS: u32 = 64;
        let (mut server, address) = start(MAX_DESCRIPTORS);
        let mut clients: Vec<_> = (0..MAX_DESCRIPTORS).map(|_| connect(&address)).collect();
        // Only the log shows that the server has no descriptor left: clients in
        // the backlog are connected and receive nothing.
        let mut stderr = BufReader::new(server.stderr.take().expect("piped"));
        let mut log = String::new();
        while !log.contains("cannot accept connections for ") {
            assert!(stderr.read_line(&mut log).expect("a log") > 0, "{log}");
        }
        expect_pong(&clients[0]);
        let late = connect(&address);
        clients.drain(..MAX_DESCRIPTORS as usize / 2);
        expect_pong(&late);
        drop((clients, late));
        signal(&server, Signal::TERM);
        assert!(server.wait().expect("it ends").success());
    }

    #[test]
    fn the_second_interrupt_ends_it_at_once() {
        let (mut server, address) = start(1024);
        // The client does not close its connection. The server therefore waits
        // up to its close grace instead of exiting after the first signal.
        let client = connect(&address);
        expect_pong(&client);
        signal(&server, Signal::INT);
        let mut line = String::new();
        BufReader::new(&client).read_line(&mut line).expect("an ERROR");
        assert!(line.starts_with("ERROR "), "{line}");
        signal(&server, Signal::INT);
        assert_eq!(server.wait().expect("it ends").code(), Some(130));
    }
}

#[test]
fn check_validates_the_file_and_the_flags() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("chat.toml");
    let file = path.to_str().expect("a UTF-8 path");
    std::fs::write(&path, "server-name = \"chat.example.org\"\nworkers = 2\n").expect("written");
    let right = run(&["--config", file, "--check"]);
    assert_eq!(right.status.code(), Some(0), "{right:?}");
    assert_eq!(String::from_utf8_lossy(&right.stdout), "chat-server: the configuration is valid\n");
    std::fs::write(&path, "workers = 2\nserver_name = \"x\"\n").expect("written");
    let wrong = run(&["--config", file, "--check"]);
    let error = String::from_utf8_lossy(&wrong.stderr);
    assert_eq!(wrong.status.code(), Some(2), "{error}");
    assert!(error.contains("line 2: unknown setting `server_name`"), "{error}");
    assert!(error.trim_end().lines().count() == 1 && wrong.stdout.is_empty(), "{error}");
}
