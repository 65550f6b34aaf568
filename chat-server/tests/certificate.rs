//! The certificate of the program: SIGHUP reads it again, and reading it for
//! each handshake is a mistake that loopscope finds at its line.
#![cfg(unix)]
#![allow(missing_docs)]

mod support;

use std::net::SocketAddr;
use std::path::Path;

use rustix::process::{Pid, Signal, kill_process};
use support::program::Program;
use support::tls;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;

/// Maximum handshakes, each of which blocks for 300 ms, until the finding is
/// there.
const MAX_HANDSHAKES: u32 = 200;

/// Returns a running program with a certificate of its own.
fn start(directory: &Path, flags: &[&str]) -> Program {
    let data_dir = format!("--data-dir={}", directory.display());
    let tls =
        ["--tls-listen=127.0.0.1:0", "--tls-self-signed", "--workers=2", "--listen=127.0.0.1:0", &data_dir];
    Program::start([&tls[..], flags].concat())
}

fn certificate(directory: &Path) -> CertificateDer<'static> {
    CertificateDer::from_pem_file(directory.join("tls-certificate.pem")).expect("a certificate")
}

#[tokio::test]
async fn sighup_reads_the_certificate_again() {
    let directory = tempfile::tempdir().expect("a directory");
    let directory = directory.path();
    let program = start(directory, &["--telemetry=off"]);
    let address = program.address("ircs=");
    let mut ada = tls::client(tls::connect(address, &certificate(directory)).await.expect("a handshake"));
    ada.register("ada").await;
    let new = tls::write_certificate(&directory.join("tls-certificate.pem"), &directory.join("tls-key.pem"));
    kill_process(Pid::from_child(&program.child), Signal::HUP).expect("it is running");
    // The new certificate is in use soon after the signal.
    tls::connect_eventually(address, &new).await;
    ada.send("PING x").await;
    ada.until(" PONG ").await;
}

/// Returns the document of the findings, which is JSON and so YAML too.
async fn findings(telemetry: SocketAddr) -> serde_norway::Value {
    let mut stream = TcpStream::connect(telemetry).await.expect("telemetry");
    let request = b"GET /findings HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    stream.write_all(request).await.expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer");
    let body = answer.split_once("\r\n\r\n").expect("a body").1;
    serde_norway::from_str(body).expect("JSON")
}

/// Returns the line of the mistake in its file.
fn marked_line() -> u64 {
    let source = include_str!("../src/services/certificate.rs");
    let marked = source.lines().position(|line| line.contains("// THE MISTAKE"));
    marked.expect("a marked line") as u64 + 1
}

#[tokio::test]
async fn the_certificate_mistake_is_found_at_its_line() {
    if !cfg!(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64"))) {
        eprintln!("NOT CHECKED: captures need Linux on x86_64 or aarch64");
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let directory = directory.path();
    let inject = ["--telemetry=127.0.0.1:0", "--inject=certificate=300ms@100%", "--threshold=50ms"];
    let program = start(directory, &inject);
    let trusted = certificate(directory);
    let mut document = serde_norway::Value::Null;
    for _ in 0..MAX_HANDSHAKES {
        tls::connect(program.address("ircs="), &trusted).await.expect("a handshake");
        document = findings(program.address("telemetry=")).await;
        let is_the_mistake = |finding: &serde_norway::Value| {
            finding["site"]["file"].as_str() == Some("chat-server/src/services/certificate.rs")
                && finding["site"]["line"].as_u64() == Some(marked_line())
                && finding["cause"].as_str() == Some("file")
        };
        if document["findings"].as_sequence().expect("findings").iter().any(is_the_mistake) {
            return;
        }
    }
    panic!("not found: {document:?}");
}
