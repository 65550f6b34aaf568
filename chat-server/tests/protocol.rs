//! The protocol between client and server.
#![allow(missing_docs)]

mod support;

use std::time::{Duration, Instant};

use support::Server;

#[tokio::test]
async fn registration_works_in_any_order() {
    let server = Server::start(&[]).await;
    for (nick, lines) in [
        ("a", "NICK a\r\nUSER u 0 * :r"),
        ("b", "USER u 0 * :r\r\nNICK b"),
        ("c", "CAP LS 302\r\nJOIN :\r\nNICK c\r\nUSER u 0 * :r\r\nCAP END"),
        ("d", "CAP REQ :sasl\r\nUSER u 0 * :r\r\nCAP END\r\nNICK d"),
        ("e", "PASS x\r\nNICK 1\r\nUSER u 0 *\r\nUSER u 0 * :\r\nNICK e\r\nUSER u 0 * :r"),
    ] {
        let mut client = server.connect().await;
        client.send(lines).await;
        let welcome = client.lines_until(" 422 ").await;
        for code in ["001", "002", "003", "004", "005", "251", "255", "266"] {
            assert!(
                welcome.iter().any(|it| it.starts_with(&format!(":s {code} {nick} "))),
                "{code}: {welcome:#?}"
            );
        }
        assert!(!welcome.iter().any(|it| it.contains(" 451 ")), "{welcome:#?}");
    }
}

#[tokio::test]
async fn registration_waits_for_capability_negotiation() {
    let server = Server::start(&[]).await;
    let mut client = server.connect().await;
    assert_eq!(
        client.ask("CAP LS 302\r\nNICK a\r\nUSER u 0 * :r").await,
        [
            ":s CAP * LS :account-notify account-tag away-notify batch draft/account-registration=before-connect,custom-account-name \
             draft/chathistory echo-message extended-join labeled-response message-tags multi-prefix sasl=PLAIN server-time \
             setname userhost-in-names"
        ]
    );
    assert_eq!(client.ask("CAP REQ :no-such echo-message").await, [":s CAP a NAK :no-such echo-message"]);
    assert_eq!(client.ask("CAP REQ :echo-message").await, [":s CAP a ACK :echo-message"]);
    assert_eq!(client.ask("CAP What").await, [":s 410 a What :Invalid CAP command"]);
    for line in ["CAP", "CAP :"] {
        assert_eq!(client.ask(line).await, [":s 461 a CAP :Not enough parameters"]);
    }
    assert!(client.ask("CAP END").await[0].starts_with(":s 001 a "));
    assert_eq!(client.ask("CAP LIST").await, [":s CAP a LIST :echo-message"]);
}

#[tokio::test]
async fn an_empty_real_name_is_a_missing_parameter() {
    let server = Server::start(&[]).await;
    let mut client = server.connect().await;
    let missing = [":s 461 a USER :Not enough parameters"];
    for line in ["USER u 0 * :", "USER u 0 *"] {
        assert_eq!(client.ask(&format!("NICK a\r\n{line}")).await, missing, "{line}");
    }
}

#[tokio::test]
async fn the_first_client_to_register_gets_the_nick() {
    let server = Server::start(&["--password", "open"]).await;
    // A client without the password does not hold the nick.
    let mut stranger = server.connect().await;
    assert_eq!(stranger.ask("NICK boss").await, [""; 0]);
    let mut rival = server.connect().await;
    assert_eq!(rival.ask("PASS open\r\nNICK boss").await, [""; 0]);
    let mut boss = server.connect().await;
    boss.send("PASS open\r\nNICK boss\r\nUSER u 0 * :r").await;
    boss.until(" 422 ").await;
    assert_eq!(rival.ask("USER u 0 * :r").await, [":s 433 * boss :Nickname is already in use"]);
    assert_eq!(rival.ask("NICK Boss").await, [":s 433 * Boss :Nickname is already in use"]);
    assert!(rival.ask("NICK rival").await[0].starts_with(":s 001 rival "));
    // The end of a client that never had the nick does not free it.
    stranger.send("QUIT").await;
    stranger.lines_until_end().await;
    assert_eq!(rival.ask("NICK boss").await, [":s 433 rival boss :Nickname is already in use"]);
}

#[tokio::test]
async fn the_password_is_verified_once_at_registration() {
    let server = Server::start(&["--password", "open"]).await;
    let mut ada = server.connect().await;
    assert_eq!(ada.ask("PASS wrong\r\nPASS open\r\nCAP LS\r\nNICK ada\r\nUSER u 0 * :r").await.len(), 1);
    assert!(ada.ask("CAP END").await[0].starts_with(":s 001 ada "), "the last PASS counts");
    for lines in ["", "PASS\r\n", "PASS open\r\nPASS wrong\r\n"] {
        let mut bad = server.connect().await;
        bad.send(&format!("{lines}NICK bad\r\nUSER u 0 * :r\r\nPASS open\r\nUSER u 0 * :r")).await;
        let last = bad.lines_until_end().await.pop();
        assert_eq!(last.as_deref(), Some("ERROR :Closing Link: 127.0.0.1 (Bad password)"), "{lines:?}");
    }
}

#[tokio::test]
async fn members_receive_messages_in_order() {
    let server = Server::start(&[]).await;
    let mut ada = server.member("ada", "#Rust").await;
    let mut bob = server.member("bob", "#rust").await;
    assert_eq!(ada.until("JOIN").await, ":bob!~bob@127.0.0.1 JOIN #Rust");
    for number in 0..100 {
        bob.send(&format!("PRIVMSG #RUST :line {number}")).await;
    }
    for number in 0..100 {
        assert_eq!(ada.until("PRIVMSG").await, format!(":bob!~bob@127.0.0.1 PRIVMSG #Rust :line {number}"));
    }
    bob.send("NOTICE ada :psst\r\nPART #rust :enough").await;
    assert_eq!(ada.until("NOTICE").await, ":bob!~bob@127.0.0.1 NOTICE ada :psst");
    assert_eq!(ada.until("PART").await, ":bob!~bob@127.0.0.1 PART #Rust :enough");
    assert_eq!(bob.ask("PRIVMSG #rust :x").await[1..], [":s 404 bob #Rust :Cannot send to channel"]);
    bob.send("JOIN #rust\r\nQUIT :bye").await;
    assert_eq!(ada.until("QUIT").await, ":bob!~bob@127.0.0.1 QUIT :Quit: bye");
    assert_eq!(bob.until("ERROR").await, "ERROR :Closing Link: 127.0.0.1 (Quit: bye)");
    assert_eq!(bob.line().await, None);
}

#[tokio::test]
async fn a_target_named_twice_receives_the_message_once() {
    let server = Server::start(&[]).await;
    let mut ada = server.member("ada[1]", "#a[1]").await;
    let mut bob = server.member("bob", "#a[1]").await;
    for command in ["PRIVMSG", "NOTICE"] {
        let line =
            format!("{command} ada[1],#a[1],ADA{{1}},#A{{1}},ada[1],#a[1] :x\r\n{command} ada[1] :end");
        assert_eq!(bob.ask(&line).await, [""; 0], "a repeated target does not count");
        let received = ada.lines_until(" :end").await;
        let received: Vec<_> =
            received.iter().filter_map(|line| line.split_once(&format!(" {command} "))).collect();
        assert_eq!(
            received.iter().map(|(_, it)| *it).collect::<Vec<_>>(),
            ["ada[1] :x", "#a[1] :x", "ada[1] :end"]
        );
    }
    let refused = bob.ask("PRIVMSG n1,N1,n2,n1,n3,n4,N4,n5,n6 :x").await;
    let codes: Vec<_> = refused.iter().map(|line| line.split(' ').nth(1).unwrap_or_default()).collect();
    assert_eq!(codes, ["401", "401", "401", "401", "407"], "{refused:?}");
}

#[tokio::test]
async fn nicks_collide_by_rfc1459_and_changes_are_announced() {
    let server = Server::start(&[]).await;
    let mut ada = server.member("ada[1]", "#a").await;
    let mut bob = server.member("bob", "#a").await;
    assert_eq!(bob.ask("NICK ADA{1}").await, [":s 433 bob ADA{1} :Nickname is already in use"]);
    assert_eq!(bob.ask("NICK 1a").await, [":s 432 bob 1a :Erroneous nickname"]);
    assert_eq!(bob.ask("NICK").await, [":s 431 bob :No nickname given"]);
    assert_eq!(bob.ask("NICK bob").await, [""; 0], "the nick is unchanged");
    assert_eq!(bob.ask("NICK Bob").await, [":bob!~bob@127.0.0.1 NICK :Bob"]);
    assert_eq!(ada.until("NICK").await, ":bob!~bob@127.0.0.1 NICK :Bob");
    bob.send("QUIT").await;
    ada.until("QUIT").await;
    assert_eq!(ada.ask("NICK bob").await, [":ada[1]!~ada1@127.0.0.1 NICK :bob"]);
}

#[tokio::test]
async fn topics_are_set_shown_and_cleared() {
    let server = Server::start(&[]).await;
    let mut ada = server.member("ada", "#a").await;
    let mut bob = server.member("bob", "#a").await;
    assert_eq!(bob.ask("TOPIC #a").await, [":s 331 bob #a :No topic is set"]);
    assert_eq!(bob.ask("TOPIC #a :x").await, [":s 482 bob #a :You're not channel operator"]);
    ada.ask("MODE #a -t").await;
    bob.until("MODE").await;
    assert_eq!(bob.ask("TOPIC #a :Tea at 4").await, [":bob!~bob@127.0.0.1 TOPIC #a :Tea at 4"]);
    assert_eq!(ada.until("TOPIC").await, ":bob!~bob@127.0.0.1 TOPIC #a :Tea at 4");
    let mut eve = server.client("eve").await;
    let shown = eve.ask("TOPIC #a").await;
    assert_eq!(shown[0], ":s 332 eve #a :Tea at 4");
    assert!(shown[1].starts_with(":s 333 eve #a bob!~bob@127.0.0.1 "), "{shown:?}");
    assert_eq!(eve.ask("TOPIC #a :x").await, [":s 442 eve #a :You're not on that channel"]);
    bob.ask("TOPIC #a :").await;
    assert_eq!(eve.ask("TOPIC #a").await, [":s 331 eve #a :No topic is set"]);
    assert_eq!(eve.ask("TOPIC #none").await, [":s 403 eve #none :No such channel"]);
}

#[tokio::test]
async fn queries_about_channels_and_users_are_answered() {
    let server = Server::start(&[]).await;
    let mut ada = server.member("ada", "#a").await;
    let _bob = server.member("bob", "#a").await;
    ada.until("JOIN").await;
    assert_eq!(ada.ask("NAMES #a").await, [":s 353 ada = #a :@ada bob", ":s 366 ada #a :End of /NAMES list"]);
    let who = ada.ask("WHO #a").await;
    assert_eq!(who[1], ":s 352 ada #a ~bob 127.0.0.1 s bob H :0 Real bob");
    assert_eq!(who[2], ":s 315 ada #a :End of /WHO list");
    assert_eq!(ada.ask("WHO nobody").await, [":s 315 ada nobody :End of /WHO list"]);
    let whois = ada.ask("WHOIS bob").await;
    assert_eq!(whois[..2], [":s 311 ada bob ~bob 127.0.0.1 * :Real bob", ":s 319 ada bob :#a"]);
    assert_eq!(ada.ask("WHOIS eve").await[0], ":s 401 ada eve :No such nick/channel");
    assert_eq!(ada.ask("LIST").await[1..], [":s 322 ada #a 2 :", ":s 323 ada :End of /LIST"]);
    assert!(ada.ask("VERSION").await[0].starts_with(":s 351 ada chat-server-"));
    assert!(ada.ask("TIME").await[0].starts_with(":s 391 ada s :20"));
    assert_eq!(ada.ask("LUSERS").await[0], ":s 251 ada :There are 2 users and 0 invisible on 1 servers");
    assert_eq!(ada.ask("MOTD").await, [":s 422 ada :MOTD File is missing"]);
}

#[tokio::test]
async fn modes_are_shown_and_changed() {
    let server = Server::start(&[]).await;
    let mut ada = server.member("ada", "#a").await;
    let channel = ada.ask("MODE #a").await;
    assert_eq!(channel[0], ":s 324 ada #a +nt");
    assert!(channel[1].starts_with(":s 329 ada #a "));
    assert_eq!(ada.ask("MODE #a b").await, [":s 368 ada #a :End of channel ban list"]);
    assert_eq!(ada.ask("MODE #a +z x").await, [":s 472 ada z :is unknown mode char to me"]);
    assert_eq!(ada.ask("MODE ada").await, [":s 221 ada +"]);
    assert_eq!(ada.ask("MODE ada +i").await, [":ada MODE ada :+i"]);
    assert_eq!(ada.ask("MODE ada").await, [":s 221 ada +i"]);
    let letters = format!("{}-i", "-i+i".repeat(110));
    assert_eq!(ada.ask(&format!("MODE ada {letters}")).await, [":ada MODE ada :-i"]);
    assert_eq!(ada.ask("MODE ada +w").await, [":s 501 ada :Unknown MODE flag"]);
    assert_eq!(ada.ask("MODE bob").await, [":s 401 ada bob :No such nick/channel"]);
    assert_eq!(ada.ask("MODE #b").await, [":s 403 ada #b :No such channel"]);
}

#[tokio::test]
async fn invalid_commands_get_their_error_numeric() {
    let server = Server::start(&[]).await;
    let mut early = server.connect().await;
    assert_eq!(early.ask("PRIVMSG a :b").await, [":s 451 * :You have not registered"]);
    let mut ada = server.client("ada").await;
    for (line, answer) in [
        ("HELLO", ":s 421 ada HELLO :Unknown command"),
        ("JOIN", ":s 461 ada JOIN :Not enough parameters"),
        ("JOIN a", ":s 403 ada a :No such channel"),
        ("PART", ":s 461 ada PART :Not enough parameters"),
        ("PART #a", ":s 403 ada #a :No such channel"),
        ("PRIVMSG", ":s 411 ada :No recipient given (PRIVMSG)"),
        ("PRIVMSG , :x", ":s 411 ada :No recipient given (PRIVMSG)"),
        ("PRIVMSG ada", ":s 412 ada :No text to send"),
        ("PRIVMSG ada :", ":s 412 ada :No text to send"),
        ("PRIVMSG bob :x", ":s 401 ada bob :No such nick/channel"),
        ("PRIVMSG #a :x", ":s 403 ada #a :No such channel"),
        ("USER a 0 * :b", ":s 462 ada :You may not reregister"),
        ("PASS x", ":s 462 ada :You may not reregister"),
        ("PING", ":s 409 ada :No origin specified"),
        ("OPER a", ":s 461 ada OPER :Not enough parameters"),
        ("OPER a b", ":s 491 ada :No O-lines for your host"),
        ("PRIVMSG ada :get freebitcoin3 now", ":s 404 ada ada :Cannot send (the word filter refuses it)"),
    ] {
        assert_eq!(ada.ask(line).await, [answer], "{line}");
    }
    for line in ["JOIN :", "JOIN ,", "PONG", "NOTICE bob :x", "NOTICE", "", ":source", "@tag"] {
        assert_eq!(ada.ask(line).await, [""; 0], "{line:?}");
    }
}

#[tokio::test]
async fn passwords_admit_clients_and_make_operators() {
    let server = Server::start(&["--password", "open", "--oper", "root:secret"]).await;
    let mut bad = server.connect().await;
    bad.send("PASS wrong\r\nNICK bad\r\nUSER u 0 * :r").await;
    assert_eq!(bad.until(" 464 ").await, ":s 464 bad :Password incorrect");
    assert_eq!(bad.lines_until_end().await, ["ERROR :Closing Link: 127.0.0.1 (Bad password)"]);
    let mut ada = server.connect().await;
    ada.send("PASS open\r\nNICK ada\r\nUSER u 0 * :r").await;
    ada.until(" 422 ").await;
    let started = Instant::now();
    assert_eq!(ada.ask("OPER root wrong").await, [":s 464 ada :Password incorrect"]);
    // `ask` ends with the answer to a PING, which the server handles later.
    assert!(started.elapsed() >= Duration::from_secs(1), "guessing takes long");
    assert_eq!(ada.ask("OPER toor secret").await, [":s 464 ada :Password incorrect"]);
    assert_eq!(
        ada.ask("OPER root secret").await,
        [":s 381 ada :You are now an IRC operator", ":ada MODE ada :+o"]
    );
    assert_eq!(ada.ask("MODE ada").await, [":s 221 ada +o"]);
}

#[tokio::test]
async fn help_shows_the_commands_and_their_parameters() {
    let server = Server::start(&[]).await;
    let mut ada = server.client("ada").await;
    let help = ada.ask("HELP").await;
    assert!(help[1].starts_with(":s 705 ada * :PRIVMSG ") && help[1].ends_with(" HISTORY"), "{help:?}");
    assert_eq!(help[2], ":s 706 ada * :End of /HELP");
    let history =
        [":s 704 ada HISTORY :HISTORY #channel [number of lines]", ":s 706 ada HISTORY :End of /HELP"];
    assert_eq!(ada.ask("HELPOP history").await, history);
    assert_eq!(ada.ask("HELP hello").await, [":s 524 ada hello :Help not found"]);
}

#[tokio::test]
async fn only_operators_can_kill() {
    let server = Server::start(&["--oper", "root:secret"]).await;
    let (mut ada, mut bob) = (server.client("ada").await, server.member("bob", "#a").await);
    let mut eve = server.member("eve", "#a").await;
    let mut early = server.connect().await;
    early.ask("NICK early").await;
    bob.until("JOIN").await;
    let forbidden = [":s 481 ada :Permission Denied- You're not an IRC operator"];
    assert_eq!(ada.ask("KILL bob :x").await, forbidden);
    ada.ask("OPER root secret").await;
    for line in ["KILL", "KILL :"] {
        assert_eq!(ada.ask(line).await, [":s 461 ada KILL :Not enough parameters"]);
    }
    for nick in ["nobody", "early", "#a", "bob,eve"] {
        let none = format!(":s 401 ada {nick} :No such nick/channel");
        assert_eq!(ada.ask(&format!("KILL {nick} :x")).await, [none]);
    }
    assert_eq!(ada.ask("KILL BOB :too loud").await, [""; 0]);
    let last_lines = [
        ":ada!~ada@127.0.0.1 KILL bob :too loud",
        "ERROR :Closing Link: 127.0.0.1 (Killed (ada (too loud)))",
    ];
    assert_eq!(bob.lines_until_end().await, last_lines);
    assert_eq!(eve.until("QUIT").await, ":bob!~bob@127.0.0.1 QUIT :Killed (ada (too loud))");
    assert_eq!(eve.ask("NAMES #a").await[0], ":s 353 eve = #a :eve");
    // The nick is free again. All lines about the KILL are complete, whatever
    // the length of its reason.
    let mut bob = server.member("bob", "#a").await;
    eve.until("JOIN").await;
    ada.ask(&format!("KILL bob :{}", "€".repeat(150))).await;
    let reason = format!("Killed (ada ({}))", "€".repeat(100));
    assert!(bob.lines_until_end().await[1].ends_with(&format!(" ({reason})")));
    assert_eq!(eve.until("QUIT").await, format!(":bob!~bob@127.0.0.1 QUIT :{reason}"));
    // A former operator cannot kill. An operator may kill itself.
    ada.ask("MODE ada -o").await;
    assert_eq!(ada.ask("KILL eve").await, forbidden);
    ada.ask("OPER root secret").await;
    ada.send("KILL ada").await;
    let last_lines = [
        ":ada!~ada@127.0.0.1 KILL ada :no reason given",
        "ERROR :Closing Link: 127.0.0.1 (Killed (ada (no reason given)))",
    ];
    assert_eq!(ada.lines_until_end().await, last_lines);
    let lusers = eve.ask("LUSERS").await;
    assert!(!lusers.iter().any(|line| line.contains(" 252 ")), "no operator is left: {lusers:?}");
}

#[tokio::test]
async fn the_message_of_the_day_is_shown() {
    let file = std::env::temp_dir().join(format!("chat-server-motd-{}", std::process::id()));
    std::fs::write(&file, "Welcome\r\nto tea\n").expect("written");
    let server = Server::start(&["--motd", file.to_str().expect("a UTF-8 path")]).await;
    let mut client = server.connect().await;
    client.send("NICK a\r\nUSER u 0 * :r").await;
    let lines = client.lines_until(" 376 ").await;
    std::fs::remove_file(&file).expect("removed");
    assert_eq!(lines[lines.len() - 3..lines.len() - 1], [":s 372 a :- Welcome", ":s 372 a :- to tea"]);
}

#[tokio::test]
async fn the_server_works_with_all_mistakes_injected() {
    let server = Server::start(&["--inject", "all=1ms@100%", "--oper", "root:secret"]).await;
    let mut ada = server.member("ada", "#a").await;
    let mut bob = server.member("bob", "#a").await;
    bob.send("PRIVMSG #a :hello").await;
    assert_eq!(ada.until("PRIVMSG").await, ":bob!~bob@127.0.0.1 PRIVMSG #a :hello");
    assert_eq!(bob.ask("OPER root secret").await[0], ":s 381 bob :You are now an IRC operator");
    assert_eq!(bob.ask("NAMES #a").await.len(), 2);
    server.stop().await;
}
