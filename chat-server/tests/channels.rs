//! Channels: modes, joining, speaking, operators, bans and invitations.
#![allow(missing_docs)]

mod support;

use support::{Client, Server};

/// Starts a server with ada, operator of `#a`, and bob, a member. Both have
/// read what they received so far.
async fn start_channel() -> (Server, Client, Client) {
    let server = Server::start(&[]).await;
    let mut ada = server.member("ada", "#a").await;
    let bob = server.member("bob", "#a").await;
    ada.until("JOIN").await;
    (server, ada, bob)
}

const ADA: &str = ":ada!~ada@127.0.0.1";
const BOB: &str = ":bob!~bob@127.0.0.1";

#[tokio::test]
async fn the_first_member_is_operator_and_can_make_others_operators() {
    let (_server, mut ada, mut bob) = start_channel().await;
    assert_eq!(bob.ask("MODE #a +o bob").await, [":s 482 bob #a :You're not channel operator"]);
    assert_eq!(ada.ask("MODE #a +ov-v bob bob bob").await, [format!("{ADA} MODE #a +ov-v bob bob bob")]);
    assert_eq!(bob.until("MODE").await, format!("{ADA} MODE #a +ov-v bob bob bob"));
    assert_eq!(ada.ask("MODE #a +o bob").await, [""; 0], "nothing changed");
    assert_eq!(bob.ask("MODE #a -o ada").await, [format!("{BOB} MODE #a -o ada")]);
    assert_eq!(bob.ask("NAMES #a").await[0], ":s 353 bob = #a :ada @bob");
    assert_eq!(bob.ask("MODE #a +o eve").await, [":s 401 bob eve :No such nick/channel"]);
    assert_eq!(bob.ask("MODE #a +o").await, [":s 461 bob MODE :Not enough parameters"]);
}

#[tokio::test]
async fn modes_restrict_who_can_join() {
    let (server, mut ada, mut bob) = start_channel().await;
    let mut eve = server.client("eve").await;
    for (set, code, sign, unset) in [
        ("+i", 473, "+i", "-i"),
        ("+b eve", 474, "+b", "-b eve!*@*"),
        ("+k tea", 475, "+k", "-k tea"),
        ("+l 2", 471, "+l", "-l"),
    ] {
        assert_eq!(ada.ask(&format!("MODE #a {set}")).await.len(), 1, "{set}");
        bob.until("MODE").await;
        assert_eq!(eve.ask("JOIN #a").await, [format!(":s {code} eve #a :Cannot join channel ({sign})")]);
        // An invitation overrides the modes, once.
        assert_eq!(ada.ask("INVITE eve #a").await, [":s 341 ada eve #a"]);
        assert_eq!(eve.until("INVITE").await, format!("{ADA} INVITE eve :#a"));
        assert_eq!(eve.ask("JOIN #a").await[0], ":eve!~eve@127.0.0.1 JOIN #a");
        eve.ask("PART #a").await;
        assert_eq!(eve.ask("JOIN #a").await.len(), 1, "once");
        let changed = ada.ask(&format!("MODE #a {unset}")).await;
        assert_eq!(changed.last(), Some(&format!("{ADA} MODE #a {unset}")));
    }
    assert_eq!(ada.ask("MODE #a +k tea").await.len(), 1);
    assert_eq!(eve.ask("JOIN #a milk").await.len(), 1);
    assert_eq!(eve.ask("JOIN #none,#a x,tea").await.len(), 6, "the keys go with the channels, in order");
}

#[tokio::test]
async fn modes_restrict_who_can_speak() {
    let (server, mut ada, mut bob) = start_channel().await;
    let mut eve = server.client("eve").await;
    let refused = |nick: &str| [format!(":s 404 {nick} #a :Cannot send to channel")];
    assert_eq!(eve.ask("PRIVMSG #a :from outside").await, refused("eve"));
    ada.ask("MODE #a -n").await;
    assert_eq!(eve.ask("PRIVMSG #a :from outside").await, [""; 0]);
    assert_eq!(ada.until("PRIVMSG").await, ":eve!~eve@127.0.0.1 PRIVMSG #a :from outside");
    ada.ask("MODE #a +m").await;
    assert_eq!(eve.ask("PRIVMSG #a :x").await, refused("eve"));
    bob.until("+m").await;
    assert_eq!(bob.ask("PRIVMSG #a :x").await, refused("bob"));
    ada.ask("MODE #a +v bob").await;
    bob.until("+v").await;
    assert_eq!(bob.ask("PRIVMSG #a :x").await, [""; 0]);
    ada.ask("MODE #a +b-mv *!*@127.0.0.? bob").await;
    bob.until("+b-mv").await;
    assert_eq!(bob.ask("PRIVMSG #a :x").await, refused("bob"), "banned members are silent");
    assert_eq!(ada.ask("PRIVMSG #a :x").await, [""; 0], "but operators are not");
}

#[tokio::test]
async fn bans_are_listed_with_the_client_that_set_them() {
    let (_server, mut ada, mut bob) = start_channel().await;
    assert_eq!(ada.ask("MODE #a +bb eve *@10.*").await, [format!("{ADA} MODE #a +bb eve!*@* *!*@10.*")]);
    bob.until("MODE").await;
    let list = bob.ask("MODE #a b").await;
    assert!(list[0].starts_with(":s 367 bob #a eve!*@* ada!~ada@127.0.0.1 "), "{list:#?}");
    assert!(list[1].starts_with(":s 367 bob #a *!*@10.* ada!~ada@127.0.0.1 "), "{list:#?}");
    assert_eq!(list[2..], [":s 368 bob #a :End of channel ban list"]);
    assert_eq!(ada.ask("MODE #a +b EVE!*@*").await, [""; 0], "the ban exists");
    assert_eq!(ada.ask("MODE #a -b EVE").await, [format!("{ADA} MODE #a -b EVE!*@*")]);
    assert_eq!(ada.ask("MODE #a +b").await.len(), 2);
}

#[tokio::test]
async fn secret_channels_and_invisible_users_are_hidden_from_others() {
    let (server, mut ada, mut bob) = start_channel().await;
    let mut eve = server.client("eve").await;
    ada.ask("MODE #a +s").await;
    bob.until("MODE").await;
    assert_eq!(eve.ask("LIST").await.len(), 2);
    assert_eq!(eve.ask("NAMES #a").await, [":s 366 eve #a :End of /NAMES list"]);
    assert_eq!(eve.ask("WHO #a").await, [":s 315 eve #a :End of /WHO list"]);
    assert!(!eve.ask("WHOIS ada").await.iter().any(|line| line.contains(" 319 ")));
    for line in ["MODE #a", "TOPIC #a", "PART #a", "KICK #a ada", "INVITE ada #a", "PRIVMSG #a :x"] {
        assert_eq!(eve.ask(line).await, [":s 403 eve #a :No such channel"], "{line}");
    }
    assert_eq!(bob.ask("LIST").await.len(), 3);
    assert_eq!(bob.ask("NAMES #a").await[0], ":s 353 bob @ #a :@ada bob");
    assert_eq!(eve.ask("WHO b*").await.len(), 2);
    bob.ask("MODE bob +i").await;
    assert_eq!(eve.ask("WHO b*").await.len(), 1);
    assert_eq!(ada.ask("WHO b*").await.len(), 2, "they are in one channel");
}

#[tokio::test]
async fn replies_spell_a_channel_as_its_first_member_did() {
    let server = Server::start(&[]).await;
    let mut ada = server.member("ada", "#Inv").await;
    let mut bob = server.client("bob").await;
    for (line, code) in [
        ("PART #iNV", "442"),
        ("TOPIC #iNV :x", "442"),
        ("KICK #iNV ada", "442"),
        ("INVITE ada #iNV", "442"),
        ("HISTORY #iNV", "442"),
        ("PRIVMSG #iNV :x", "404"),
        ("MODE #iNV +m", "482"),
        ("TOPIC #iNV", "331"),
        ("MODE #iNV", "324"),
        ("NAMES #iNV", "353"),
        ("NAMES #iNV", "366"),
        ("MODE #iNV b", "368"),
    ] {
        let answer = bob.ask(line).await;
        let reply = answer.iter().find(|it| it.starts_with(&format!(":s {code} bob "))).expect(code);
        assert!(reply.contains(" #Inv ") || reply.ends_with(" #Inv"), "{line}: {reply}");
        assert!(!answer.iter().any(|it| it.contains("iNV")), "{line}: {answer:?}");
    }
    assert_eq!(ada.ask("INVITE bob #iNV").await, [":s 341 ada bob #Inv"]);
    bob.until("INVITE").await;
    ada.ask("TOPIC #iNV :tea").await;
    let answer = bob.ask("JOIN #iNV").await;
    assert!(answer[0].ends_with(" JOIN #Inv"), "{answer:?}");
    let codes: Vec<_> = answer.iter().filter_map(|it| it.strip_prefix(":s ")?.split(' ').next()).collect();
    assert_eq!(codes, ["332", "333", "353", "366"]);
    assert!(answer.iter().all(|it| it.contains(" #Inv") && !it.contains("iNV")), "{answer:?}");
    assert_eq!(bob.ask("TOPIC #iNV :x").await, [":s 482 bob #Inv :You're not channel operator"]);
    assert_eq!(bob.ask("KICK #iNV ada").await, [":s 482 bob #Inv :You're not channel operator"]);
    // A secret channel does not reveal how it spells its name.
    bob.ask("PART #iNV").await;
    ada.ask("MODE #iNV +s").await;
    assert_eq!(bob.ask("NAMES #iNV").await, [":s 366 bob #iNV :End of /NAMES list"]);
    for line in ["PRIVMSG #iNV :x", "PART #iNV", "MODE #iNV", "HISTORY #iNV"] {
        assert_eq!(bob.ask(line).await, [":s 403 bob #iNV :No such channel"], "{line}");
    }
}

#[tokio::test]
async fn list_filters_by_name_mask_and_size() {
    let (_server, mut ada, _bob) = start_channel().await;
    ada.ask("JOIN #b").await;
    ada.ask("JOIN #ab").await;
    for (wanted, found) in [
        ("", &["#a", "#ab", "#b"][..]),
        ("#A", &["#a"]),
        ("#a*", &["#a", "#ab"]),
        ("#?,>9", &["#a", "#b"]),
        (">1", &["#a"]),
        ("<2", &["#ab", "#b"]),
        ("#b,<2,#b", &["#ab", "#b"]),
        (">x,#none", &[]),
    ] {
        let answer = ada.ask(&format!("LIST {wanted}")).await;
        let mut names: Vec<_> =
            answer.iter().filter_map(|it| it.strip_prefix(":s 322 ada ")?.split(' ').next()).collect();
        names.sort_unstable();
        assert_eq!(names, found, "LIST {wanted}");
        assert_eq!(answer.len(), found.len() + 2);
    }
}

#[tokio::test]
async fn no_long_reply_disconnects_the_client_that_asks() {
    let server = Server::start(&["--flood-limit", "off"]).await;
    let mut ada = server.client("ada").await;
    let mut creators = Vec::new();
    for number in 0..30 {
        let mut creator = server.client(&format!("creator{number}")).await;
        for channel in 0..50 {
            let name = format!("#{number}-{channel}");
            creator.ask(&format!("JOIN {name}\r\nTOPIC {name} :{}", "x".repeat(380))).await;
        }
        creators.push(creator);
    }
    let list = ada.ask("LIST").await;
    assert!((1_000..1_500).contains(&list.len()), "{}", list.len());
    let [.., many, end] = &list[..] else { panic!("two lines at the end") };
    assert_eq!(many, ":s 416 ada LIST :Too many matches, ask for fewer");
    assert_eq!(end, ":s 323 ada :End of /LIST");
    assert_eq!(ada.ask("LIST #7-*").await.len(), 52);
}

#[tokio::test]
async fn kicks_are_announced_and_end_the_membership() {
    let (server, mut ada, mut bob) = start_channel().await;
    let mut eve = server.client("eve").await;
    assert_eq!(eve.ask("KICK #a bob").await, [":s 442 eve #a :You're not on that channel"]);
    assert_eq!(bob.ask("KICK #a ada").await, [":s 482 bob #a :You're not channel operator"]);
    assert_eq!(ada.ask("KICK #a eve").await, [":s 441 ada eve #a :They aren't on that channel"]);
    // A client that has not completed its registration counts as unknown.
    let mut early = server.connect().await;
    early.ask("NICK early").await;
    for nick in ["nobody", "early"] {
        let none = format!(":s 401 ada {nick} :No such nick/channel");
        assert_eq!(ada.ask(&format!("KICK #a {nick}")).await, [none]);
    }
    assert_eq!(ada.ask("KICK #a").await, [":s 461 ada KICK :Not enough parameters"]);
    assert_eq!(ada.ask("KICK #a BOB :too loud").await, [format!("{ADA} KICK #a bob :too loud")]);
    assert_eq!(bob.until("KICK").await, format!("{ADA} KICK #a bob :too loud"));
    assert_eq!(bob.ask("PRIVMSG #a :x").await, [":s 404 bob #a :Cannot send to channel"]);
    assert_eq!(ada.ask("KICK #a ada").await, [format!("{ADA} KICK #a ada :ada")]);
    assert_eq!(ada.ask("MODE #a").await, [":s 403 ada #a :No such channel"], "the last one left");
    ada.ask("JOIN #a").await;
    bob.ask("JOIN #a").await;
    ada.until("JOIN").await;
    let kicked = [format!("{ADA} KICK #a ada :ada"), ":s 442 ada #a :You're not on that channel".into()];
    assert_eq!(ada.ask("KICK #a ada,bob").await, kicked, "a client outside the channel cannot kick");
    assert_eq!(bob.ask("NAMES #a").await[1], ":s 353 bob = #a :bob");
}

#[tokio::test]
async fn invalid_invitations_are_refused() {
    let (server, mut ada, mut bob) = start_channel().await;
    let mut eve = server.client("eve").await;
    assert_eq!(eve.ask("INVITE bob #a").await, [":s 442 eve #a :You're not on that channel"]);
    assert_eq!(ada.ask("INVITE bob #a").await, [":s 443 ada bob #a :is already on channel"]);
    assert_eq!(ada.ask("INVITE nobody #a").await, [":s 401 ada nobody :No such nick/channel"]);
    assert_eq!(ada.ask("INVITE eve").await, [":s 461 ada INVITE :Not enough parameters"]);
    assert_eq!(ada.ask("INVITE eve #none").await, [":s 403 ada #none :No such channel"]);
    ada.ask("MODE #a +i").await;
    bob.until("MODE").await;
    assert_eq!(bob.ask("INVITE eve #a").await, [":s 482 bob #a :You're not channel operator"]);
    eve.ask("AWAY :at lunch").await;
    assert_eq!(ada.ask("INVITE eve #a").await, [":s 341 ada eve #a", ":s 301 ada eve :at lunch"]);
}

#[tokio::test]
async fn a_kick_may_name_a_channel_for_each_nick() {
    let (_server, mut ada, mut bob) = start_channel().await;
    bob.ask("JOIN #b").await;
    let kicked = ada.ask("KICK #a,#b bob,bob :bye").await;
    assert_eq!(
        kicked,
        [format!("{ADA} KICK #a bob :bye"), ":s 442 ada #b :You're not on that channel".into()]
    );
    assert_eq!(bob.until("KICK").await, format!("{ADA} KICK #a bob :bye"));
    for nicks in ["bob", "bob,ada,x"] {
        let refused = ada.ask(&format!("KICK #a,#b {nicks}")).await;
        assert_eq!(refused, [":s 461 ada KICK :Not enough parameters"], "{nicks}");
    }
}

#[tokio::test]
async fn only_invitations_of_operators_override_the_modes() {
    let (server, mut ada, mut bob) = start_channel().await;
    let mut eve = server.client("eve").await;
    ada.ask("MODE #a +b eve").await;
    bob.until("MODE").await;
    assert_eq!(bob.ask("INVITE eve #a").await, [":s 341 bob eve #a"]);
    assert_eq!(eve.until("INVITE").await, format!("{BOB} INVITE eve :#a"));
    assert_eq!(eve.ask("JOIN #a").await, [":s 474 eve #a :Cannot join channel (+b)"]);
    ada.ask("INVITE eve #a").await;
    eve.until("INVITE").await;
    bob.ask("PART #a").await;
    ada.ask("PART #a").await;
    // The new channel has the same name, but the old invitation is not valid
    // for it.
    bob.ask("JOIN #a\r\nMODE #a +i").await;
    assert_eq!(eve.ask("JOIN #a").await, [":s 473 eve #a :Cannot join channel (+i)"]);
}

#[tokio::test]
async fn keys_and_limits_are_checked_and_shown_to_members_only() {
    let (server, mut ada, _bob) = start_channel().await;
    let mut eve = server.client("eve").await;
    for (change, answer) in [
        ("+k a,b", ":s 525 ada #a :Key is not well-formed"),
        ("+k 123456789012345678901234", ":s 525 ada #a :Key is not well-formed"),
        ("+l none", ":s 696 ada #a l * :The limit must be 1 to 1000000"),
        ("+k :", ":s 525 ada #a :Key is not well-formed"),
        ("+k : tea", ":s 525 ada #a :Key is not well-formed"),
        ("+l :", ":s 696 ada #a l * :The limit must be 1 to 1000000"),
        ("+o :", ":s 401 ada * :No such nick/channel"),
        ("+l 0", ":s 696 ada #a l * :The limit must be 1 to 1000000"),
        ("+k", ":s 461 ada MODE :Not enough parameters"),
        ("+l", ":s 461 ada MODE :Not enough parameters"),
        ("+z", ":s 472 ada z :is unknown mode char to me"),
    ] {
        assert_eq!(ada.ask(&format!("MODE #a {change}")).await, [answer], "{change}");
    }
    assert_eq!(ada.ask("MODE #a +kl tea 5").await, [format!("{ADA} MODE #a +kl tea 5")]);
    assert_eq!(ada.ask("MODE #a").await[0], ":s 324 ada #a +ntkl tea 5");
    assert_eq!(eve.ask("MODE #a").await[0], ":s 324 eve #a +ntkl");
}

#[tokio::test]
async fn the_number_and_form_of_bans_is_limited() {
    let (_server, mut ada, _bob) = start_channel().await;
    for number in 0..100 {
        ada.send(&format!("MODE #a +b nick{number}")).await;
    }
    ada.until("nick99").await;
    assert_eq!(ada.ask("MODE #a +b nick100").await, [":s 478 ada #a b :Channel ban list is full"]);
    let long = format!("MODE #a +b {}!*@*", "x".repeat(80));
    assert_eq!(ada.ask(&long).await, [":s 696 ada #a b * :The mask is too long"]);
    for mask in [":a b", "::a"] {
        let refused = ":s 696 ada #a b * :The mask must not contain a space or start with a colon";
        assert_eq!(ada.ask(&format!("MODE #a +b {mask}")).await, [refused], "{mask}");
    }
}

#[tokio::test]
async fn the_number_of_bans_of_one_client_is_limited() {
    let server = Server::start(&["--flood-limit", "off"]).await;
    let (mut ada, mut bob) = (server.client("ada").await, server.client("bob").await);
    ada.ask("JOIN #0,#1,#2,#3,#4,#5").await;
    let lines: Vec<_> = (0..5)
        .flat_map(|channel| {
            (0..25).map(move |line| format!("MODE #{channel} +bbbb a{line} b{line} c{line} d{line}"))
        })
        .collect();
    for line in &lines {
        assert_eq!(ada.ask(line).await.len(), 1, "{line}");
    }
    let full = ":s 478 ada #5 b :You have set too many bans";
    assert_eq!(ada.ask("MODE #5 +b more").await, [full]);
    // Others are not concerned.
    bob.ask("JOIN #5").await;
    ada.ask("MODE #5 +o bob").await;
    assert_eq!(bob.ask("MODE #5 +b more").await.len(), 2, "a line of ada's MODE and its own");
    // A ban that anybody removes, or that ends with its channel, is free again.
    bob.ask("JOIN #0").await;
    ada.ask("MODE #0 +o bob").await;
    assert_eq!(bob.ask("MODE #0 -b a0").await.len(), 2);
    assert_eq!(
        ada.ask("MODE #5 +b a").await.last().map(String::as_str),
        Some(":ada!~ada@127.0.0.1 MODE #5 +b a!*@*")
    );
    assert_eq!(ada.ask("MODE #5 +b b").await, [full]);
    ada.ask("PART #1").await;
    assert_eq!(ada.ask("MODE #5 +b b").await.len(), 1);
}

#[tokio::test]
async fn members_receive_the_final_modes_of_a_long_mode_line() {
    let (server, mut ada, mut bob) = start_channel().await;
    // Members receive each flag once, with its final sign, regardless of the
    // changes in between.
    let letters = format!("+i{}-n", "-m+m".repeat(110));
    assert_eq!(ada.ask(&format!("MODE #a {letters}")).await, [format!("{ADA} MODE #a +im-n")]);
    assert_eq!(bob.until("MODE").await, format!("{ADA} MODE #a +im-n"));
    assert_eq!(ada.ask("MODE #a").await[0], ":s 324 ada #a +imt");
    assert_eq!(ada.ask("MODE #a +m-m").await, [format!("{ADA} MODE #a -m")]);
    // The longest MODE line that is possible.
    let mut creator = server.member(&"n".repeat(30), &format!("#{}", "c".repeat(49))).await;
    let masks: Vec<String> = ["a", "b", "c", "d"].map(|it| format!("{}!*@*", it.repeat(76))).into();
    let change = format!("#{} +i-n+m-t+sb-l+bbb {}", "c".repeat(49), masks.join(" "));
    creator.ask(&format!("MODE #{} +l 9", "c".repeat(49))).await;
    assert!(creator.ask(&format!("MODE {change}")).await[0].ends_with(&format!(" MODE {change}")));
    // Each unknown letter is reported once.
    assert_eq!(bob.ask(&format!("MODE #a {}", "zy".repeat(200))).await.len(), 3);
}

#[tokio::test]
async fn a_ban_list_is_sent_once_per_line() {
    let (_server, mut ada, mut bob) = start_channel().await;
    ada.ask("MODE #a +b nick").await;
    bob.until("MODE").await;
    let reply = bob.ask(&format!("MODE #a +{}", "b".repeat(400))).await;
    assert_eq!(reply.iter().filter(|line| line.contains(" 367 ")).count(), 1, "{} lines", reply.len());
}
