//! TLS: handshakes, certificates, and clients that never end their handshake.
#![allow(missing_docs)]

mod support;

use std::io;
use std::time::Duration;

use chat_server::ClientLimits;
use support::tls::{self, CertificateFiles};
use support::{Client, Server};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;

/// Never passes in a test.
const LONG_TIMEOUT: Duration = Duration::from_secs(600);
/// Passes while a client does nothing.
const SHORT_TIMEOUT: Duration = Duration::from_millis(200);
/// The record with which a TLS client is refused: the alert `internal_error`.
const REFUSAL: &[u8] = &[21, 3, 3, 0, 2, 2, 80];

async fn start(more: &[&str], limits: ClientLimits) -> (Server, CertificateFiles, CertificateDer<'static>) {
    let (files, der) = CertificateFiles::create();
    let flags = files.flags();
    let flags: Vec<&str> = flags.iter().map(String::as_str).chain(more.iter().copied()).collect();
    (Server::with_limits(&flags, limits).await, files, der)
}

async fn connect(server: &Server, trusted: &CertificateDer<'static>) -> io::Result<tls::TlsClient> {
    tls::connect(server.tls_address.expect("TLS"), trusted).await.map(tls::client)
}

#[tokio::test]
async fn a_client_with_tls_is_served_and_shown_as_secure() {
    let (server, _files, der) = start(&[], ClientLimits::default()).await;
    let mut ada = connect(&server, &der).await.expect("a handshake");
    ada.register("ada").await;
    let mut bob = server.client("bob").await;
    assert_eq!(ada.ask("MODE ada").await, [":s 221 ada +z"]);
    assert_eq!(bob.ask("MODE bob").await, [":s 221 bob +"]);
    // Nobody else can make a connection secure or not secure.
    assert_eq!(bob.ask("MODE bob +z").await, [""; 0]);
    assert_eq!(ada.ask("MODE ada -z").await, [""; 0]);
    let secure = |lines: &[String]| lines.iter().any(|line| line.contains(" 671 "));
    let whois = bob.ask("WHOIS ada").await;
    assert!(whois.contains(&":s 671 bob ada :is using a secure connection".to_owned()), "{whois:?}");
    assert!(!secure(&ada.ask("WHOIS bob").await));
    ada.send("JOIN #a").await;
    ada.until(" 366 ").await;
    bob.send("JOIN #a").await;
    bob.until(" 366 ").await;
    ada.until(" JOIN ").await;
    // Many records in both directions.
    for number in 0..20 {
        ada.send(&format!("PRIVMSG #a :{number} {}", "x".repeat(400))).await;
        assert!(bob.until(" PRIVMSG ").await.contains(&format!(" #a :{number} x")));
        bob.send(&format!("PRIVMSG #a :{number} {}", "y".repeat(400))).await;
        assert!(ada.until(" PRIVMSG ").await.contains(&format!(" #a :{number} y")));
    }
}

#[tokio::test]
async fn quit_ends_with_a_close_notify() {
    let (server, _files, der) = start(&[], ClientLimits::default()).await;
    let mut ada = connect(&server, &der).await.expect("a handshake");
    ada.register("ada").await;
    ada.send("QUIT").await;
    let mut rest = String::new();
    // Without the close_notify, this is the error `UnexpectedEof`.
    ada.read.read_to_string(&mut rest).await.expect("a close_notify");
    assert_eq!(rest, "ERROR :Closing Link: 127.0.0.1 (Client quit)\r\n");
}

#[tokio::test]
async fn a_client_that_leaves_without_a_close_notify_has_closed_its_connection() {
    let (server, _files, der) = start(&[], ClientLimits::default()).await;
    let mut ada = server.member("ada", "#a").await;
    let mut bob = connect(&server, &der).await.expect("a handshake");
    bob.register("bob").await;
    bob.send("JOIN #a").await;
    bob.until(" 366 ").await;
    drop(bob);
    assert_eq!(ada.until(" QUIT ").await, ":bob!~bob@127.0.0.1 QUIT :Connection closed");
}

#[tokio::test]
async fn a_reply_of_many_records_arrives_whole() {
    let (server, _files, der) = start(&["--flood-limit", "off"], ClientLimits::default()).await;
    let mut ada = connect(&server, &der).await.expect("a handshake");
    ada.register("ada").await;
    let count = 500;
    for number in 0..count {
        ada.send(&format!("PING {number}-{}", "x".repeat(300))).await;
    }
    for number in 0..count {
        let line = ada.line().await.expect("a line");
        assert!(line.starts_with(&format!(":s PONG s :{number}-x")), "{line}");
    }
}

#[tokio::test]
async fn rehash_takes_a_new_certificate_and_loses_no_connection() {
    let (server, files, old) = start(&["--oper", "root:secret"], ClientLimits::default()).await;
    let mut ada = connect(&server, &old).await.expect("a handshake");
    ada.register("ada").await;
    assert_eq!(ada.ask("REHASH").await, [":s 481 ada :Permission Denied- You're not an IRC operator"]);
    ada.send("OPER root secret").await;
    ada.until(" MODE ").await;

    std::fs::write(&files.certificate, "no certificate").expect("written");
    let answer = ada.ask("REHASH").await;
    assert_eq!(answer[0], ":s 382 ada certificate :Rehashing");
    assert!(
        answer[1].starts_with(":s NOTICE ada :The old TLS certificate stays in use: --tls-certif"),
        "{answer:?}"
    );
    connect(&server, &old).await.expect("the old certificate");

    let new = files.replace();
    let in_use = ":s NOTICE ada :The TLS certificate was read again and is in use";
    assert_eq!(ada.ask("REHASH").await, [":s 382 ada certificate :Rehashing", in_use]);
    connect(&server, &new).await.expect("the new certificate");
    connect(&server, &old).await.err().expect("the old certificate is not in use");
    assert_eq!(ada.ask("ISON ada").await, [":s 303 ada :ada"]);
}

#[tokio::test]
async fn rehash_without_tls_says_so() {
    let server = Server::start(&["--oper", "root:secret"]).await;
    let mut ada = server.client("ada").await;
    ada.send("OPER root secret").await;
    ada.until(" MODE ").await;
    let nothing = ":s NOTICE ada :There is nothing to read again: the server has no TLS certificate";
    assert_eq!(ada.ask("REHASH").await, [":s 382 ada certificate :Rehashing", nothing]);
}

#[tokio::test]
async fn a_client_without_tls_is_told_and_disconnected() {
    let (server, _files, der) = start(&[], ClientLimits::default()).await;
    let error = "ERROR :Closing Link: (This port needs TLS, connect with TLS or to the port without it)";
    let http = ["HTTP/1.1 400 Bad Request", "Content-Type: text/plain", "Connection: close", "", error];
    for (text, answer) in [("NICK ada\r\nUSER ada 0 * :r", &[error][..]), ("GET / HTTP/1.1\r\n", &http)] {
        let stream = TcpStream::connect(server.tls_address.expect("TLS")).await.expect("accepted");
        let (read, write) = stream.into_split();
        let mut client = Client { read: tokio::io::BufReader::new(read), write };
        client.send(text).await;
        assert_eq!(client.lines_until_end().await, answer);
    }
    connect(&server, &der).await.expect("a handshake");
}

#[tokio::test]
async fn a_tls_client_at_the_other_port_is_told_the_right_one() {
    let (server, _files, der) = start(&[], ClientLimits::default()).await;
    tls::connect(server.address, &der).await.expect_err("this port is without TLS");
    let mut client = server.connect().await;
    client.send_bytes(&[&b"\x16\x03\x01\x00\xc8\x01"[..], &[0xab; 190]].concat()).await;
    let port = server.tls_address.expect("TLS").port();
    let error =
        format!("ERROR :Closing Link: 127.0.0.1 (This port is without TLS, connect to port {port} for TLS)");
    assert_eq!(client.lines_until_end().await, [error]);
}

#[tokio::test]
async fn a_failed_handshake_ends_with_an_alert() {
    let (server, _files, der) = start(&[], ClientLimits::default()).await;
    let mut stream = TcpStream::connect(server.tls_address.expect("TLS")).await.expect("accepted");
    // A handshake record with a message of an unknown type.
    stream.write_all(&[22, 3, 1, 0, 4, 99, 0, 0, 0]).await.expect("sent");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.expect("an alert");
    assert_eq!(answer.first(), Some(&21), "{answer:?}");
    connect(&server, &der).await.expect("a handshake");
}

/// Opens a connection that does not begin its handshake.
async fn half_open(server: &Server) -> TcpStream {
    TcpStream::connect(server.tls_address.expect("TLS")).await.expect("accepted")
}

#[tokio::test]
async fn half_open_handshakes_leave_places_for_others() {
    let limits = ClientLimits::default().with_handshake_timeout(LONG_TIMEOUT);
    let (server, _files, der) = start(&["--max-connections", "800"], limits).await;
    let mut half_open_clients = Vec::new();
    for number in 0..200 {
        let mut client = half_open(&server).await;
        if number % 2 == 0 {
            // The beginning of a ClientHello.
            client.write_all(&[22, 3, 1, 0, 200, 1, 0]).await.expect("sent");
        }
        half_open_clients.push(client);
    }
    // A quarter of all connections may be in a handshake from one address.
    let mut refused = Vec::new();
    half_open(&server).await.read_to_end(&mut refused).await.expect("an alert");
    assert_eq!(refused, REFUSAL);
    let mut bob = server.client("bob").await;
    assert_eq!(bob.ask("ISON bob").await, [":s 303 bob :bob"]);
    if cfg!(target_os = "linux") {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind(([127, 0, 0, 2], 0).into()).expect("another loopback address");
        let stream = socket.connect(server.tls_address.expect("TLS")).await.expect("accepted");
        let mut ada = tls::client(tls::handshake(stream, &der).await.expect("a handshake"));
        ada.register("ada").await;
        assert_eq!(ada.ask("ISON bob").await, [":s 303 ada :bob"]);
    }
    drop(half_open_clients);
    // The server soon knows that they have gone.
    tls::connect_eventually(server.tls_address.expect("TLS"), &der).await;
    server.stop().await;
}

#[tokio::test]
async fn hundreds_of_half_open_handshakes_end_after_their_timeout() {
    let limits = ClientLimits::default().with_handshake_timeout(SHORT_TIMEOUT);
    let (server, _files, der) = start(&[], limits).await;
    let mut clients = Vec::new();
    for _ in 0..300 {
        clients.push(half_open(&server).await);
    }
    for mut client in clients {
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).await.expect("the end");
        assert_eq!(answer, b"");
    }
    // On a busy machine, a handshake may need longer than the timeout.
    tls::connect_eventually(server.tls_address.expect("TLS"), &der).await;
}

#[tokio::test]
async fn the_shutdown_ends_handshakes_and_tells_secure_clients() {
    let limits = ClientLimits::default().with_handshake_timeout(LONG_TIMEOUT);
    let (server, _files, der) = start(&[], limits).await;
    let mut ada = connect(&server, &der).await.expect("a handshake");
    ada.register("ada").await;
    let mut silent = half_open(&server).await;
    // Connections are accepted in order, so `silent` is accepted as well.
    let _later = connect(&server, &der).await.expect("a handshake");
    server.stop().await;
    assert_eq!(silent.read_u8().await.expect_err("the end").kind(), io::ErrorKind::UnexpectedEof);
    let lines = ada.lines_until_end().await;
    assert_eq!(lines, ["ERROR :Closing Link: 127.0.0.1 (Server shutting down)"]);
}

#[tokio::test]
async fn a_client_can_trust_the_self_signed_certificate() {
    let directory = tempfile::tempdir().expect("a directory");
    let flags = ["--tls-self-signed", "--data-dir", directory.path().to_str().expect("UTF-8")];
    let server = Server::start(&flags).await;
    // The server has created the certificate when it answers.
    server.client("bob").await;
    let created = CertificateDer::from_pem_file(directory.path().join("tls-certificate.pem")).expect("PEM");
    let mut ada = connect(&server, &created).await.expect("a handshake");
    ada.register("ada").await;
}
