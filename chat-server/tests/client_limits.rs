//! Limits on clients that are silent, do not register, or do not read.
#![allow(missing_docs)]

mod support;

use std::time::Duration;

use chat_server::ClientLimits;
use support::{Client, Server};

const LONG_TIMEOUT: Duration = Duration::from_secs(600);
const SHORT_TIMEOUT: Duration = Duration::from_millis(200);
/// Long enough for a client to act in the meantime, even on a busy machine.
const ACTION_TIMEOUT: Duration = Duration::from_secs(4);

async fn register(client: &mut Client, nick: &str, channel: &str) {
    client.send(&format!("NICK {nick}\r\nUSER {nick} 0 * :r\r\nJOIN {channel}")).await;
    client.until(" 366 ").await;
}

#[tokio::test]
async fn idle_clients_are_pinged_then_disconnected() {
    let server = Server::with_limits(
        &[],
        ClientLimits::default().with_ping_after(SHORT_TIMEOUT).with_pong_timeout(ACTION_TIMEOUT),
    )
    .await;
    let mut ada = server.member("ada", "#a").await;
    let (ada_lines, (quit, pings)) = tokio::join!(ada.lines_until_end(), async {
        // Bob stays connected as long as it answers, and sees ada leave.
        let mut bob = server.member("bob", "#a").await;
        let mut pings = 0;
        loop {
            let line = bob.line().await.expect("a client that answers stays connected");
            if line.starts_with("PING") {
                pings += 1;
                bob.send("PONG :s").await;
            }
            if line.contains(" QUIT ") {
                return (line, pings);
            }
        }
    });
    assert!(ada_lines.contains(&"PING :s".to_owned()), "{ada_lines:#?}");
    let last = ada_lines.last().expect("an ERROR");
    assert!(last.starts_with("ERROR :Closing Link: 127.0.0.1 (Ping timeout: "), "{last}");
    assert!(quit.starts_with(":ada!~ada@127.0.0.1 QUIT :Ping timeout: ") && pings > 0, "{quit} {pings}");
}

#[tokio::test]
async fn clients_that_do_not_register_are_disconnected() {
    let server =
        Server::with_limits(&[], ClientLimits::default().with_registration_timeout(ACTION_TIMEOUT)).await;
    let mut silent = server.connect().await;
    let mut active = server.connect().await;
    let mut ada = server.client("ada").await;
    assert_eq!(silent.lines_until_end().await, ["ERROR :Closing Link: 127.0.0.1 (Registration timed out)"]);
    active.send("PING a\r\nPING b").await;
    let last = active.lines_until_end().await.pop();
    assert_eq!(last.as_deref(), Some("ERROR :Closing Link: 127.0.0.1 (Registration timed out)"));
    assert_eq!(ada.ask("ISON ada").await, [":s 303 ada :ada"]);
}

#[tokio::test]
async fn half_open_connections_are_closed() {
    let server = Server::start(&[]).await;
    let mut ada = server.member("ada", "#a").await;
    let mut bob = server.member("bob", "#a").await;
    // Bob shuts down its sending side and could still read.
    tokio::io::AsyncWriteExt::shutdown(&mut bob.write).await.expect("shut down");
    assert_eq!(ada.until("QUIT").await, ":bob!~bob@127.0.0.1 QUIT :Connection closed");
    assert_eq!(bob.lines_until_end().await, ["ERROR :Closing Link: 127.0.0.1 (Connection closed)"]);
}

#[tokio::test]
async fn a_client_above_the_soft_limit_is_disconnected_after_the_timeout() {
    let limits = ClientLimits::default()
        .with_soft_queue_bytes(8 * 1024)
        .with_slow_reader_timeout(SHORT_TIMEOUT)
        .with_hard_queue_bytes(1 << 30)
        .with_close_grace(LONG_TIMEOUT);
    let server = Server::with_limits(&["--flood-limit", "off"], limits).await;
    let mut slow = server.connect_with_small_buffers().await;
    register(&mut slow, "slow", "#a").await;
    let mut ada = server.member("ada", "#a").await;
    let text = "x".repeat(400);
    let mut sent_count = 0;
    // Ada receives each PONG although the queue of the slow client is full: the
    // server does not wait for the slow client.
    let quit = loop {
        if let Some(quit) = ada.ask(&format!("PRIVMSG #a :{sent_count} {text}")).await.pop() {
            break quit;
        }
        sent_count += 1;
    };
    assert_eq!(quit, ":slow!~slow@127.0.0.1 QUIT :SendQ exceeded");
    // The slow client received every message until then, and finally the
    // reason.
    let lines = slow.lines_until_end().await;
    assert_eq!(lines.last().map(String::as_str), Some("ERROR :Closing Link: 127.0.0.1 (SendQ exceeded)"));
    let received = lines.iter().filter(|line| line.contains(" PRIVMSG #a :"));
    for (number, line) in received.enumerate() {
        assert!(line.contains(&format!(" #a :{number} ")), "{number}: {line}");
    }
}

#[tokio::test]
async fn a_client_above_the_hard_limit_is_disconnected_at_once() {
    let limits =
        ClientLimits::default().with_slow_reader_timeout(LONG_TIMEOUT).with_hard_queue_bytes(64 * 1024);
    let server = Server::with_limits(&["--flood-limit", "off"], limits).await;
    let mut slow = server.connect_with_small_buffers().await;
    register(&mut slow, "slow", "#a").await;
    let mut ada = server.member("ada", "#a").await;
    let line = format!("PRIVMSG #a :{}", "x".repeat(400));
    let quit = loop {
        if let Some(quit) = ada.ask(&line).await.pop() {
            break quit;
        }
    };
    assert_eq!(quit, ":slow!~slow@127.0.0.1 QUIT :SendQ exceeded");
}
