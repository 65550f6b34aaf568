//! Runs a client library (`irc` from PyPI), scripted in `client_library.py`.
//!
//! If the library is not installed, the test is skipped with a message, or
//! fails if `CHAT_CLIENT=1` is set. `python3` also looks for it below
//! `target/python` of the workspace:
//! `python3 -m pip install --target target/python irc==20.5.0`.
#![allow(missing_docs)]

mod support;

use std::path::Path;
use std::process::Command;

use support::Server;

fn python() -> Command {
    let mut python = Command::new("python3");
    let local = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/python");
    let paths = std::env::var_os("PYTHONPATH").into_iter().chain([local.into_os_string()]);
    python.env(
        "PYTHONPATH",
        std::env::join_paths(paths.flat_map(|it| std::env::split_paths(&it).collect::<Vec<_>>()))
            .expect("paths"),
    );
    python
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_library_can_chat() {
    let import = python().args(["-c", "import irc.client"]).output();
    if !import.as_ref().is_ok_and(|output| output.status.success()) {
        let hint = "python3 -m pip install --target target/python irc==20.5.0";
        assert!(std::env::var_os("CHAT_CLIENT").is_none(), "{import:?}; install it: {hint}");
        // Written to stderr directly, as the harness hides the output of a
        // passing test.
        let _ = std::io::Write::write_all(
            &mut std::io::stderr(),
            format!("\n*** SKIPPED: the client library test: python3 has no `irc`; install it: {hint}\n")
                .as_bytes(),
        );
        return;
    }
    let server = Server::start(&[]).await;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/client_library.py");
    let mut client = python();
    client.arg(script).args([server.address.ip().to_string(), server.address.port().to_string()]);
    let output =
        tokio::task::spawn_blocking(move || client.output()).await.expect("no panic").expect("it runs");
    let (printed, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && printed.trim_end() == "done", "{printed}\n{error}");
}
