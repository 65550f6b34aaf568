//! The accounts on disk: the command line, kill -9 and a full disk.
#![cfg(unix)]
#![allow(missing_docs)]

mod support;

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use support::program::Program;

struct Server(Program);

impl Server {
    fn start(directory: &Path) -> Self {
        let data_dir = format!("--data-dir={}", directory.display());
        let flags = ["--listen=127.0.0.1:0", "--telemetry=off", "--account-registration=1000/h", &data_dir];
        Self(Program::start_with_file_size_limit(flags))
    }

    /// Returns whether a client can log in. Accounts have their name as their
    /// password.
    fn admits(&self, account: &str) -> bool {
        let message = STANDARD.encode(format!("\0{account}\0{account}"));
        let lines = format!("CAP REQ :sasl\r\nAUTHENTICATE PLAIN\r\nAUTHENTICATE {message}");
        let reply = until(&mut self.0.client(&lines), &[" 903 ", " 904 "]);
        reply.contains(" 903 ")
    }

    /// Returns the reply to a registration.
    fn register(&self, account: &str) -> String {
        let lines = format!("NICK {account}\r\nREGISTER * * {account}");
        until(&mut self.0.client(&lines), &[" REGISTER "])
    }
}

/// Returns the first line that contains one of `parts`.
fn until(client: &mut BufReader<TcpStream>, parts: &[&str]) -> String {
    loop {
        let mut line = String::new();
        assert!(client.read_line(&mut line).expect("a line in time") > 0, "ended before {parts:?}");
        if parts.iter().any(|part| line.contains(part)) {
            return line;
        }
    }
}

/// Runs `chat-server account`.
fn account(directory: &Path, arguments: &[&str], stdin: &str) -> Output {
    let mut process = Command::new(env!("CARGO_BIN_EXE_chat-server"))
        .arg("account")
        .args(arguments)
        .arg("--data-dir")
        .arg(directory)
        .env_remove("RUST_LOG")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it runs");
    // A subcommand that reads nothing may have ended.
    let _ = process.stdin.take().expect("piped").write_all(stdin.as_bytes());
    process.wait_with_output().expect("it ends")
}

#[test]
fn confirmed_accounts_survive_sigkill() {
    let directory = tempfile::tempdir().expect("a directory");
    for round in 0..3 {
        let server = Server::start(directory.path());
        let name = format!("account{round}");
        assert!(server.register(&name).contains(" REGISTER SUCCESS "));
        drop(server);
        let server = Server::start(directory.path());
        assert!(server.admits(&name) && server.admits("account0"), "{round}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_refuses_an_account_and_nothing_else() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = Server::start(directory.path());
    assert!(server.register("first1").contains(" REGISTER SUCCESS "));
    server.0.limit_file_size(Some(0));
    let refused = server.register("second");
    assert!(refused.contains(" FAIL REGISTER TEMPORARILY_UNAVAILABLE second "), "{refused}");
    assert!(server.admits("first1"));
    server.0.limit_file_size(None);
    assert!(server.register("second").contains(" REGISTER SUCCESS "));
    assert!(server.admits("first1") && server.admits("second"));
    drop(server);
    let server = Server::start(directory.path());
    assert!(server.admits("first1") && server.admits("second"));
}

#[test]
fn the_command_line_changes_the_accounts_of_a_running_server() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = Server::start(directory.path());
    assert!(!server.admits("bob"));
    let added = account(directory.path(), &["add", "bob"], "bob\n");
    assert!(added.status.success() && added.stdout.is_empty(), "{added:?}");
    assert!(server.admits("bob"));
    let listed = account(directory.path(), &["list"], "");
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    assert!(
        listed.starts_with("bob 20") && listed.ends_with("Z\n") && listed.lines().count() == 1,
        "{listed}"
    );
    assert!(account(directory.path(), &["remove", "BOB"], "").status.success());
    assert!(!server.admits("bob"));
}

#[test]
fn wrong_uses_of_the_command_line_get_one_sentence() {
    let directory = tempfile::tempdir().expect("a directory");
    assert!(account(directory.path(), &["add", "bob"], "sesame").status.success());
    let long = "x".repeat(601);
    for (arguments, stdin, sentence) in [
        (&["add", "Bob"][..], "sesame\n", "account add: the account `Bob` exists already"),
        (&["add", "eve"], "\n", "account add: the password must have at least 1 bytes"),
        (&["add", "eve"], &long, "account add: the password must be UTF-8 of at most 600 bytes"),
        (&["add", "a b"], "sesame\n", "account add: the name of an account must be a valid nick"),
        (&["remove", "eve"], "", "account remove: there is no account `eve`"),
    ] {
        let output = account(directory.path(), arguments, stdin);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{error}");
        assert!(error.contains(sentence) && error.lines().count() == 1, "{error}");
    }
    std::fs::write(directory.path().join("accounts.redb"), b"something else").expect("written");
    let output = account(directory.path(), &["list"], "");
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(error.contains("must be an accounts file of this server"), "{error}");
}
