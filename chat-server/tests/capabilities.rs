//! What clients may rely on: capabilities asked for, and limits that RPL_ISUPPORT promises.
#![allow(missing_docs)]

mod support;

use std::collections::HashMap;

use support::{Client, Server};

async fn with(server: &Server, nick: &str, capabilities: &str) -> Client {
    let mut client = server.client(nick).await;
    assert_eq!(
        client.ask(&format!("CAP REQ :{capabilities}")).await.len(),
        1,
        "{capabilities}: acknowledged"
    );
    client
}

#[tokio::test]
async fn clients_with_echo_message_receive_their_own_messages() {
    let server = Server::start(&[]).await;
    let mut ada = with(&server, "ada", "echo-message").await;
    let mut bob = server.client("bob").await;
    ada.ask("JOIN #a").await;
    for target in ["#a", "bob", "ada"] {
        let echo = format!(":ada!~ada@127.0.0.1 PRIVMSG {target} :hi");
        assert!(ada.ask(&format!("PRIVMSG {target} :hi")).await.contains(&echo), "{target}");
    }
    assert_eq!(bob.until("PRIVMSG").await, ":ada!~ada@127.0.0.1 PRIVMSG bob :hi");
    ada.ask("CAP REQ -echo-message").await;
    assert_eq!(ada.ask("PRIVMSG #a :hi").await, [""; 0]);
}

#[tokio::test]
async fn clients_with_server_time_receive_the_time_of_each_line() {
    let server = Server::start(&[]).await;
    let mut ada = with(&server, "ada", "server-time").await;
    let mut bob = server.client("bob").await;
    bob.send("JOIN #a").await;
    bob.until(" 366 ").await;
    for line in ada.ask("JOIN #a").await {
        assert!(line.starts_with("@time=20") && &line[29..31] == "Z " && &line[31..32] == ":", "{line}");
    }
    bob.send("PRIVMSG #a :now").await;
    let line = ada.until("PRIVMSG").await;
    assert!(
        line.starts_with("@time=20") && line.ends_with("Z :bob!~bob@127.0.0.1 PRIVMSG #a :now"),
        "{line}"
    );
    ada.send("PRIVMSG #a :and now").await;
    assert_eq!(bob.until("and now").await, ":ada!~ada@127.0.0.1 PRIVMSG #a :and now");
    // A whole line stays whole: the tag does not count.
    bob.send(&format!("PRIVMSG #a :{}", "x".repeat(450))).await;
    let line = ada.until(&"x".repeat(450)).await;
    assert!(line.len() > 512, "{}", line.len());
    ada.send("QUIT").await;
    assert!(ada.until("ERROR").await.starts_with("@time=20"));
}

#[tokio::test]
async fn clients_with_multi_prefix_see_all_sigils() {
    let server = Server::start(&[]).await;
    let mut ada = with(&server, "ada", "multi-prefix").await;
    ada.ask("JOIN #a\r\nMODE #a +v ada").await;
    let mut bob = server.member("bob", "#a").await;
    assert_eq!(bob.ask("NAMES #a").await[0], ":s 353 bob = #a :@ada bob");
    ada.until("JOIN").await;
    assert_eq!(ada.ask("NAMES #a").await[0], ":s 353 ada = #a :@+ada bob");
    assert!(ada.ask("WHO #a").await[0].contains(" ada H@+ :0 "));
}

/// Every limit that is told is tried: just within it and just beyond.
#[tokio::test]
async fn what_isupport_says_holds() {
    let server = Server::start(&["--flood-limit", "off"]).await;
    let mut ada = server.connect().await;
    ada.send("NICK ada\r\nUSER ada 0 * :r").await;
    let welcome = ada.lines_until(" 422 ").await;
    let lines = welcome.iter().filter(|line| line.contains(" 005 "));
    let tokens: HashMap<&str, &str> = lines
        .flat_map(|line| line.split(' ').skip(3).take_while(|word| !word.starts_with(':')))
        .map(|token| token.split_once('=').unwrap_or((token, "")))
        .collect();
    let mut open: Vec<&str> = tokens.keys().copied().collect();
    let mut token = |name: &str| {
        open.retain(|it| *it != name);
        *tokens.get(name).unwrap_or_else(|| panic!("{name} in {tokens:?}"))
    };
    let number =
        |text: &str| text.rsplit(':').next().and_then(|it| it.parse::<usize>().ok()).expect("a number");
    let x = |count: usize| "x".repeat(count);

    let nick = number(token("NICKLEN"));
    assert!(ada.ask(&format!("NICK {}", x(nick + 1))).await[0].contains(" 432 "));
    assert!(ada.ask(&format!("NICK {}", x(nick))).await[0].ends_with(&format!(" NICK :{}", x(nick))));
    ada.ask("NICK ada").await;

    let channel = number(token("CHANNELLEN"));
    assert_eq!(token("CHANTYPES"), "#");
    assert!(ada.ask(&format!("JOIN #{}", x(channel))).await[0].contains(" 403 "));
    assert!(ada.ask(&format!("JOIN #{}", x(channel - 1))).await[0].contains(" JOIN #x"));
    assert!(ada.ask("JOIN &a").await[0].contains(" 403 "));
    ada.ask("JOIN 0").await;

    let topic = number(token("TOPICLEN"));
    ada.ask("JOIN #a").await;
    ada.ask(&format!("TOPIC #a :{}", x(topic + 9))).await;
    assert_eq!(ada.ask("TOPIC #a").await[0], format!(":s 332 ada #a :{}", x(topic)));
    // However long everything else in the line is.
    let far = Server::start(&["--server-name", &x(63)]).await;
    let mut member = far.member(&x(nick), &format!("#{}", x(channel - 1))).await;
    for line in ["TOPIC #{} :{}", "TOPIC #{}", "LIST"] {
        let line = line.replacen("{}", &x(channel - 1), 1).replacen("{}", &"y".repeat(topic), 1);
        let shown = |answer: &String| answer.ends_with(&"y".repeat(topic));
        assert!(member.ask_of(&x(63), &line).await.iter().any(shown), "{line}");
    }

    let (kick, away) = (number(token("KICKLEN")), number(token("AWAYLEN")));
    assert!(ada.ask(&format!("KICK #a ada :{}", x(kick + 9))).await[0].ends_with(&format!(" :{}", x(kick))));
    ada.ask(&format!("AWAY :{}", x(away + 9))).await;
    assert!(ada.ask("PRIVMSG ada :x").await.contains(&format!(":s 301 ada ada :{}", x(away))));
    ada.ask("AWAY").await;

    ada.ask("JOIN #a").await;
    let key = number(token("KEYLEN"));
    assert!(ada.ask(&format!("MODE #a +k {}", x(key + 1))).await[0].contains(" 525 "));
    assert!(ada.ask(&format!("MODE #a +k {}", x(key))).await[0].contains(" +k "));
    ada.ask("MODE #a -k x").await;

    let changes = number(token("MODES"));
    let masks: Vec<String> = (0..=changes).map(|it| format!("m{it}")).collect();
    let set = ada.ask(&format!("MODE #a +{} {}", "b".repeat(changes + 1), masks.join(" "))).await;
    assert!(set[0].contains(&format!(" +{} ", "b".repeat(changes))), "{set:?}");
    let bans = number(token("MAXLIST"));
    for ban in changes..bans {
        ada.ask(&format!("MODE #a +b n{ban}")).await;
    }
    assert!(ada.ask("MODE #a +b more").await[0].contains(" 478 "));

    // All modes that are told are known, and of the kind that is told.
    let kinds: Vec<&str> = token("CHANMODES").split(',').collect();
    let known = |answer: Vec<String>| !answer.iter().any(|line| line.contains(" 472 "));
    for (kind, param) in [(0, "mask"), (1, "word"), (2, "9"), (3, "")] {
        for letter in kinds[kind].chars() {
            for sign in ["+", "-"] {
                assert!(known(ada.ask(&format!("MODE #a {sign}{letter} {param}")).await), "{sign}{letter}");
            }
        }
    }
    for letter in ('a'..='z').filter(|it| !kinds.concat().contains(*it) && !"ov".contains(*it)) {
        assert!(!known(ada.ask(&format!("MODE #a +{letter}")).await), "{letter} is not told, so not known");
    }
    assert_eq!(token("PREFIX"), "(ov)@+");
    assert!(ada.ask("NAMES #a").await[0].ends_with(" :@ada"));
    ada.ask("MODE #a +v-o ada ada").await;
    assert!(ada.ask("NAMES #a").await[0].ends_with(" :+ada"));

    let channels = number(token("CHANLIMIT"));
    let names: Vec<String> = (0..channels).map(|it| format!("#c{it}")).collect();
    for name in &names[1..] {
        assert!(ada.ask(&format!("JOIN {name}")).await[0].contains(" JOIN "), "{name}");
    }
    assert!(ada.ask("JOIN #more").await[0].contains(" 405 "));

    let (limited, unlimited): (Vec<&str>, Vec<&str>) =
        token("TARGMAX").split(',').filter(|it| *it != "WHOIS:1").partition(|it| !it.ends_with(':'));
    let many = (0..40).map(|it| format!("#d{it}")).collect::<Vec<_>>().join(",");
    ada.ask("JOIN 0").await;
    for (line, each) in [("JOIN", 3), ("NAMES", 2), ("LIST", 1), ("PART", 1)] {
        assert!(unlimited.contains(&&*format!("{line}:")), "{line} in {unlimited:?}");
        let ends = if line == "LIST" { 2 } else { 0 };
        assert_eq!(ada.ask(&format!("{line} {many}")).await.len(), 40 * each + ends, "{line}");
    }
    assert_eq!(unlimited.len(), 4);
    for name in &names[1..] {
        ada.send(&format!("JOIN {name}")).await;
    }
    ada.ask("").await;
    for target in limited {
        let (command, most) = target.split_once(':').expect("a number");
        let nicks: Vec<String> = (0..=number(most)).map(|it| format!("n{it}")).collect();
        let line = match command {
            "KICK" => format!("KICK #c1 {}", nicks.join(",")),
            _ => format!("{command} {} :x", nicks.join(",")),
        };
        let many = ada.ask(&line).await.iter().filter(|it| it.contains(" 407 ")).count();
        // A NOTICE is never answered.
        assert_eq!(many, usize::from(command != "NOTICE"), "{command}");
    }

    assert_eq!(token("ELIST"), "MU");
    assert_eq!(ada.ask("LIST #c?,>1").await.len(), 2 + 9, "#c1 to #c9; #c0 was never entered");
    // What it promises is tried in channels.rs.
    assert_eq!(token("SAFELIST"), "");
    assert_eq!((token("CASEMAPPING"), token("NETWORK")), ("rfc1459", "s"));
    let user = number(token("USERLEN"));
    let mut long = server.connect().await;
    long.send(&format!("NICK long\r\nUSER {} 0 * :r", x(user + 9))).await;
    let prefix = long.until(" 001 ").await;
    assert!(prefix.ends_with(&format!(" long!~{}@127.0.0.1", x(user - 1))), "{prefix}");
    assert_eq!(open, [""; 0], "told, but not tried here");
}
