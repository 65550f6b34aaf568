//! Who may do what in a channel, who gets to read it, and what the server says of its limits.
#![allow(missing_docs)]

mod support;

use std::collections::HashMap;

use support::{Client, Server};

const ADA: &str = ":ada!~ada@127.0.0.1";

async fn pair(server: &Server) -> (Client, Client) {
    let mut ada = server.member("ada", "#a").await;
    let bob = server.member("bob", "#a").await;
    ada.until("JOIN").await;
    (ada, bob)
}

#[tokio::test]
async fn changes_of_modes_are_told_to_all_on_one_line() {
    let server = Server::start(&[]).await;
    let (mut ada, mut bob) = pair(&server).await;
    let line = format!("{ADA} MODE #a +tkl-n+v sesame 9 bob");
    assert_eq!(ada.ask("MODE #a +tkl-n+v sesame 9 BOB").await, [&*line]);
    assert_eq!(bob.line().await.as_deref(), Some(&*line));
    assert_eq!(bob.ask("MODE #a").await[0], ":s 324 bob #a +klt sesame 9");
    let mut eve = server.client("eve").await;
    assert_eq!(eve.ask("MODE #A").await[0], ":s 324 eve #a +klt * 9");
    assert_eq!(ada.ask("MODE #a +t").await, [""; 0], "nothing changed");
    assert_eq!(ada.ask("MODE #a -kl x").await, [format!("{ADA} MODE #a -kl *")]);
    for (line, answer) in [
        ("MODE #a +o", None),
        ("MODE #a +l 0", None),
        ("MODE #a +o eve", Some(":s 441 ada eve #a :They aren't on that channel")),
        ("MODE #a +o zoe", Some(":s 401 ada zoe :No such nick/channel")),
        ("MODE #a +k a,b", Some(":s 525 ada #a :Key is not well-formed")),
        ("MODE #a +z", Some(":s 472 ada z :is unknown mode char to me")),
    ] {
        assert_eq!(ada.ask(line).await, answer.into_iter().collect::<Vec<_>>(), "{line}");
    }
    assert_eq!(bob.ask("MODE #a +s").await[1..], [":s 482 bob #a :You're not channel operator"]);
    assert_eq!(eve.ask("MODE #a +s").await, [":s 442 eve #a :You're not on that channel"]);
}

#[tokio::test]
async fn each_way_to_keep_people_out_has_its_numeric() {
    let server = Server::start(&[]).await;
    let (mut ada, _bob) = pair(&server).await;
    let mut eve = server.client("eve").await;
    for (mode, join, refusal) in [
        ("i", "JOIN #a", "473 eve #a :Cannot join channel (+i)"),
        ("k x", "JOIN #a y", "475 eve #a :Cannot join channel (+k)"),
        ("l 2", "JOIN #a", "471 eve #a :Cannot join channel (+l)"),
        ("b *!*@127.0.0.*", "JOIN #a", "474 eve #a :Cannot join channel (+b)"),
    ] {
        ada.ask(&format!("MODE #a +{mode}")).await;
        assert_eq!(eve.ask(join).await, [format!(":s {refusal}")]);
        ada.ask(&format!("MODE #a -{mode}")).await;
    }
    ada.ask("MODE #a +ik x").await;
    assert_eq!(ada.ask("INVITE eve #a").await, [":s 341 ada eve #a"]);
    assert_eq!(eve.line().await, Some(format!("{ADA} INVITE eve :#a")));
    assert_eq!(eve.ask("JOIN #a,#b x,").await[0], ":eve!~eve@127.0.0.1 JOIN #a");
    assert_eq!(ada.until("JOIN").await, ":eve!~eve@127.0.0.1 JOIN #a");
    eve.ask("PART #a").await;
    assert_eq!(eve.ask("JOIN #a x").await, [":s 473 eve #a :Cannot join channel (+i)"], "it counts once");
}

#[tokio::test]
async fn bans_are_listed_and_silence() {
    let server = Server::start(&[]).await;
    let (mut ada, mut bob) = pair(&server).await;
    assert_eq!(ada.ask("MODE #a +b BO?").await, [format!("{ADA} MODE #a +b BO?!*@*")]);
    assert_eq!(bob.ask("PRIVMSG #a :x").await[1..], [":s 404 bob #a :Cannot send to channel"]);
    let listed = bob.ask("MODE #a +b").await;
    assert!(listed[0].starts_with(":s 367 bob #a BO?!*@* ada!~ada@127.0.0.1 1"), "{listed:?}");
    assert_eq!(listed[1], ":s 368 bob #a :End of channel ban list");
    ada.ask("MODE #a +v bob").await;
    bob.send("PRIVMSG #a :with a voice").await;
    assert_eq!(ada.line().await.as_deref(), Some(":bob!~bob@127.0.0.1 PRIVMSG #a :with a voice"));
    assert_eq!(ada.ask("MODE #a -b bo?!*@*").await, [format!("{ADA} MODE #a -b BO?!*@*")]);
    for number in 0..100 {
        ada.ask(&format!("MODE #a +b n{number}")).await;
    }
    assert_eq!(ada.ask("MODE #a +b one-more").await, [":s 478 ada #a b :Channel ban list is full"]);
}

#[tokio::test]
async fn moderation_and_the_topic_lock_hold() {
    let server = Server::start(&[]).await;
    let (mut ada, mut bob) = pair(&server).await;
    let mut eve = server.client("eve").await;
    ada.ask("MODE #a -n+mt").await;
    bob.until("MODE").await;
    assert_eq!(bob.ask("PRIVMSG #a :x").await, [":s 404 bob #a :Cannot send to channel"]);
    assert_eq!(bob.ask("TOPIC #a :x").await, [":s 482 bob #a :You're not channel operator"]);
    ada.ask("MODE #a -m").await;
    eve.send("PRIVMSG #a :from outside").await;
    assert_eq!(ada.line().await.as_deref(), Some(":eve!~eve@127.0.0.1 PRIVMSG #a :from outside"));
    ada.ask("MODE #a +o bob").await;
    bob.until("+o bob").await;
    assert_eq!(bob.ask("TOPIC #a :x").await, [":bob!~bob@127.0.0.1 TOPIC #a :x"]);
}

#[tokio::test]
async fn a_kick_is_read_by_the_victim_and_is_the_last_it_reads() {
    let server = Server::start(&[]).await;
    let (mut ada, mut bob) = pair(&server).await;
    assert_eq!(bob.ask("KICK #a ada").await, [":s 482 bob #a :You're not channel operator"]);
    assert_eq!(ada.ask("KICK #a eve").await, [":s 401 ada eve :No such nick/channel"]);
    assert_eq!(ada.ask("KICK #a").await, [":s 461 ada KICK :Not enough parameters"]);
    assert_eq!(ada.ask("KICK #a bob :enough").await, [format!("{ADA} KICK #a bob :enough")]);
    ada.ask("PRIVMSG #a :gone").await;
    assert_eq!(bob.line().await, Some(format!("{ADA} KICK #a bob :enough")));
    assert_eq!(bob.ask("PRIVMSG #a :x").await, [":s 404 bob #a :Cannot send to channel"]);
    assert_eq!(ada.ask("KICK #a bob").await, [":s 441 ada bob #a :They aren't on that channel"]);
    assert_eq!(bob.ask("KICK #a ada").await, [":s 442 bob #a :You're not on that channel"]);
    assert_eq!(bob.ask("KICK #none ada").await, [":s 403 bob #none :No such channel"]);
}

#[tokio::test]
async fn secret_channels_and_invisible_people_do_not_show() {
    let server = Server::start(&[]).await;
    let (mut ada, mut bob) = pair(&server).await;
    let mut eve = server.client("eve").await;
    bob.ask("MODE bob +i").await;
    assert_eq!(eve.ask("NAMES #a").await[0], ":s 353 eve = #a :@ada");
    assert_eq!(eve.ask("WHO b*").await, [":s 315 eve b* :End of /WHO list"]);
    assert_eq!(ada.ask("WHO b?b").await[0], ":s 352 ada * ~bob 127.0.0.1 s bob H :0 Real bob");
    ada.ask("MODE #a +s").await;
    bob.until("+s").await;
    assert_eq!(eve.ask("NAMES #a").await, [":s 366 eve #a :End of /NAMES list"]);
    assert_eq!(eve.ask("LIST").await[1..], [":s 323 eve :End of /LIST"]);
    assert_eq!(eve.ask("WHO #a").await, [":s 315 eve #a :End of /WHO list"]);
    assert!(!eve.ask("WHOIS ada").await.iter().any(|line| line.contains(" 319 ")));
    assert_eq!(bob.ask("NAMES #a").await[0], ":s 353 bob @ #a :@ada bob");
    assert_eq!(bob.ask("WHOIS ada").await[1], ":s 319 bob ada :@#a");
}

#[tokio::test]
async fn absence_is_told_to_whoever_talks() {
    let server = Server::start(&[]).await;
    let (mut ada, mut bob) = pair(&server).await;
    assert_eq!(ada.ask("AWAY :tea").await, [":s 306 ada :You have been marked as being away"]);
    assert_eq!(bob.ask("PRIVMSG ada :x").await, [":s 301 bob ada :tea"]);
    assert_eq!(bob.ask("NOTICE ada :x").await, [""; 0]);
    assert_eq!(bob.ask("WHO ada").await[0], ":s 352 bob * ~ada 127.0.0.1 s ada G :0 Real ada");
    assert!(bob.ask("WHOIS ada").await.contains(&":s 301 bob ada :tea".to_owned()));
    assert_eq!(bob.ask("USERHOST ada zoe").await, [":s 302 bob :ada=-~ada@127.0.0.1"]);
    assert_eq!(bob.ask("ISON ada zoe bob").await, [":s 303 bob :ada bob"]);
    ada.until("NOTICE").await;
    assert_eq!(ada.ask("AWAY").await, [":s 305 ada :You are no longer marked as being away"]);
}

#[tokio::test]
async fn the_limits_that_are_told_are_the_limits_that_hold() {
    let server = Server::start(&["--flood-limit", "off"]).await;
    let mut client = server.connect().await;
    client.send("NICK ada\r\nUSER ada 0 * :r").await;
    let welcome = client.lines_until(" 422 ").await;
    let lines = welcome.iter().filter_map(|line| line.strip_prefix(":s 005 ada "));
    let tokens: HashMap<&str, &str> =
        lines.flat_map(|line| line.split(' ')).filter_map(|token| token.split_once('=')).collect();
    let number = |name: &str| tokens[name].rsplit(':').next().expect("a part").parse::<usize>().expect(name);
    let text = |name: &str, more: usize| "x".repeat(number(name) + more);

    let longest = text("NICKLEN", 0);
    assert!(client.ask(&format!("NICK {longest}")).await[0].ends_with(&format!(" NICK :{longest}")));
    assert!(client.ask(&format!("NICK {longest}x")).await[0].contains(" 432 "));
    client.ask("NICK ada").await;
    let channel = text("CHANNELLEN", 0).replacen('x', "#", 1);
    assert!(client.ask(&format!("JOIN {channel}x")).await[0].contains(" 403 "));
    assert!(client.ask(&format!("JOIN {channel}")).await[0].ends_with(&format!(" JOIN {channel}")));
    client.ask(&format!("PART {channel}")).await;
    client.ask("JOIN #a").await;
    let topic = client.ask(&format!("TOPIC #a :{}", text("TOPICLEN", 9))).await;
    assert!(topic[0].ends_with(&format!(" :{}", text("TOPICLEN", 0))), "{topic:?}");
    assert!(client.ask(&format!("MODE #a +k {}", text("KEYLEN", 1))).await[0].contains(" 525 "));
    assert!(client.ask(&format!("MODE #a +k {}", text("KEYLEN", 0))).await[0].contains(" MODE "));
    client.ask(&format!("AWAY :{}", text("AWAYLEN", 9))).await;
    assert_eq!(client.ask("PRIVMSG ada :x").await[1], format!(":s 301 ada ada :{}", text("AWAYLEN", 0)));
    let bans: Vec<String> = (0..=number("MODES")).map(|number| format!("b{number}")).collect();
    let set = client.ask(&format!("MODE #a +{} {}", "b".repeat(bans.len()), bans.join(" "))).await;
    assert_eq!(set[0].matches("!*@*").count(), number("MODES"), "{set:?}");
    let targets = vec!["zoe"; number("TARGMAX") + 10].join(",");
    let told: usize = tokens["TARGMAX"].split(',').filter(|it| it.starts_with("PRIVMSG:")).count();
    assert_eq!((told, client.ask(&format!("PRIVMSG {targets} :x")).await.len()), (1, 5), "4 and a 407");
    for number in 1..number("CHANLIMIT") {
        client.ask(&format!("JOIN #{number}")).await;
    }
    assert!(client.ask("JOIN #more").await[0].contains(" 405 "));
    // What PREFIX and CHANMODES name can be set, each letter, and nothing else.
    for letter in tokens["CHANMODES"].rsplit(',').next().expect("switches").chars() {
        client.ask(&format!("MODE #a -{letter}")).await;
        assert!(client.ask(&format!("MODE #a +{letter}")).await[0].ends_with(&format!(" +{letter}")));
    }
    assert!(client.ask("MODE #a +ABCe").await.iter().all(|line| line.contains(" 472 ")));
    assert_eq!(tokens["PREFIX"], "(ov)@+");
    assert_eq!(client.ask("NAMES #a").await[0], ":s 353 ada @ #a :@ada");
    assert!(client.ask(&format!("PING {}", "x".repeat(number("LINELEN")))).await[0].contains(" 417 "));
}
