//! Targets with TLS: chat and web, and what is said about wrong certificates.

mod support;

use std::net::{SocketAddr, TcpListener};

use support::chat::{Faults, Server};
use support::program::{Outcome, loadgen};
use support::tls::{Authority, front};
use support::web::{WebFaults, WebServer};

/// A small load for one second.
fn run(target: &str, more: &[&str]) -> Outcome {
    let run = ["run", "--target", target, "--json", "-", "--quiet", "--max-send-lag", "10s"];
    let load =
        ["--connections", "4", "--rate", "50", "--duration", "1s", "--ramp", "100ms", "--drain", "10s"];
    loadgen(&[&run[..], &load, more].concat())
}

/// Runs against a chat server behind a TLS front of `authority`.
fn run_chat(authority: &Authority, host: &str, more: &[&str]) -> (Server, Outcome) {
    let server = Server::start(Faults::default());
    let port = front(server.address, authority.server());
    let outcome = run(&format!("ircs://{host}:{port}"), &[&["--mix", "privmsg"], more].concat());
    (server, outcome)
}

#[test]
fn every_delivery_over_tls_is_measured_and_every_handshake_is_timed() {
    let authority = Authority::new("chat");
    let (server, outcome) =
        run_chat(&authority, "localhost", &["--tls-ca", authority.path(), "--rooms", "1"]);
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    assert_eq!(server.counts(|counts| counts.messages), 50);
    assert_eq!(outcome.count("/load/deliveries/delivered"), 150);
    assert_eq!(outcome.count("/load/deliveries/lost"), 0);
    assert_eq!(outcome.count("/load/logins/tls_handshake/samples"), 4);
    assert_eq!(outcome.count("/load/logins/ready/samples"), 4);
    assert!(outcome.stderr.contains("TLS handshake p50"), "{}", outcome.stderr);
}

#[test]
fn a_name_and_any_certificate_can_be_accepted() {
    let authority = Authority::new("name");
    for accept in [&["--tls-ca", authority.path(), "--tls-name", "localhost"][..], &["--insecure"]] {
        let (_server, outcome) = run_chat(&authority, "127.0.0.1", accept);
        assert_eq!(outcome.code, 0, "{accept:?}: {}", outcome.stderr);
    }
}

#[test]
fn a_page_over_tls_is_measured_also_with_resumed_sessions() {
    let authority = Authority::new("page");
    for more in [&[][..], &["--tls-resume"]] {
        let server = WebServer::start(WebFaults { closes: true, ..WebFaults::default() });
        let target = format!("https://localhost:{}/page?x=1", front(server.address, authority.server()));
        let outcome = run(&target, &[&["--tls-ca", authority.path()], more].concat());
        assert_eq!(outcome.code, 0, "{}", outcome.stderr);
        assert_eq!(outcome.count("/load/deliveries/delivered"), 50);
        let handshakes = outcome.count("/load/logins/tls_handshake/samples");
        assert!(handshakes > 50, "the server closes after each response: {handshakes}");
    }
}

/// Runs against `target`. Returns why no connection could be opened.
#[track_caller]
fn refused(target: &str, more: &[&str]) -> String {
    let outcome = run(target, more);
    assert_eq!(outcome.code, 2, "{}", outcome.stderr);
    assert!(outcome.count("/load/failures/tls") > 0, "{}", outcome.report["load"]["failures"]);
    outcome.reasons()
}

#[test]
fn a_wrong_certificate_is_refused_with_advice() {
    let (authority, other) = (Authority::new("right"), Authority::new("other"));
    let unused = SocketAddr::from(([127, 0, 0, 1], 1));
    let port = front(unused, authority.server());
    let target = format!("ircs://localhost:{port}");
    let reason = refused(&target, &["--tls-ca", other.path()]);
    assert!(
        reason.contains("the issuer of the target's certificate is unknown; add --tls-ca FILE"),
        "{reason}"
    );
    let reason = refused(&format!("ircs://127.0.0.1:{port}"), &["--tls-ca", authority.path()]);
    assert!(reason.contains("is for localhost, not for 127.0.0.1; add --tls-name NAME"), "{reason}");
    let port = front(unused, authority.expired_server());
    let reason = refused(&format!("ircs://localhost:{port}"), &["--tls-ca", authority.path()]);
    assert!(reason.contains("the target's certificate has expired"), "{reason}");
}

#[test]
fn a_target_without_tls_is_reported() {
    let authority = Authority::new("plain");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = std::io::Write::write_all(&mut stream, b":server NOTICE * :welcome\r\n");
            let _ = std::io::copy(&mut stream, &mut std::io::sink());
        }
    });
    let reason = refused(&format!("ircs://localhost:{port}"), &["--tls-ca", authority.path()]);
    assert!(reason.contains("does not speak TLS at this port"), "{reason}");
}

#[test]
fn a_file_without_certificates_is_refused() {
    let path = std::env::temp_dir().join(format!("loadgen-empty-{}.pem", std::process::id()));
    std::fs::write(&path, "no certificate").expect("a file");
    let path_text = path.to_str().expect("text");
    for (file, reason) in
        [(path_text, "has no certificate in PEM form"), ("/nonexistent/ca.pem", "cannot be read")]
    {
        let outcome = run("ircs://127.0.0.1:1", &["--tls-ca", file]);
        assert!(outcome.code == 2 && outcome.reasons().contains(reason), "{}", outcome.reasons());
    }
    std::fs::remove_file(path).expect("it was there");
}
