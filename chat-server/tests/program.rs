//! The program, as a user starts it.
#![allow(missing_docs)]

use std::process::{Command, Output};

fn run(flags: &[&str]) -> Output {
    let program = env!("CARGO_BIN_EXE_chat-server");
    Command::new(program).args(flags).env_remove("RUST_LOG").output().expect("it runs")
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
    use std::io::{BufRead, BufReader, Read, Write};
    use std::net::TcpStream;
    use std::process::{Child, Stdio};
    use std::time::Duration;

    /// Starts a server that may open `max_descriptors` files and sockets.
    /// Returns the server and its first line.
    fn start(max_descriptors: u32, flags: &[&str]) -> (Child, String) {
        let program = env!("CARGO_BIN_EXE_chat-server");
        let mut server = Command::new("sh")
            .args(["-c", &format!("ulimit -n {max_descriptors}; exec \"$0\" \"$@\""), program])
            .args(["--listen=127.0.0.1:0", "--workers=2"])
            .args(flags)
            .env_remove("RUST_LOG")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it runs");
        let mut ready = String::new();
        BufReader::new(server.stdout.as_mut().expect("piped")).read_line(&mut ready).expect("a line");
        assert!(!ready.is_empty(), "the server ended at once: {:?}", server.wait_with_output());
        (server, ready)
    }

    fn address_of(ready: &str, name: &str) -> String {
        let address = ready.split_whitespace().find_map(|word| word.strip_prefix(name));
        address.expect(ready).to_owned()
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
    fn with_few_descriptors_further_clients_and_telemetry_get_an_answer() {
        const MAX_DESCRIPTORS: u32 = 64;
        let (mut server, ready) = start(MAX_DESCRIPTORS, &["--telemetry=127.0.0.1:0"]);
        let mut stderr = BufReader::new(server.stderr.take().expect("piped"));
        let mut log = String::new();
        stderr.read_line(&mut log).expect("a log");
        assert!(log.contains("at most 32 connections instead of 10000"), "{log}");
        let address = address_of(&ready, "irc=");
        let mut clients: Vec<_> = (0..32).map(|_| connect(&address)).collect();
        clients.iter().for_each(expect_pong);
        // Each refused client is still connected and reads nothing more.
        let refused: Vec<_> = (0..2 * MAX_DESCRIPTORS)
            .map(|_| {
                let mut refused = TcpStream::connect(&address).expect("connected");
                refused.set_read_timeout(Some(Duration::from_secs(30))).expect("set");
                let mut error = String::new();
                BufReader::new(&mut refused).read_line(&mut error).expect("an ERROR");
                assert_eq!(error, "ERROR :Closing Link: (Server full, try again later)\r\n");
                refused
            })
            .collect();
        let mut telemetry = TcpStream::connect(address_of(&ready, "telemetry=")).expect("connected");
        telemetry.set_read_timeout(Some(Duration::from_secs(30))).expect("set");
        let request = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        telemetry.write_all(request).expect("sent");
        let mut metrics = String::new();
        telemetry.read_to_string(&mut metrics).expect("metrics");
        let full = format!("chat_rejected_total{{reason=\"server_full\"}} {}\n", refused.len());
        assert!(metrics.contains("chat_connections 32\n") && metrics.contains(&full), "{metrics}");
        drop((refused, telemetry, clients.split_off(16)));
        // The server has closed those connections soon.
        while server_refuses(&address) {
            std::thread::sleep(Duration::from_millis(20));
        }
        drop(clients);
        signal(&server, Signal::TERM);
        assert!(server.wait().expect("it ends").success());
    }

    fn server_refuses(address: &str) -> bool {
        let mut line = String::new();
        BufReader::new(connect(address)).read_line(&mut line).expect("an answer in time");
        !line.contains(" PONG ")
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_client_is_told_that_no_descriptor_is_left() {
        use rustix::process::{Resource, Rlimit, getrlimit, prlimit};
        let (mut server, ready) = start(1024, &["--telemetry=off"]);
        let address = address_of(&ready, "irc=");
        let first = connect(&address);
        expect_pong(&first);
        // The limit becomes lower than what the server has planned with.
        let limit =
            Rlimit { current: Some(40), maximum: getrlimit(Resource::Nofile).maximum.min(Some(1024)) };
        prlimit(Some(Pid::from_child(&server)), Resource::Nofile, limit).expect("set");
        let mut clients = vec![first];
        loop {
            let client = connect(&address);
            let mut line = String::new();
            BufReader::new(&client).read_line(&mut line).expect("an answer in time");
            clients.push(client);
            if line.starts_with("ERROR :Closing Link: (Server full") {
                break;
            }
            assert!(line.contains(" PONG ") && clients.len() < 40, "{} clients: {line}", clients.len());
        }
        drop(clients);
        while server_refuses(&address) {
            std::thread::sleep(Duration::from_millis(20));
        }
        signal(&server, Signal::TERM);
        assert!(server.wait().expect("it ends").success());
    }

    #[test]
    fn a_server_without_its_history_is_never_ready() {
        let directory = tempfile::tempdir().expect("a directory");
        let flag = format!("--data-dir={}", directory.path().display());
        // With few connections, no server warns that it has few descriptors.
        let flags = ["--listen=127.0.0.1:0", "--telemetry=off", "--max-connections=8", &flag];
        let (mut server, _) = start(1024, &flags[1..]);
        for needed in ["must not be open in another server", "must be a history file of this server"] {
            let second = run(&flags);
            let error = String::from_utf8_lossy(&second.stderr);
            assert_eq!(second.status.code(), Some(2), "{error}");
            assert!(error.contains(needed) && error.trim_end().lines().count() == 1, "{error}");
            assert!(second.stdout.is_empty(), "{second:?}");
            let _ = server.kill();
            server.wait().expect("it ends");
            std::fs::write(directory.path().join("history.redb"), b"something else").expect("written");
        }
    }

    #[test]
    fn the_second_interrupt_ends_it_at_once() {
        let (mut server, ready) = start(1024, &["--telemetry=off"]);
        let address = address_of(&ready, "irc=");
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
