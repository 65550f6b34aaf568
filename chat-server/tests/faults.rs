//! Faulty clients and the shutdown: other clients are not affected.
#![allow(missing_docs)]

mod support;

use support::Server;
use tokio::io::AsyncWriteExt;

#[tokio::test]
async fn an_overlong_line_affects_no_other_line() {
    let server = Server::start(&[]).await;
    let mut ada = server.member("ada", "#a").await;
    let mut bob = server.member("bob", "#a").await;
    ada.until("JOIN").await;
    bob.send(&format!("PRIVMSG #a :{}", "x".repeat(5_000))).await;
    assert_eq!(bob.until(" 417 ").await, ":s 417 bob :Input line was too long");
    bob.send("PRIVMSG #a :short").await;
    assert_eq!(ada.line().await.as_deref(), Some(":bob!~bob@127.0.0.1 PRIVMSG #a :short"));
}

#[tokio::test]
async fn replies_repeat_only_valid_parameters() {
    let server = Server::start(&[]).await;
    let mut ada = server.member("ada", "#a").await;
    let long = format!("#{}", "x".repeat(480));
    let shown = &long[..200];
    for (line, answer) in [
        ("NICK :a b", ":s 432 ada * :Erroneous nickname"),
        ("NICK ::a", ":s 432 ada * :Erroneous nickname"),
        ("JOIN :#a b", ":s 403 ada * :No such channel"),
        ("MODE #a +o :a b", ":s 401 ada * :No such nick/channel"),
        ("MODE #a +:", ":s 472 ada * :is unknown mode char to me"),
        ("WHO :a b", ":s 315 ada * :End of /WHO list"),
        ("CAP :a b", ":s 410 ada * :Invalid CAP command"),
        (":source :word", ":s 421 ada * :Unknown command"),
        (&format!("JOIN {long}"), &format!(":s 403 ada {shown} :No such channel")),
        (&long, &format!(":s 421 ada {shown} :Unknown command")),
    ] {
        assert_eq!(ada.ask(line).await, [answer], "{line}");
    }
}

#[tokio::test]
async fn bytes_that_are_not_utf8_pass_unchanged() {
    use tokio::io::AsyncBufReadExt;
    let server = Server::start(&[]).await;
    let mut ada = server.member("ada", "#a").await;
    let mut bob = server.member("bob", "#a").await;
    ada.until("JOIN").await;
    bob.send_bytes(b"PRIVMSG #a :\xff\xfe\x80 \xc3\n").await;
    let mut line = Vec::new();
    ada.read.read_until(b'\n', &mut line).await.expect("a line");
    assert!(line.ends_with(b" PRIVMSG #a :\xff\xfe\x80 \xc3\r\n"), "{line:?}");
}

#[tokio::test]
async fn a_truncated_text_ends_with_a_whole_character() {
    let server = Server::start(&[]).await;
    let mut ada = server.member("ada", "#a").await;
    let mut bob = server.member("bob", "#a").await;
    ada.until("JOIN").await;
    // Each character has three bytes. The number of `x` before them is chosen
    // so that the limit of each command falls inside a character.
    for (line, part) in [("TOPIC #a :x", "TOPIC"), ("PRIVMSG #a :", "PRIVMSG"), ("KICK #a bob :xx", "KICK")] {
        ada.send(&format!("{line}{}", "€".repeat(165))).await;
        let received = bob.until(part).await;
        assert!(received.ends_with('€'), "{received:?}");
    }
}

#[tokio::test]
async fn garbage_does_not_affect_other_clients() {
    let server = Server::start(&["--flood-limit", "off"]).await;
    let mut ada = server.member("ada", "#a").await;
    let mut garbage = server.connect().await;
    let mut state = 1u32;
    let bytes = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    });
    garbage.send_bytes(&bytes.take(20_000).collect::<Vec<_>>()).await;
    garbage.send("\r\nPING :still").await;
    garbage.until("PONG s :still").await;
    assert_eq!(ada.ask("NAMES #a").await[0], ":s 353 ada = #a :@ada");
}

#[tokio::test]
async fn a_dropped_connection_is_announced() {
    let server = Server::start(&[]).await;
    let mut ada = server.member("ada", "#a").await;
    let bob = server.member("bob", "#a").await;
    drop(bob);
    let quit = ada.until(" QUIT ").await;
    assert!(quit.starts_with(":bob!~bob@127.0.0.1 QUIT :"), "{quit}");
    server.member("bob", "#a").await;
}

#[tokio::test]
async fn a_slow_reader_is_disconnected_and_others_lose_nothing() {
    let server = Server::start(&["--flood-limit", "off"]).await;
    let mut ada = server.member("ada", "#a").await;
    // This client joins and never reads again.
    let _slow = server.member("slow", "#a").await;
    let mut bob = server.member("bob", "#a").await;
    let flood = async {
        let text = "x".repeat(400);
        for number in 0.. {
            bob.send(&format!("PRIVMSG #a :{number} {text}")).await;
            // Bob sends the next message after ada has received this one.
            // Otherwise ada would be a slow reader too.
            let line = ada.until(" #a :").await;
            assert!(line.contains(&format!(" PRIVMSG #a :{number} ")), "{line}");
            if number % 100 == 0 && ada.ask("NAMES #a").await[0] == ":s 353 ada = #a :@ada bob" {
                break;
            }
        }
    };
    flood.await;
}

#[tokio::test]
async fn a_full_server_refuses_clients_until_one_leaves() {
    let server = Server::start(&["--max-connections", "2"]).await;
    let mut ada = server.client("ada").await;
    let mut bob = server.client("bob").await;
    let refused = server.connect().await.lines_until_end().await;
    assert_eq!(refused, ["ERROR :Closing Link: (Server full, try again later)"]);
    bob.send("QUIT").await;
    bob.lines_until_end().await;
    drop(bob);
    loop {
        let mut next = server.connect().await;
        next.send("PING x").await;
        if next.line().await.is_some_and(|line| line.contains("PONG")) {
            break;
        }
    }
    assert_eq!(ada.ask("PONG").await, [""; 0]);
}

#[tokio::test]
async fn the_flood_limit_delays_lines_and_loses_none() {
    let server = Server::start(&["--flood-limit", "100/s"]).await;
    let mut ada = server.client("ada").await;
    for number in 0..250 {
        ada.send(&format!("PING {number}")).await;
    }
    for number in 0..250 {
        assert_eq!(ada.line().await, Some(format!(":s PONG s :{number}")));
    }
}

#[tokio::test]
async fn shutdown_delivers_accepted_messages_and_sends_the_reason() {
    let directory = std::env::temp_dir().join(format!("chat-server-drain-{}", std::process::id()));
    let server = Server::start(&["--data-dir", directory.to_str().expect("a UTF-8 path")]).await;
    let mut ada = server.member("ada", "#a").await;
    let mut bob = server.member("bob", "#a").await;
    // A client that has not registered does not delay the shutdown.
    let mut unregistered = server.connect().await;
    unregistered.write.write_all(b"NICK h").await.expect("sent");
    bob.send("PRIVMSG #a :last words\r\nPING sent").await;
    bob.until("PONG s :sent").await;
    let address = server.address;
    server.stop().await;
    let lines = ada.lines_until_end().await;
    assert_eq!(lines[1], ":bob!~bob@127.0.0.1 PRIVMSG #a :last words");
    assert_eq!(lines[2..], ["ERROR :Closing Link: 127.0.0.1 (Server shutting down)"]);
    assert!(unregistered.lines_until_end().await[0].starts_with("ERROR :"));
    tokio::net::TcpStream::connect(address).await.expect_err("nobody listens");
    let server = Server::start(&["--data-dir", directory.to_str().expect("a UTF-8 path")]).await;
    let history = server.member("eve", "#a").await.ask("HISTORY #a").await;
    assert!(history[0].ends_with("] <bob> last words"), "{history:?}");
    server.stop().await;
    std::fs::remove_dir_all(directory).expect("kept until here");
}
