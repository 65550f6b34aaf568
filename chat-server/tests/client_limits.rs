//! Clients that say nothing, or do not listen: how long they are borne, and what they are told.
#![allow(missing_docs)]

mod support;

use std::time::Duration;

use chat_server::ClientLimits;
use support::{Client, Server};

const LONG: Duration = Duration::from_secs(600);
const SOON: Duration = Duration::from_millis(200);
/// Long enough for whoever does something meanwhile, even on a machine that has other things to do.
const ENOUGH: Duration = Duration::from_secs(4);

async fn register(client: &mut Client, nick: &str, channel: &str) {
    client.send(&format!("NICK {nick}\r\nUSER {nick} 0 * :r\r\nJOIN {channel}")).await;
    client.until(" 366 ").await;
}

#[tokio::test]
async fn silence_is_asked_about_and_then_ended() {
    let server =
        Server::with_limits(&[], ClientLimits::default().with_ping_after(SOON).with_pong_timeout(ENOUGH))
            .await;
    let mut ada = server.member("ada", "#a").await;
    let (listening, speaking) = tokio::join!(ada.rest(), async {
        // It stays for as long as it answers, and sees ada go.
        let mut bob = server.member("bob", "#a").await;
        let mut pings = 0;
        loop {
            let line = bob.line().await.expect("whoever answers stays");
            if line.starts_with("PING") {
                pings += 1;
                bob.send("PONG :s").await;
            }
            if line.contains(" QUIT ") {
                return (line, pings);
            }
        }
    });
    assert!(listening.contains(&"PING :s".to_owned()), "{listening:#?}");
    let last = listening.last().expect("an ERROR");
    assert!(last.starts_with("ERROR :Closing Link: 127.0.0.1 (Ping timeout: "), "{last}");
    let (quit, pings) = speaking;
    assert!(quit.starts_with(":ada!~ada@127.0.0.1 QUIT :Ping timeout: ") && pings > 0, "{quit} {pings}");
}

#[tokio::test]
async fn whoever_does_not_register_is_let_go_even_if_it_talks() {
    let server = Server::with_limits(&[], ClientLimits::default().with_registration_timeout(ENOUGH)).await;
    let mut mute = server.connect().await;
    let mut chatty = server.connect().await;
    let ada = server.client("ada").await;
    assert_eq!(mute.rest().await, ["ERROR :Closing Link: 127.0.0.1 (Registration timed out)"]);
    chatty.send("PING a\r\nPING b").await;
    let last = chatty.rest().await.pop();
    assert_eq!(last.as_deref(), Some("ERROR :Closing Link: 127.0.0.1 (Registration timed out)"));
    let mut ada = ada;
    assert_eq!(ada.ask("ISON ada").await, [":s 303 ada :ada"]);
}

#[tokio::test]
async fn half_open_peers_end() {
    let server = Server::start(&[]).await;
    let mut ada = server.member("ada", "#a").await;
    let mut bob = server.member("bob", "#a").await;
    // It will not speak again, but would listen.
    tokio::io::AsyncWriteExt::shutdown(&mut bob.write).await.expect("shut");
    assert_eq!(ada.until("QUIT").await, ":bob!~bob@127.0.0.1 QUIT :Connection closed");
    assert_eq!(bob.rest().await, ["ERROR :Closing Link: 127.0.0.1 (Connection closed)"]);
}

#[tokio::test]
async fn a_queue_that_stays_full_ends_its_client_with_a_reason() {
    let limits = ClientLimits::default()
        .with_soft_queue_bytes(8 * 1024)
        .with_slow_reader_timeout(SOON)
        .with_hard_queue_bytes(1 << 30)
        .with_close_grace(LONG);
    let server = Server::with_limits(&["--flood-limit", "off"], limits).await;
    let mut slow = server.connect_small().await;
    register(&mut slow, "slow", "#a").await;
    let mut ada = server.member("ada", "#a").await;
    let text = "x".repeat(400);
    let mut said = 0;
    // Nobody waits for it: the speaker is answered each time.
    let quit = loop {
        if let Some(quit) = ada.ask(&format!("PRIVMSG #a :{said} {text}")).await.pop() {
            break quit;
        }
        said += 1;
    };
    assert_eq!(quit, ":slow!~slow@127.0.0.1 QUIT :SendQ exceeded");
    // It missed nothing until then, and reads in the end why it ended.
    let lines = slow.rest().await;
    assert_eq!(lines.last().map(String::as_str), Some("ERROR :Closing Link: 127.0.0.1 (SendQ exceeded)"));
    let heard = lines.iter().filter(|line| line.contains(" PRIVMSG #a :"));
    for (number, line) in heard.enumerate() {
        assert!(line.contains(&format!(" #a :{number} ")), "{number}: {line}");
    }
}

#[tokio::test]
async fn a_queue_that_grows_too_long_ends_its_client_at_once() {
    let limits = ClientLimits::default().with_slow_reader_timeout(LONG).with_hard_queue_bytes(64 * 1024);
    let server = Server::with_limits(&["--flood-limit", "off"], limits).await;
    let mut slow = server.connect_small().await;
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
