//! PRIVMSG and NOTICE: order, and texts that do not fit.
#![allow(missing_docs)]

mod support;

use support::Server;

const ADA: &str = ":ada!~ada@127.0.0.1";

#[tokio::test]
async fn messages_to_oneself_come_in_the_order_of_the_targets() {
    let server = Server::start(&[]).await;
    let mut ada = server.member("ada", "#z").await;
    assert_eq!(ada.ask("PRIVMSG #z,ada :m").await, [format!("{ADA} PRIVMSG ada :m")], "without echo-message");
    ada.ask("CAP REQ echo-message").await;
    for command in ["PRIVMSG", "NOTICE"] {
        assert_eq!(
            ada.ask(&format!("{command} #z,ada :m")).await,
            ["#z", "ada", "ada"].map(|target| format!("{ADA} {command} {target} :m"))
        );
    }
}

#[tokio::test]
async fn the_sender_learns_that_its_message_was_cut() {
    let server = Server::start(&[]).await;
    let (mut ada, mut bob) = (server.member("ada", "#a").await, server.member("bob", "#a").await);
    ada.until("JOIN").await;
    let space = 510 - format!("{ADA} PRIVMSG #a :").len();
    let longest = "x".repeat(space);
    assert_eq!(ada.ask(&format!("PRIVMSG #a :{longest}")).await, [""; 0], "it fits");
    assert!(bob.until("PRIVMSG").await.ends_with(&format!(" :{longest}")));
    let told =
        format!(":s NOTICE ada :The message to #a was cut: it has {} bytes, of which {space} fit", space + 1);
    assert_eq!(ada.ask(&format!("PRIVMSG #a :{longest}y")).await, [told]);
    assert!(bob.until("PRIVMSG").await.ends_with(&format!(" :{longest}")));
    // A NOTICE never gets a reply. An action keeps its final byte.
    let action = format!("\x01ACTION {}\x01", "\u{e4}".repeat(space / 2 - 4));
    assert_eq!(ada.ask(&format!("NOTICE #a :{action}")).await, [""; 0]);
    assert!(bob.until("NOTICE").await.ends_with('\x01'));
    assert_eq!(ada.ask(&format!("PRIVMSG #a :{action}")).await.len(), 1);
    let received = bob.until("PRIVMSG").await;
    assert!(received.ends_with("\u{e4}\x01"), "{received}");
}
