//! CHATHISTORY: earlier messages for programs.
#![allow(missing_docs)]

mod support;

use support::{Client, Server};

const ALL: &str = "batch draft/chathistory echo-message message-tags server-time";

/// Returns a member of `#a` with these capabilities.
async fn member(server: &Server, nick: &str, capabilities: &str) -> Client {
    let mut client = server.client(nick).await;
    client.ask(&format!("CAP REQ :{capabilities}\r\nJOIN #a")).await;
    client
}

/// Says `count` messages in `#a`. Returns them as the client sees them, with
/// their tags.
async fn say(client: &mut Client, count: usize) -> Vec<String> {
    let mut echoes = Vec::new();
    for number in 0..count {
        echoes.append(&mut client.ask(&format!("PRIVMSG #a :message {number}")).await);
    }
    assert_eq!(echoes.len(), count, "{echoes:?}");
    echoes
}

/// Returns the value of a tag.
fn tag<'a>(line: &'a str, name: &str) -> &'a str {
    let tags = line.strip_prefix('@').and_then(|line| line.split(' ').next()).expect(line);
    tags.split(';').find_map(|tag| tag.strip_prefix(name)?.strip_prefix('=')).expect(line)
}

/// Sends a CHATHISTORY that must be answered with a batch. Returns its lines
/// without the tag of the batch.
async fn batch(client: &mut Client, request: &str) -> Vec<String> {
    let mut lines = client.ask(&format!("CHATHISTORY {request}")).await;
    assert!(lines.len() >= 2, "{request}: {lines:?}");
    let (first, last) = (lines.remove(0), lines.pop().expect("the end"));
    assert!(first.ends_with(" :s BATCH +h chathistory #a"), "{request}: {first}");
    assert!(last.ends_with(" :s BATCH -h"), "{request}: {last}");
    lines
        .iter()
        .map(|line| line.strip_prefix("@batch=h;").map(|line| format!("@{line}")).expect(line))
        .collect()
}

#[tokio::test]
async fn each_subcommand_returns_its_lines_as_they_were_sent() {
    let server = Server::start(&["--flood-limit", "off"]).await;
    let mut ada = member(&server, "ada", ALL).await;
    let said = say(&mut ada, 10).await;
    let id = |index: usize| format!("msgid={}", tag(&said[index], "msgid"));
    for (request, expected) in [
        ("LATEST #a * 3".to_owned(), &said[7..]),
        ("LATEST #a * 10".to_owned(), &said[..]),
        (format!("LATEST #a {} 50", id(6)), &said[7..]),
        (format!("latest #A {} 2", id(4)), &said[8..]),
        (format!("BEFORE #a {} 3", id(5)), &said[2..5]),
        (format!("BEFORE #a {} 3", id(0)), &said[..0]),
        (format!("AFTER #a {} 3", id(5)), &said[6..9]),
        (format!("AROUND #a {} 1", id(5)), &said[5..6]),
        (format!("AROUND #a {} 4", id(5)), &said[3..7]),
        (format!("BETWEEN #a {} {} 9", id(2), id(6)), &said[3..6]),
        (format!("BETWEEN #a {} {} 2", id(2), id(6)), &said[3..5]),
        (format!("BETWEEN #a {} {} 2", id(6), id(2)), &said[4..6]),
        ("BEFORE #a timestamp=2026-01-01T00:00:00.000Z 9".to_owned(), &said[..0]),
        ("AFTER #a timestamp=2026-01-01T00:00:00.000Z 2".to_owned(), &said[..2]),
        ("LATEST #a timestamp=2999-01-01T00:00:00.000Z 2".to_owned(), &said[..0]),
    ] {
        assert_eq!(batch(&mut ada, &request).await, expected, "{request}");
    }
    // A time excludes all lines of its millisecond.
    let time = tag(&said[5], "time");
    let before = batch(&mut ada, &format!("BEFORE #a timestamp={time} 9")).await;
    let expected: Vec<_> = said.iter().filter(|line| tag(line, "time") < time).cloned().collect();
    assert_eq!(before, expected);
}

#[tokio::test]
async fn ids_and_times_are_the_same_for_all_and_after_a_restart() {
    let directory = std::env::temp_dir().join(format!("chathistory-restart-{}", std::process::id()));
    let flags = ["--data-dir", directory.to_str().expect("a UTF-8 path")];
    let server = Server::start(&flags).await;
    let mut ada = member(&server, "ada", ALL).await;
    let mut bob = member(&server, "bob", "message-tags server-time").await;
    ada.until("bob").await;
    let said =
        [say(&mut ada, 2).await, ada.ask("@+draft/reply=7;x=y PRIVMSG #a :\x01ACTION waves\x01").await];
    let said = said.concat();
    assert!(said[2].contains(";+draft/reply=7 :ada!~ada@127.0.0.1 PRIVMSG #a :\x01ACTION waves"), "{said:?}");
    for line in &said {
        assert_eq!(bob.until("PRIVMSG").await, *line);
    }
    server.stop().await;
    let server = Server::start(&flags).await;
    let mut eve = member(&server, "eve", ALL).await;
    assert_eq!(batch(&mut eve, "LATEST #a * 9").await, said);
    let next = say(&mut eve, 1).await.remove(0);
    let [old, new] = [&said[2], &next].map(|line| tag(line, "msgid").parse::<u64>().expect("a number"));
    assert!(old < new, "ids grow: {old} {new}");
    server.stop().await;
    std::fs::remove_dir_all(directory).expect("kept until here");
}

#[tokio::test]
async fn a_client_receives_only_what_it_has_requested() {
    let server = Server::start(&[]).await;
    let mut ada = member(&server, "ada", ALL).await;
    let said = say(&mut ada, 1).await.remove(0);
    let (tags, line) = said.split_once(' ').expect("tags");
    let mut bob = server.member("bob", "#a").await;
    let request = "CHATHISTORY LATEST #a * 9";
    assert_eq!(bob.ask(request).await, [line]);
    bob.ask("CAP REQ :server-time").await;
    assert_eq!(bob.ask(request).await, [format!("@time={} {line}", tag(&said, "time"))]);
    bob.ask("CAP REQ :-server-time message-tags").await;
    assert_eq!(bob.ask(request).await, [format!("@msgid={} {line}", tag(&said, "msgid"))]);
    bob.ask("CAP REQ :server-time").await;
    assert_eq!(bob.ask(request).await, [format!("{tags} {line}")]);
    bob.ask("CAP REQ :batch -server-time -message-tags").await;
    let lines =
        [":s BATCH +h chathistory #a".to_owned(), format!("@batch=h {line}"), ":s BATCH -h".to_owned()];
    assert_eq!(bob.ask(request).await, lines);
}

#[tokio::test]
async fn an_invalid_request_fails_with_its_reason() {
    let server = Server::start(&["--flood-limit", "off"]).await;
    let mut ada = member(&server, "ada", "draft/chathistory").await;
    let mut bob = server.client("bob").await;
    bob.ask("JOIN #b\r\nPRIVMSG #b :secret").await;
    ada.ask("PRIVMSG bob :private").await;
    assert_eq!(ada.ask("CHATHISTORY").await, [":s 461 ada CHATHISTORY :Not enough parameters"]);
    let no_target = ":Messages could not be retrieved";
    for (request, failure) in [
        ("OLDEST #a * 9", "INVALID_PARAMS OLDEST :Unknown command"),
        ("LATEST", "INVALID_PARAMS LATEST :Insufficient parameters"),
        ("LATEST #a *", "INVALID_PARAMS LATEST :Insufficient parameters"),
        ("LATEST #a * 9 9", "INVALID_PARAMS LATEST :Too many parameters"),
        ("BETWEEN #a msgid=1 9", "INVALID_PARAMS BETWEEN :Insufficient parameters"),
        ("LATEST #a * 0", "INVALID_PARAMS LATEST 0 :Invalid limit"),
        ("LATEST #a * -1", "INVALID_PARAMS LATEST -1 :Invalid limit"),
        ("BEFORE #a * 9", "INVALID_PARAMS BEFORE * :Invalid position"),
        ("BEFORE #a timestamp=noon 9", "INVALID_PARAMS BEFORE timestamp=noon :Invalid timestamp"),
        ("BEFORE #a msgid=x 9", "INVALID_PARAMS BEFORE msgid=x :This server has no such message id"),
        ("TARGETS msgid=1 msgid=2 9", "INVALID_PARAMS TARGETS msgid=1 :TARGETS needs timestamps"),
        // The same whether the channel exists or not.
        ("LATEST #b * 9", &format!("INVALID_TARGET LATEST #b {no_target}")),
        ("LATEST #none * 9", &format!("INVALID_TARGET LATEST #none {no_target}")),
        // Private messages are not kept.
        ("LATEST bob * 9", &format!("INVALID_TARGET LATEST bob {no_target}")),
        ("LATEST ada * 9", &format!("INVALID_TARGET LATEST ada {no_target}")),
    ] {
        let failure = format!(":s FAIL CHATHISTORY {failure}");
        assert_eq!(ada.ask(&format!("CHATHISTORY {request}")).await, [failure], "{request}");
    }
    // The client was a member, and is one no longer.
    ada.ask("PRIVMSG #a :x\r\nPART #a").await;
    assert!(ada.ask("CHATHISTORY LATEST #a * 9").await[0].contains(" INVALID_TARGET "));
    let mut stranger = server.connect().await;
    stranger.send("CHATHISTORY LATEST #a * 9").await;
    assert_eq!(stranger.until(" 451 ").await, ":s 451 * :You have not registered");
}

#[tokio::test]
async fn targets_are_the_channels_of_the_client() {
    let server = Server::start(&["--flood-limit", "off"]).await;
    let mut ada = server.client("ada").await;
    ada.ask("CAP REQ :batch echo-message message-tags server-time\r\nJOIN #One,#two,#silent").await;
    let mut bob = server.member("bob", "#hidden").await;
    bob.ask("PRIVMSG #hidden :x\r\nPRIVMSG ada :x").await;
    ada.until("PRIVMSG ada").await;
    let one = ada.ask("PRIVMSG #one :x").await.remove(0);
    let mut two = one.clone();
    while tag(&two, "time") == tag(&one, "time") {
        two = ada.ask("PRIVMSG #two :x").await.remove(0);
    }
    let (first, second) = (tag(&one, "time"), tag(&two, "time"));
    let (start, end) = ("timestamp=2026-01-01T00:00:00.000Z", "timestamp=2999-01-01T00:00:00.000Z");
    let lines = [format!("#One {first}"), format!("#two {second}")];
    for (request, expected) in [
        (format!("{start} {end} 9"), &lines[..]),
        (format!("{start} {end} 1"), &lines[..1]),
        (format!("{end} {start} 1"), &lines[1..]),
        (format!("timestamp={first} {end} 9"), &lines[1..]),
        (format!("{start} timestamp={first} 9"), &lines[..0]),
    ] {
        let answer = ada.ask(&format!("CHATHISTORY TARGETS {request}")).await;
        assert!(answer[0].ends_with(" :s BATCH +h draft/chathistory-targets"), "{answer:?}");
        let targets: Vec<_> = answer.iter().filter(|line| line.contains("batch=h ")).collect();
        let found: Vec<_> = targets
            .iter()
            .filter_map(|line| line.split_once(" :s CHATHISTORY TARGETS "))
            .map(|it| it.1)
            .collect();
        assert_eq!(found, expected, "{request}");
    }
}

/// Returns the time of the newest line of `#a`, if TARGETS lists it.
async fn target_times(client: &mut Client) -> Vec<String> {
    let all = "timestamp=2026-01-01T00:00:00.000Z timestamp=2999-01-01T00:00:00.000Z 9";
    let answer = client.ask(&format!("CHATHISTORY TARGETS {all}")).await;
    let targets = answer.iter().filter_map(|line| line.split_once(" CHATHISTORY TARGETS #a "));
    targets.map(|(_, time)| time.to_owned()).collect()
}

#[tokio::test]
async fn private_lines_end_with_their_channel_and_public_lines_do_not() {
    for mode in ["i", "k key", "s"] {
        let directory = tempfile::tempdir().expect("a directory");
        let flags = ["--flood-limit", "off", "--data-dir", directory.path().to_str().expect("a UTF-8 path")];
        let mut server = Server::start(&flags).await;
        let mut ada = member(&server, "ada", ALL).await;
        let open = ada.ask("PRIVMSG #a :open").await.remove(0);
        ada.ask(&format!("MODE #a +{mode}")).await;
        let closed = [ada.ask("PRIVMSG #a :one").await, ada.ask("PRIVMSG #a :two").await].concat();
        let letter = &mode[..1];
        ada.ask(&format!("MODE #a -{letter} {}", &mode[1..])).await;
        // In the same channel, the lines stay, also for members who join later.
        let mut bob = member(&server, "bob", ALL).await;
        let all = [std::slice::from_ref(&open), &closed[..]].concat();
        for client in [&mut ada, &mut bob] {
            client.ask("PING settled").await;
            assert_eq!(batch(client, "LATEST #a * 9").await, all, "{mode}");
            assert_eq!(target_times(client).await, [tag(&closed[1], "time")], "{mode}");
        }
        // The channel becomes empty, and then the server starts again.
        for round in 0..2 {
            if round == 0 {
                ada.ask("PART #a").await;
                bob.ask("PART #a").await;
            } else {
                server.stop().await;
                server = Server::start(&flags).await;
            }
            let mut eve = member(&server, "eve", ALL).await;
            let id = |line: &str| format!("msgid={}", tag(line, "msgid"));
            for request in [
                "LATEST #a * 9".to_owned(),
                "LATEST #a * 1".to_owned(),
                "LATEST #a msgid=1 9".to_owned(),
                format!("BEFORE #a {} 1", id(&closed[1])),
                "AFTER #a msgid=1 9".to_owned(),
                format!("AROUND #a {} 9", id(&closed[0])),
                format!("BETWEEN #a msgid=1 msgid={} 9", u64::MAX),
                format!("BETWEEN #a msgid={} msgid=1 9", u64::MAX),
            ] {
                assert_eq!(batch(&mut eve, &request).await, std::slice::from_ref(&open), "{mode}: {request}");
            }
            assert!(batch(&mut eve, &format!("AFTER #a {} 9", id(&open))).await.is_empty(), "{mode}");
            assert_eq!(target_times(&mut eve).await, [tag(&open, "time")], "{mode}");
            let history = eve.ask("HISTORY #a 9").await;
            assert!(history[0].ends_with("Z] <ada> open") && history.len() == 2, "{mode}: {history:?}");
            eve.send("QUIT").await;
            eve.lines_until_end().await;
        }
    }
}
