//! A client library that is not ours: PyPI's `irc`, scripted in `client.py`.
#![allow(missing_docs)]

mod support;

use std::process::Stdio;

use support::Server;

/// The interpreter to use, where `irc` is not installed for the one of the system.
const PYTHON: &str = "CHAT_SERVER_PYTHON";

#[tokio::test]
async fn the_python_library_meets_registers_talks_and_leaves() {
    let python = std::env::var(PYTHON).unwrap_or_else(|_| "python3".into());
    let there = tokio::process::Command::new(&python)
        .args(["-c", "import irc.client"])
        .stderr(Stdio::null())
        .status()
        .await
        .is_ok_and(|status| status.success());
    if !there {
        eprintln!("SKIPPED: `{python}` cannot import `irc` (pip install irc; {PYTHON} names another python)");
        assert!(std::env::var_os("CI").is_none(), "CI must have python3 with the package irc");
        return;
    }
    let server = Server::start(&[]).await;
    let output = tokio::process::Command::new(&python)
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/client.py"))
        .args([server.address.ip().to_string(), server.address.port().to_string()])
        .kill_on_drop(true)
        .output()
        .await
        .expect("it runs");
    let (said, wrong) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}\n{wrong}");
    for step in ["ada pubmsg bob hello", "bob kick enough", "bob bannedfromchan", "ada error bye"] {
        assert!(said.lines().any(|line| line == step), "{step} in {said}");
    }
}
