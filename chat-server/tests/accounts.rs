//! Accounts: AUTHENTICATE, REGISTER and what others learn about them.
#![allow(missing_docs)]

mod support;

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use support::{Client, Server};

/// Returns the message of SASL PLAIN.
fn plain(account: &str, password: &str) -> String {
    STANDARD.encode(format!("\0{account}\0{password}"))
}

/// Returns a server with the account `ada`, whose password is `open sesame`.
async fn server_with_ada(flags: &[&str]) -> Server {
    let server = Server::start(flags).await;
    let mut ada = server.client("ada").await;
    ada.send("REGISTER * * :open sesame").await;
    ada.until(" 900 ").await;
    ada.send("QUIT").await;
    ada.lines_until_end().await;
    server
}

/// Returns a connected client that may send AUTHENTICATE. It has the nick
/// `nick` and has not registered.
async fn negotiating(server: &Server, nick: &str, capabilities: &str) -> Client {
    let mut client = server.connect().await;
    client.send(&format!("CAP LS 302\r\nNICK {nick}\r\nUSER {nick} 0 * :Real {nick}")).await;
    client.send(&format!("CAP REQ :sasl {capabilities}")).await;
    client.until(" ACK ").await;
    client
}

/// Returns a registered client that is logged in to `ada`.
async fn logged_in(server: &Server, nick: &str, capabilities: &str) -> Client {
    let mut client = negotiating(server, nick, capabilities).await;
    client.send(&format!("AUTHENTICATE PLAIN\r\nAUTHENTICATE {}", plain("ada", "open sesame"))).await;
    client.until(" 903 ").await;
    client.send("CAP END").await;
    client.until(" 422 ").await;
    client
}

#[tokio::test]
async fn a_client_logs_in_before_it_registers() {
    let server = server_with_ada(&[]).await;
    let mut bob = server.connect().await;
    bob.send("CAP LS 302").await;
    let offered = bob.line().await.expect("a reply");
    assert!(offered.contains(" sasl=PLAIN "), "{offered}");
    assert!(offered.contains(" draft/account-registration=before-connect,custom-account-name "), "{offered}");
    bob.send("CAP LS").await;
    let names = bob.line().await.expect("a reply");
    assert!(names.contains(" sasl=PLAIN "), "a client cannot lower its version: {names}");
    bob.send("CAP REQ :sasl\r\nNICK bob\r\nUSER bob 0 * :Bob").await;
    assert_eq!(bob.until(" ACK ").await, ":s CAP * ACK :sasl");
    bob.send("AUTHENTICATE plain").await;
    assert_eq!(bob.line().await.as_deref(), Some("AUTHENTICATE +"));
    bob.send(&format!("AUTHENTICATE {}", plain("ADA", "open sesame"))).await;
    let welcome = ":s 900 bob bob!~bob@127.0.0.1 ada :You are now logged in as ada";
    assert_eq!(bob.line().await.as_deref(), Some(welcome));
    assert_eq!(bob.line().await.as_deref(), Some(":s 903 bob :SASL authentication successful"));
    bob.send("CAP END").await;
    bob.until(" 422 ").await;
    let whois = bob.ask("WHOIS bob").await;
    assert!(whois.contains(&":s 330 bob bob ada :is logged in as".to_owned()), "{whois:#?}");
    let mut eve = server.connect().await;
    eve.send("CAP LS").await;
    let names = eve.line().await.expect("a reply");
    assert!(names.contains(" sasl ") && !names.contains('='), "{names}");
}

/// A login takes a slow check, so a client cannot log in without pause.
#[tokio::test]
async fn a_pause_follows_a_repeated_login() {
    let server = server_with_ada(&[]).await;
    let mut bob = logged_in(&server, "bob", "").await;
    let started = Instant::now();
    bob.send(&format!("AUTHENTICATE PLAIN\r\nAUTHENTICATE {}", plain("ada", "open sesame"))).await;
    bob.until(" 903 ").await;
    bob.send("PING x").await;
    bob.until(" PONG ").await;
    assert!(started.elapsed() >= Duration::from_secs(1), "{:?}", started.elapsed());
}

#[tokio::test]
async fn invalid_exchanges_get_their_numeric() {
    let server = server_with_ada(&[]).await;
    let mut bob = server.connect().await;
    bob.send("CAP LS 302\r\nNICK bob").await;
    bob.line().await;
    let fail = ":s 904 bob :SASL authentication failed";
    assert_eq!(bob.ask("AUTHENTICATE").await, [":s 461 bob AUTHENTICATE :Not enough parameters"]);
    assert_eq!(bob.ask("AUTHENTICATE PLAIN").await, [":s 904 bob :Request the capability sasl first"]);
    assert_eq!(bob.ask("CAP REQ :sasl").await, [":s CAP bob ACK :sasl"]);
    let mechanisms = ":s 908 bob PLAIN :are available SASL mechanisms";
    assert_eq!(bob.ask("AUTHENTICATE SCRAM-SHA-256").await, [mechanisms, fail]);
    let aborted = ":s 906 bob :SASL authentication aborted";
    let (long, chunk) = ("A".repeat(401), "A".repeat(400));
    for (lines, reply) in [
        ("*".to_owned(), aborted),
        (long, ":s 905 bob :SASL message too long"),
        ("!!!".to_owned(), fail),
        ("+".to_owned(), fail),
        (plain("ada", ""), fail),
        (plain("", "open sesame"), fail),
        (STANDARD.encode("bob\0ada\0open sesame"), fail),
        (format!("{chunk}\r\nAUTHENTICATE +"), fail),
        ([&chunk[..]; 4].join("\r\nAUTHENTICATE "), fail),
    ] {
        let replies = bob.ask(&format!("AUTHENTICATE PLAIN\r\nAUTHENTICATE {lines}")).await;
        assert_eq!(replies, ["AUTHENTICATE +", reply], "{lines}");
    }
    // Each of these is followed by a pause.
    for (account, password) in [("ada", "open Sesame"), ("eve", "open sesame")] {
        let message = plain(account, password);
        let replies = bob.ask(&format!("AUTHENTICATE PLAIN\r\nAUTHENTICATE {message}")).await;
        assert_eq!(replies, ["AUTHENTICATE +", fail], "{account}");
    }
    // The end of the registration ends an exchange.
    bob.send("AUTHENTICATE PLAIN\r\nUSER bob 0 * :Bob\r\nCAP END").await;
    let lines = bob.lines_until(" 001 ").await;
    assert_eq!(lines[..2], ["AUTHENTICATE +", aborted]);
}

#[tokio::test]
async fn a_client_can_log_in_again_if_it_expects_that() {
    let server = server_with_ada(&[]).await;
    let mut ada = logged_in(&server, "ada", "").await;
    let again = format!("AUTHENTICATE PLAIN\r\nAUTHENTICATE {}", plain("ada", "open sesame"));
    let replies = ada.ask(&again).await;
    assert!(replies.len() == 3 && replies[1].starts_with(":s 900 ada "), "{replies:?}");
    let mut old = server.connect().await;
    old.send(&format!("CAP REQ :sasl\r\n{again}")).await;
    old.until(" 903 ").await;
    assert_eq!(old.ask("AUTHENTICATE PLAIN").await, [":s 907 * :You have already authenticated using SASL"]);
}

#[tokio::test]
async fn clients_in_a_common_channel_learn_about_accounts() {
    let server = server_with_ada(&[]).await;
    let mut bob = server.client("bob").await;
    bob.ask("CAP REQ :account-notify extended-join\r\nJOIN #a").await;
    let mut eve = server.member("eve", "#a").await;
    bob.until("eve").await;
    let mut ada = logged_in(&server, "carol", "extended-join").await;
    let join = ":carol!~carol@127.0.0.1 JOIN #a ada :Real carol";
    assert_eq!(ada.ask("JOIN #a").await[0], join);
    assert_eq!(bob.until("JOIN").await, join);
    eve.until("carol").await;
    eve.ask("CAP LS 302\r\nCAP REQ :sasl account-notify").await;
    let login = format!("AUTHENTICATE PLAIN\r\nAUTHENTICATE {}", plain("ada", "open sesame"));
    let notice = ":eve!~eve@127.0.0.1 ACCOUNT ada";
    let replies = eve.ask(&login).await;
    assert!(replies.len() == 4 && replies[2] == notice, "{replies:?}");
    assert_eq!(bob.until("ACCOUNT").await, notice);
    assert_eq!(ada.ask("PING x").await, [":s PONG s :x"], "without the capability");
    eve.ask(&login).await;
    assert_eq!(bob.ask("PING x").await, [":s PONG s :x"], "the account has not changed");
}

#[tokio::test]
async fn lines_of_a_user_that_is_logged_in_have_its_account_as_a_tag() {
    let server = server_with_ada(&[]).await;
    let mut bob = server.client("bob").await;
    bob.ask("CAP REQ :account-tag\r\nJOIN #a").await;
    let mut eve = server.member("eve", "#a").await;
    assert_eq!(bob.until("eve").await, ":eve!~eve@127.0.0.1 JOIN #a", "without an account");
    let mut ada = logged_in(&server, "carol", "echo-message account-tag").await;
    let prefix = "@account=ada :carol!~carol@127.0.0.1";
    assert_eq!(ada.ask("JOIN #a").await[0], format!("{prefix} JOIN #a"));
    assert_eq!(ada.ask("PRIVMSG #a :hi").await[0], format!("{prefix} PRIVMSG #a :hi"));
    ada.send("NOTICE bob :psst\r\nTOPIC #a :t\r\nNICK ada\r\nPART #a").await;
    let renamed = "@account=ada :ada!~carol@127.0.0.1";
    for line in ["JOIN #a", "PRIVMSG #a :hi", "NOTICE bob :psst"] {
        assert_eq!(bob.until("carol").await, format!("{prefix} {line}"));
    }
    // The channel's topic may be set by its operators only.
    assert_eq!(bob.until("carol").await, format!("{prefix} NICK :ada"));
    assert_eq!(bob.until("PART").await, format!("{renamed} PART #a"));
    assert_eq!(
        eve.until("PRIVMSG").await,
        ":carol!~carol@127.0.0.1 PRIVMSG #a :hi",
        "without the capability"
    );
}

#[tokio::test]
async fn register_adds_an_account_and_says_why_not() {
    let server = server_with_ada(&[]).await;
    let mut bob = server.client("bob").await;
    let _eve = server.client("eve").await;
    let long = "x".repeat(31);
    for (line, reply) in [
        ("REGISTER * *".to_owned(), ":s 461 bob REGISTER :Not enough parameters"),
        ("REGISTER ADA * :another one".to_owned(), ":s FAIL REGISTER ACCOUNT_EXISTS ADA :"),
        ("REGISTER eve * :another one".to_owned(), ":s FAIL REGISTER ACCOUNT_EXISTS eve :"),
        ("REGISTER 1st * :another one".to_owned(), ":s FAIL REGISTER BAD_ACCOUNT_NAME 1st :"),
        (format!("REGISTER {long} * :another one"), ":s FAIL REGISTER BAD_ACCOUNT_NAME xxx"),
        ("REGISTER * * short".to_owned(), ":s FAIL REGISTER WEAK_PASSWORD bob :"),
        ("REGISTER * * :tab\tin it".to_owned(), ":s FAIL REGISTER UNACCEPTABLE_PASSWORD bob :"),
        ("REGISTER Bobby b@example.org :another one".to_owned(), ":s REGISTER SUCCESS Bobby :"),
    ] {
        let replies = bob.ask(&line).await;
        assert!(replies[0].starts_with(reply), "{line}: {replies:?}");
    }
    assert!(bob.ask("WHOIS bob").await.contains(&":s 330 bob bob Bobby :is logged in as".to_owned()));
    let replies = bob.ask("REGISTER bobbie * :another one").await;
    assert!(replies[0].starts_with(":s FAIL REGISTER ALREADY_AUTHENTICATED bobbie :"), "{replies:?}");
    // Before the registration of the connection, too.
    let mut carol = server.connect().await;
    let replies = carol.ask("REGISTER * * :another one").await;
    assert!(replies[0].starts_with(":s FAIL REGISTER NEED_NICK * :"), "{replies:?}");
    let replies = carol.ask("NICK carol\r\nREGISTER * * :another one").await;
    assert!(replies[0].starts_with(":s REGISTER SUCCESS carol :"), "{replies:?}");
    assert!(replies[1].starts_with(":s 900 carol carol!*@127.0.0.1 carol :"), "{replies:?}");
}

#[tokio::test]
async fn settings_restrict_accounts() {
    let server = Server::start(&["--account-registration", "1/h"]).await;
    let mut ada = server.client("ada").await;
    assert!(ada.ask("REGISTER * * :open sesame").await[0].contains(" SUCCESS "));
    let mut bob = server.client("bob").await;
    let replies = bob.ask("REGISTER * * :open sesame").await;
    assert!(replies[0].starts_with(":s FAIL REGISTER TEMPORARILY_UNAVAILABLE bob :"), "{replies:?}");

    let server = Server::start(&["--account-registration", "off"]).await;
    let mut ada = server.client("ada").await;
    assert!(ada.ask("REGISTER * * :open sesame").await[0].contains(" TEMPORARILY_UNAVAILABLE "));
    let offered = ada.ask("CAP LS 302").await;
    assert!(offered[0].contains(" sasl=PLAIN ") && !offered[0].contains("registration"), "{offered:?}");

    let server = Server::start(&["--sasl", "off"]).await;
    let mut ada = server.client("ada").await;
    let offered = ada.ask("CAP LS 302").await;
    assert!(!offered[0].contains("sasl") && !offered[0].contains("registration"), "{offered:?}");
    assert_eq!(ada.ask("CAP REQ :sasl").await, [":s CAP ada NAK :sasl"]);

    // Only clients that know the server's password may register accounts.
    let server = Server::start(&["--password", "open"]).await;
    let mut ada = server.connect().await;
    let offered = ada.ask("CAP LS 302").await;
    assert!(offered[0].contains(" draft/account-registration=custom-account-name "), "{offered:?}");
    let replies = ada.ask("NICK ada\r\nREGISTER * * :open sesame").await;
    assert!(replies[0].starts_with(":s FAIL REGISTER COMPLETE_CONNECTION_REQUIRED ada :"), "{replies:?}");
}

#[tokio::test]
async fn a_server_may_require_a_login() {
    let server = Server::start(&["--sasl", "required"]).await;
    let mut bob = server.connect().await;
    bob.send("NICK bob\r\nUSER bob 0 * :Bob").await;
    let lines = bob.lines_until_end().await;
    assert!(lines[0].starts_with(":s FAIL * ACCOUNT_REQUIRED :"), "{lines:?}");
    assert!(lines[1].starts_with("ERROR :Closing Link: 127.0.0.1 (Log in"), "{lines:?}");
    let mut ada = server.connect().await;
    ada.send("CAP LS 302\r\nNICK ada\r\nUSER ada 0 * :Ada\r\nREGISTER * * :open sesame\r\nCAP END").await;
    ada.until(" 422 ").await;
    logged_in(&server, "carol", "").await;
}
