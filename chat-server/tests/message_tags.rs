//! `message-tags` and `labeled-response`.
#![allow(missing_docs)]

mod support;

use support::{Client, Server};

const ADA: &str = ":ada!~ada@127.0.0.1";

async fn client_with(server: &Server, nick: &str, capabilities: &str) -> Client {
    let mut client = server.client(nick).await;
    client.ask(&format!("CAP REQ :{capabilities}\r\nJOIN #a")).await;
    client
}

/// Splits a line into the value of its `msgid` and the line without it.
fn without_id(line: &str) -> (String, String) {
    let start = line.find("msgid=").expect(line);
    let end = start + line[start..].find([';', ' ']).expect(line);
    let rest = if line[end..].starts_with(';') { &line[end + 1..] } else { &line[end..] };
    (line[start + 6..end].to_owned(), format!("{}{rest}", &line[..start]))
}

#[tokio::test]
async fn client_only_tags_reach_the_clients_that_know_them() {
    let server = Server::start(&[]).await;
    let mut ada = client_with(&server, "ada", "message-tags echo-message").await;
    let mut bob = client_with(&server, "bob", "message-tags").await;
    let mut eve = server.member("eve", "#a").await;
    bob.until("eve").await;
    ada.until("eve").await;
    let echo = ada.ask("@+reply=1;time=2020;label=x;msgid=5;+x=\\:\\s :faked PRIVMSG #a :hi").await;
    let (id, rest) = without_id(&echo[0]);
    assert_eq!(rest, format!("@+reply=1;+x=\\:\\s {ADA} PRIVMSG #a :hi"));
    assert_ne!(id, "5");
    assert_eq!(bob.line().await.as_ref(), Some(&echo[0]));
    assert_eq!(eve.line().await, Some(format!("{ADA} PRIVMSG #a :hi")));
    // TAGMSG has no text, and a client without the capability gets nothing.
    let echo = ada.ask("@+typing=active TAGMSG #a,bob,eve,ada").await;
    assert_eq!(echo.len(), 5, "four echoes, and one message to itself: {echo:?}");
    assert_eq!(without_id(&echo[0]).1, format!("@+typing=active {ADA} TAGMSG #a"));
    assert_eq!(bob.line().await.as_ref(), Some(&echo[0]));
    assert_eq!(bob.line().await.as_ref(), Some(&echo[1]));
    assert_eq!(eve.ask("TAGMSG #a").await, [":s 421 eve TAGMSG :Unknown command"]);
    assert_eq!(
        ada.ask("TAGMSG #none\r\nTAGMSG nobody\r\nTAGMSG").await,
        [
            ":s 403 ada #none :No such channel",
            ":s 401 ada nobody :No such nick/channel",
            ":s 411 ada :No recipient given (TAGMSG)"
        ]
    );
    // The tags of a client without the capability are dropped.
    eve.send("@+typing=active PRIVMSG #a :hello").await;
    assert_eq!(without_id(&bob.until("hello").await).1, "@ :eve!~eve@127.0.0.1 PRIVMSG #a :hello");
    // They do not join the history.
    assert!(ada.ask("HISTORY #a").await.iter().all(|line| !line.contains("typing")));
}

#[tokio::test]
async fn too_many_bytes_of_tags_are_refused() {
    let server = Server::start(&[]).await;
    let mut ada = client_with(&server, "ada", "message-tags echo-message server-time").await;
    let tags = |count: usize| format!("@+x={}", "y".repeat(count - 5));
    let longest = ada.ask(&format!("{} PRIVMSG #a :{}", tags(4096), "z".repeat(400))).await;
    assert!(longest[0].contains(&"z".repeat(400)) && longest[0].contains(&"y".repeat(4091)));
    assert!(longest[0].find(" :").is_some_and(|bytes| bytes < 8191));
    let refused = ada.ask(&format!("{} PRIVMSG #a :x", tags(4097))).await;
    assert!(refused[0].ends_with(" :s 417 ada :Input line was too long"), "{refused:?}");
    assert_eq!(refused.len(), 1);
}

#[tokio::test]
async fn the_response_to_a_request_has_its_label() {
    let server = Server::start(&["--flood-limit", "off", "--password", "right"]).await;
    let mut ada = server.connect().await;
    ada.send(
        "CAP REQ :batch labeled-response\r\nPASS right\r\nNICK ada\r\nUSER ada 0 * :r\r\n@label=in CAP END",
    )
    .await;
    let welcome = ada.lines_until("BATCH -").await;
    assert!(welcome.contains(&"@label=in :s BATCH +r labeled-response".to_owned()), "{welcome:?}");
    assert!(welcome.iter().any(|line| line.starts_with("@batch=r :s 001 ada ")), "{welcome:?}");
    ada.ask("CAP REQ echo-message\r\nJOIN #a").await;
    for (request, expected) in [
        ("PING x", &["@label=L :s PONG s :x"][..]),
        ("PONG", &["@label=L :s ACK"]),
        ("NOTICE nobody :x", &["@label=L :s ACK"]),
        ("NONSENSE", &["@label=L :s 421 ada NONSENSE :Unknown command"]),
        ("PRIVMSG #a :hi", &["@label=L :ada!~ada@127.0.0.1 PRIVMSG #a :hi"]),
        // The message to itself is no response.
        (
            "PRIVMSG ada :hi",
            &["@label=L :ada!~ada@127.0.0.1 PRIVMSG ada :hi", ":ada!~ada@127.0.0.1 PRIVMSG ada :hi"],
        ),
        (
            "TOPIC #a\r\n@label=M MODE #a",
            &[
                "@label=L :s 331 ada #a :No topic is set",
                "@label=M :s BATCH +r labeled-response",
                "@batch=r :s 324 ada #a +nt",
                "*",
                ":s BATCH -r",
            ],
        ),
        (
            "CHATHISTORY LATEST #b * 1",
            &["@label=L :s FAIL CHATHISTORY INVALID_TARGET LATEST #b :Messages could not be retrieved"],
        ),
        (
            "CHATHISTORY LATEST #a * 1",
            &[
                "@label=L :s BATCH +h chathistory #a",
                "@batch=h :ada!~ada@127.0.0.1 PRIVMSG #a :hi",
                ":s BATCH -h",
            ],
        ),
        (
            "HISTORY #a",
            &[
                "@label=L :s BATCH +r labeled-response",
                "*",
                "@batch=r :s NOTICE #a :End of history, lines: 1",
                ":s BATCH -r",
            ],
        ),
    ] {
        let response = ada.ask(&format!("@label=L {request}")).await;
        let expected: Vec<_> = expected
            .iter()
            .zip(&response)
            .map(|(line, came)| if *line == "*" { came } else { *line })
            .collect();
        assert_eq!(response, expected, "{request}");
    }
    ada.ask("CAP REQ -labeled-response").await;
    assert_eq!(ada.ask("@label=L PING x").await, [":s PONG s :x"]);
}
