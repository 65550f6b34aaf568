//! RPL_ISUPPORT: the server accepts values up to each announced limit, and
//! rejects or cuts values beyond it.
#![allow(missing_docs)]

mod support;

use std::collections::BTreeMap;

use support::{Client, Server};

/// The tokens that the tests below cover.
const TESTED: [&str; 21] = [
    "AWAYLEN",
    "CASEMAPPING",
    "CHANLIMIT",
    "CHANMODES",
    "CHANNELLEN",
    "CHANTYPES",
    "CHATHISTORY",
    "ELIST",
    "KEYLEN",
    "KICKLEN",
    "MAXLIST",
    "MODES",
    "MSGREFTYPES",
    "NAMELEN",
    "NETWORK",
    "NICKLEN",
    "PREFIX",
    "SAFELIST",
    "TARGMAX",
    "TOPICLEN",
    "USERLEN",
];

/// A server, a registered client and the tokens that it received.
struct Session {
    server: Server,
    ada: Client,
    tokens: BTreeMap<String, String>,
}

impl Session {
    async fn start() -> Self {
        let server = Server::start(&["--flood-limit", "off"]).await;
        let mut ada = server.connect().await;
        ada.send("NICK ada\r\nUSER ada 0 * :r").await;
        let welcome = ada.lines_until(" 422 ").await;
        let lines = welcome.iter().filter(|line| line.contains(" 005 "));
        let tokens = lines
            .flat_map(|line| line.split(' ').skip(3).take_while(|word| !word.starts_with(':')))
            .map(|token| token.split_once('=').unwrap_or((token, "")))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        Self { server, ada, tokens }
    }

    /// Starts a session in which ada is the operator of `#a`.
    async fn start_in_channel() -> Self {
        let mut session = Self::start().await;
        session.ada.ask("JOIN #a").await;
        session
    }

    fn token(&self, name: &str) -> String {
        self.tokens.get(name).unwrap_or_else(|| panic!("{name} in {:?}", self.tokens)).clone()
    }

    fn number(&self, name: &str) -> usize {
        number(&self.token(name))
    }
}

/// Parses the number at the end of a token's value.
fn number(value: &str) -> usize {
    value.rsplit(':').next().and_then(|it| it.parse().ok()).expect("a number")
}

fn x(count: usize) -> String {
    "x".repeat(count)
}

#[tokio::test]
async fn every_announced_token_is_tested() {
    let session = Session::start().await;
    assert_eq!(session.tokens.keys().collect::<Vec<_>>(), TESTED);
}

#[tokio::test]
async fn nicklen_is_the_longest_nick() {
    let mut session = Session::start().await;
    let length = session.number("NICKLEN");
    let ada = &mut session.ada;
    assert!(ada.ask(&format!("NICK {}", x(length + 1))).await[0].contains(" 432 "));
    assert!(ada.ask(&format!("NICK {}", x(length))).await[0].ends_with(&format!(" NICK :{}", x(length))));
}

#[tokio::test]
async fn userlen_is_the_longest_user_name() {
    let session = Session::start().await;
    let length = session.number("USERLEN");
    let mut long = session.server.connect().await;
    long.send(&format!("NICK long\r\nUSER {} 0 * :r", x(length + 9))).await;
    let prefix = long.until(" 001 ").await;
    assert!(prefix.ends_with(&format!(" long!~{}@127.0.0.1", x(length - 1))), "{prefix}");
}

#[tokio::test]
async fn namelen_is_the_longest_real_name() {
    let session = Session::start().await;
    let length = session.number("NAMELEN");
    let mut long = session.server.connect().await;
    long.send(&format!("NICK long\r\nUSER u 0 * :{}", x(length + 9))).await;
    long.until(" 422 ").await;
    let whois = long.ask("WHOIS long").await;
    assert!(whois[0].ends_with(&format!(" * :{}", x(length))), "{whois:?}");
    assert_eq!(long.ask(&format!("CAP REQ setname\r\nSETNAME :{}", x(length + 1))).await.len(), 2);
    let renamed = long.ask(&format!("SETNAME :{}", x(length))).await;
    assert!(renamed[0].ends_with(&format!(" SETNAME :{}", x(length))), "{renamed:?}");
}

#[tokio::test]
async fn channellen_is_the_longest_channel_name() {
    let mut session = Session::start().await;
    let length = session.number("CHANNELLEN");
    let ada = &mut session.ada;
    assert!(ada.ask(&format!("JOIN #{}", x(length))).await[0].contains(" 403 "));
    assert!(ada.ask(&format!("JOIN #{}", x(length - 1))).await[0].contains(" JOIN #x"));
}

#[tokio::test]
async fn chantypes_are_the_only_channel_prefixes() {
    let mut session = Session::start().await;
    assert_eq!(session.token("CHANTYPES"), "#");
    assert!(session.ada.ask("JOIN #a").await[0].contains(" JOIN #a"));
    assert!(session.ada.ask("JOIN &a").await[0].contains(" 403 "));
}

#[tokio::test]
async fn topiclen_is_the_longest_topic() {
    let mut session = Session::start_in_channel().await;
    let length = session.number("TOPICLEN");
    session.ada.ask(&format!("TOPIC #a :{}", x(length + 9))).await;
    assert_eq!(session.ada.ask("TOPIC #a").await[0], format!(":s 332 ada #a :{}", x(length)));
    // Lines show the whole topic even if all their other parts are as long as
    // possible.
    let (nick, channel) = (x(session.number("NICKLEN")), x(session.number("CHANNELLEN") - 1));
    let server = Server::start(&["--server-name", &x(63)]).await;
    let mut member = server.member(&nick, &format!("#{channel}")).await;
    for line in ["TOPIC #{} :{}", "TOPIC #{}", "LIST"] {
        let line = line.replacen("{}", &channel, 1).replacen("{}", &"y".repeat(length), 1);
        let shown = |reply: &String| reply.ends_with(&"y".repeat(length));
        assert!(member.ask_of(&x(63), &line).await.iter().any(shown), "{line}");
    }
}

#[tokio::test]
async fn kicklen_is_the_longest_reason_of_a_kick() {
    let mut session = Session::start_in_channel().await;
    let length = session.number("KICKLEN");
    let kick = session.ada.ask(&format!("KICK #a ada :{}", x(length + 9))).await;
    assert!(kick[0].ends_with(&format!(" :{}", x(length))));
}

#[tokio::test]
async fn awaylen_is_the_longest_reason_to_be_away() {
    let mut session = Session::start().await;
    let length = session.number("AWAYLEN");
    session.ada.ask(&format!("AWAY :{}", x(length + 9))).await;
    let replies = session.ada.ask("PRIVMSG ada :x").await;
    assert!(replies.contains(&format!(":s 301 ada ada :{}", x(length))));
}

#[tokio::test]
async fn keylen_is_the_longest_key() {
    let mut session = Session::start_in_channel().await;
    let length = session.number("KEYLEN");
    let ada = &mut session.ada;
    assert!(ada.ask(&format!("MODE #a +k {}", x(length + 1))).await[0].contains(" 525 "));
    assert!(ada.ask(&format!("MODE #a +k {}", x(length))).await[0].contains(" +k "));
}

#[tokio::test]
async fn modes_is_the_number_of_changes_in_one_line() {
    let mut session = Session::start_in_channel().await;
    let changes = session.number("MODES");
    let masks: Vec<String> = (0..=changes).map(|it| format!("m{it}")).collect();
    let line = format!("MODE #a +{} {}", "b".repeat(changes + 1), masks.join(" "));
    let set = session.ada.ask(&line).await;
    assert!(set[0].contains(&format!(" +{} ", "b".repeat(changes))), "{set:?}");
}

#[tokio::test]
async fn maxlist_is_the_number_of_bans() {
    let mut session = Session::start_in_channel().await;
    for ban in 0..session.number("MAXLIST") {
        assert!(session.ada.ask(&format!("MODE #a +b n{ban}")).await[0].contains(" +b "), "{ban}");
    }
    assert!(session.ada.ask("MODE #a +b more").await[0].contains(" 478 "));
}

#[tokio::test]
async fn chanmodes_are_the_known_modes_and_take_the_announced_parameters() {
    let mut session = Session::start_in_channel().await;
    let modes = session.token("CHANMODES");
    let kinds: Vec<&str> = modes.split(',').collect();
    let ada = &mut session.ada;
    let known = |replies: Vec<String>| !replies.iter().any(|line| line.contains(" 472 "));
    for (kind, param) in [(0, "mask"), (1, "word"), (2, "9"), (3, "")] {
        for letter in kinds[kind].chars() {
            for sign in ["+", "-"] {
                let replies = ada.ask(&format!("MODE #a {sign}{letter} {param}")).await;
                assert!(known(replies), "{sign}{letter}");
            }
        }
    }
    for letter in ('a'..='z').filter(|it| !kinds.concat().contains(*it) && !"ov".contains(*it)) {
        let replies = ada.ask(&format!("MODE #a +{letter}")).await;
        assert!(!known(replies), "{letter} is not announced, so it must be unknown");
    }
}

#[tokio::test]
async fn prefix_lists_the_sigils_of_members() {
    let mut session = Session::start_in_channel().await;
    assert_eq!(session.token("PREFIX"), "(ov)@+");
    let ada = &mut session.ada;
    assert!(ada.ask("NAMES #a").await[0].ends_with(" :@ada"));
    ada.ask("MODE #a +v-o ada ada").await;
    assert!(ada.ask("NAMES #a").await[0].ends_with(" :+ada"));
}

#[tokio::test]
async fn chanlimit_is_the_number_of_channels_of_a_client() {
    let mut session = Session::start_in_channel().await;
    for channel in 1..session.number("CHANLIMIT") {
        assert!(session.ada.ask(&format!("JOIN #c{channel}")).await[0].contains(" JOIN "), "{channel}");
    }
    assert!(session.ada.ask("JOIN #more").await[0].contains(" 405 "));
}

#[tokio::test]
async fn targmax_is_the_number_of_targets_of_each_command() {
    let mut session = Session::start().await;
    let targmax = session.token("TARGMAX");
    let (limited, unlimited): (Vec<&str>, Vec<&str>) =
        targmax.split(',').filter(|it| *it != "WHOIS:1").partition(|it| !it.ends_with(':'));
    let ada = &mut session.ada;
    let many = (0..40).map(|it| format!("#d{it}")).collect::<Vec<_>>().join(",");
    for (command, lines_per_channel) in [("JOIN", 3), ("NAMES", 2), ("LIST", 1), ("PART", 1)] {
        assert!(unlimited.contains(&&*format!("{command}:")), "{command} in {unlimited:?}");
        let first_and_last = if command == "LIST" { 2 } else { 0 };
        let replies = ada.ask(&format!("{command} {many}")).await;
        assert_eq!(replies.len(), 40 * lines_per_channel + first_and_last, "{command}");
    }
    assert_eq!(unlimited.len(), 4);
    ada.ask("JOIN #a\r\nCAP REQ message-tags").await;
    for target in limited {
        let (command, limit) = target.split_once(':').expect("a number");
        let nicks: Vec<String> = (0..=number(limit)).map(|it| format!("n{it}")).collect();
        let line = match command {
            "KICK" => format!("KICK #a {}", nicks.join(",")),
            _ => format!("{command} {} :x", nicks.join(",")),
        };
        let errors = ada.ask(&line).await.iter().filter(|it| it.contains(" 407 ")).count();
        // A NOTICE never gets a reply.
        assert_eq!(errors, usize::from(command != "NOTICE"), "{command}");
    }
}

#[tokio::test]
async fn elist_announces_the_filters_by_mask_and_by_member_count() {
    let mut session = Session::start().await;
    assert_eq!(session.token("ELIST"), "MU");
    for channel in 1..=10 {
        session.ada.ask(&format!("JOIN #c{channel}")).await;
    }
    let list = session.ada.ask("LIST #c?,>1").await;
    assert_eq!(list.len(), 2 + 9, "#c1 to #c9, as `?` matches one character");
}

#[tokio::test]
async fn chathistory_is_the_number_of_lines_in_one_answer() {
    let mut session = Session::start_in_channel().await;
    let limit = session.number("CHATHISTORY");
    for number in 0..=limit {
        session.ada.send(&format!("PRIVMSG #a :{number}")).await;
    }
    session.ada.ask("CAP REQ message-tags").await;
    let first = &session.ada.ask(&format!("CHATHISTORY LATEST #a * {}", limit + 1)).await;
    assert_eq!((first.len(), &first[0][first[0].len() - 3..]), (limit, " :1"));
    // Each announced kind of position is accepted.
    let kinds = session.token("MSGREFTYPES");
    assert_eq!(kinds, "msgid,timestamp");
    for kind in kinds.split(',') {
        let value = if kind == "msgid" { "1" } else { "2026-01-01T00:00:00.000Z" };
        let after = session.ada.ask(&format!("CHATHISTORY AFTER #a {kind}={value} 1")).await;
        assert!(after[0].ends_with(" PRIVMSG #a :0"), "{after:?}");
    }
    let other = session.ada.ask("CHATHISTORY AFTER #a account=ada 1").await;
    assert!(other[0].contains(" FAIL CHATHISTORY INVALID_MSGREFTYPE AFTER account=ada "), "{other:?}");
}

/// `channels.rs` tests that no LIST disconnects the client that asks.
#[tokio::test]
async fn safelist_casemapping_and_network_have_their_values() {
    let session = Session::start().await;
    assert_eq!(session.token("SAFELIST"), "");
    assert_eq!((&*session.token("CASEMAPPING"), &*session.token("NETWORK")), ("rfc1459", "s"));
}
