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
        (&["--inject=child"], "--inject: site `child` is not implemented in this version"),
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

/// A running server, killed if the test does not see it end.
#[cfg(unix)]
struct Running {
    server: std::process::Child,
    _stdout: std::io::BufReader<std::process::ChildStdout>,
    address: String,
}

#[cfg(unix)]
impl Running {
    /// Starts it with at most `descriptors` open at once.
    fn start(descriptors: u32) -> Self {
        use std::io::BufRead;
        let program = env!("CARGO_BIN_EXE_chat-server");
        let flags = "--listen=127.0.0.1:0 --telemetry=off --workers=2 --flood-limit=off";
        let mut server = Command::new("sh")
            .args(["-c", &format!("ulimit -n {descriptors}; exec '{program}' {flags}")])
            .stdout(std::process::Stdio::piped())
            .spawn()
            .expect("it runs");
        let mut stdout = std::io::BufReader::new(server.stdout.take().expect("piped"));
        let mut ready = String::new();
        stdout.read_line(&mut ready).expect("a line");
        let address = ready.strip_prefix("chat-server ready irc=").and_then(|it| it.split(' ').next());
        let address = address.expect(&ready).to_owned();
        Running { server, _stdout: stdout, address }
    }

    fn connect(&self) -> std::net::TcpStream {
        let client = std::net::TcpStream::connect(&self.address).expect("the system accepts");
        client.set_read_timeout(Some(std::time::Duration::from_secs(60))).expect("set");
        client
    }

    fn signal(&self, signal: rustix::process::Signal) {
        let id = rustix::process::Pid::from_child(&self.server);
        rustix::process::kill_process(id, signal).expect("it is there, if only as a zombie");
    }
}

#[cfg(unix)]
impl Drop for Running {
    fn drop(&mut self) {
        // It has ended already, where the test passed.
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

/// Whether the server answers, which it can only once it has accepted.
#[cfg(unix)]
fn answers(client: &mut std::net::TcpStream) -> bool {
    use std::io::{Read, Write};
    client.write_all(b"PING x\r\n").is_ok() && client.read(&mut [0; 64]).is_ok_and(|read| read > 0)
}

#[cfg(unix)]
#[test]
fn with_all_descriptors_used_up_it_goes_on_accepting_later() {
    use std::time::Duration;
    let running = Running::start(64);
    let mut clients: Vec<_> = (0..100).map(|_| running.connect()).collect();
    let first = answers(&mut clients[0]);
    // Whoever came last waits in the system's queue, as there is no descriptor for it.
    let mut last = clients.pop().expect("many");
    last.set_read_timeout(Some(Duration::from_millis(500))).expect("set");
    let early = answers(&mut last);
    last.set_read_timeout(Some(Duration::from_secs(60))).expect("set");
    clients.drain(1..);
    assert!(first, "those that were accepted are served");
    assert!(!early, "100 clients had room in 64 descriptors");
    assert!(answers(&mut last), "it was accepted once there was room");
    assert!(answers(&mut clients[0]), "nobody else noticed");
    running.signal(rustix::process::Signal::TERM);
}

#[cfg(unix)]
#[test]
fn a_second_interrupt_ends_it_at_once() {
    use std::io::Read;
    let ends = std::iter::repeat_with(|| {
        let mut running = Running::start(1024);
        // It does not close its end, and so holds up the drain.
        let mut client = running.connect();
        assert!(answers(&mut client));
        running.signal(rustix::process::Signal::INT);
        let mut rest = String::new();
        client.read_to_string(&mut rest).expect("the end");
        assert!(rest.contains("ERROR :Closing Link: "), "{rest}");
        running.signal(rustix::process::Signal::INT);
        running.server.wait().expect("it ends").code()
    });
    // On a machine so busy that the drain was over before the second one came, it comes again.
    let mut ends = ends.take(5).skip_while(|code| *code == Some(0));
    assert_eq!(ends.next(), Some(Some(130)));
}
