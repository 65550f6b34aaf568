//! Clients that speak another protocol learn it and are disconnected.
#![allow(missing_docs)]

mod support;

use support::Server;

#[tokio::test]
async fn a_client_with_another_protocol_is_told_and_disconnected() {
    let server = Server::start(&[]).await;
    // A ClientHello contains no line ending, so no line would ever be complete.
    let client_hello = [&b"\x16\x03\x01\x00\xc8\x01\x00\x00\xc4\x03\x03"[..], &[0xab; 190]].concat();
    for (bytes, reason) in [
        (&client_hello[..], "This is an IRC server without TLS, connect without TLS"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "This is an IRC server, not an SSH server"),
        (
            b"PROXY TCP4 10.0.0.1 10.0.0.2 5 6\r\nNICK a\r\n",
            "This IRC server does not accept the PROXY protocol",
        ),
        (b"\x05\x01\x00", "This is an IRC server, a line must begin with a command"),
    ] {
        let mut client = server.connect().await;
        client.send_bytes(bytes).await;
        let error = format!("ERROR :Closing Link: 127.0.0.1 ({reason})");
        assert_eq!(client.lines_until_end().await, [error]);
    }
}

#[tokio::test]
async fn a_web_client_receives_a_response_and_cannot_send_commands() {
    let server = Server::start(&[]).await;
    let mut ada = server.member("ada", "#a").await;
    let request = "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99\r\n\r\n\
                   NICK web\r\nUSER web 0 * :r\r\nJOIN #a\r\nPRIVMSG #a :from a web page\r\n";
    let mut web = server.connect().await;
    web.send_bytes(request.as_bytes()).await;
    let response = web.lines_until_end().await;
    assert_eq!(response[0], "HTTP/1.1 400 Bad Request");
    assert_eq!(response[3], "", "the end of the headers");
    assert!(response[4].contains("This is an IRC server, not a web server"), "{response:?}");
    assert_eq!(ada.ask("NAMES #a").await[0], ":s 353 ada = #a :@ada");
}

#[tokio::test]
async fn only_the_beginning_of_a_connection_is_checked() {
    let server = Server::start(&[]).await;
    let mut ada = server.client("ada").await;
    assert_eq!(ada.ask("GET / HTTP/1.1").await, [":s 421 ada GET :Unknown command"]);
    // The first line arrives in pieces.
    let mut bob = server.connect().await;
    for piece in ["\r\n", "NI", "CK bob\r\nUSER", " bob 0 * :r\r\n"] {
        bob.send_bytes(piece.as_bytes()).await;
    }
    bob.until(" 422 ").await;
}
