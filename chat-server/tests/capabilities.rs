//! The IRCv3 capabilities that a client can request.
#![allow(missing_docs)]

mod support;

use support::{Client, Server};

async fn client_with(server: &Server, nick: &str, capabilities: &str) -> Client {
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
    let mut ada = client_with(&server, "ada", "echo-message").await;
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
    let mut ada = client_with(&server, "ada", "server-time").await;
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
    // The tag does not count towards the length of the line.
    bob.send(&format!("PRIVMSG #a :{}", "x".repeat(450))).await;
    let line = ada.until(&"x".repeat(450)).await;
    assert!(line.len() > 512, "{}", line.len());
    ada.send("QUIT").await;
    assert!(ada.until("ERROR").await.starts_with("@time=20"));
}

#[tokio::test]
async fn each_line_of_the_history_has_the_time_at_which_it_was_said() {
    let server = Server::start(&[]).await;
    let mut ada = client_with(&server, "ada", "server-time").await;
    ada.ask("JOIN #a").await;
    let mut bob = server.member("bob", "#a").await;
    bob.send("PRIVMSG #a :hello").await;
    ada.until("hello").await;
    let [line, end] = &ada.ask("HISTORY #a").await[..] else { panic!("two lines") };
    let said_at = line.split_once(" NOTICE #a :[").and_then(|(_, text)| text.split(']').next());
    assert!(line.starts_with(&format!("@time={} :s ", said_at.expect(line))), "{line}");
    assert!(end.starts_with("@time=20"), "{end}");
}

#[tokio::test]
async fn clients_with_multi_prefix_see_all_sigils() {
    let server = Server::start(&[]).await;
    let mut ada = client_with(&server, "ada", "multi-prefix").await;
    ada.ask("JOIN #a\r\nMODE #a +v ada").await;
    let mut bob = server.member("bob", "#a").await;
    assert_eq!(bob.ask("NAMES #a").await[0], ":s 353 bob = #a :@ada bob");
    ada.until("JOIN").await;
    assert_eq!(ada.ask("NAMES #a").await[0], ":s 353 ada = #a :@+ada bob");
    assert!(ada.ask("WHO #a").await[0].contains(" ada H@+ :0 "));
    assert_eq!(ada.ask("WHOIS ada").await[1], ":s 319 ada ada :@+#a");
    assert_eq!(bob.ask("WHOIS ada").await[1], ":s 319 bob ada :@#a");
}

const ADA: &str = ":ada!~ada@127.0.0.1";

#[tokio::test]
async fn clients_with_away_notify_learn_who_is_away() {
    let server = Server::start(&[]).await;
    let mut ada = server.member("ada", "#a").await;
    let mut bob = client_with(&server, "bob", "away-notify").await;
    let mut eve = server.client("eve").await;
    bob.ask("JOIN #a\r\nJOIN #b").await;
    eve.ask("JOIN #a").await;
    ada.until("eve").await;
    ada.ask("AWAY :at lunch\r\nAWAY :at lunch").await;
    assert_eq!(bob.until("AWAY").await, format!("{ADA} AWAY :at lunch"));
    ada.ask("JOIN #b\r\nAWAY\r\nAWAY").await;
    assert_eq!(bob.until("JOIN #b").await, format!("{ADA} JOIN #b"));
    assert_eq!(bob.line().await, Some(format!("{ADA} AWAY :at lunch")));
    assert_eq!(bob.line().await, Some(format!("{ADA} AWAY")));
    ada.ask("PRIVMSG #b :end").await;
    assert_eq!(bob.line().await, Some(format!("{ADA} PRIVMSG #b :end")), "no AWAY without a change");
    assert_eq!(eve.ask("PING x").await, [":s PONG s :x"], "without the capability");
}

#[tokio::test]
async fn clients_with_extended_join_see_the_real_name() {
    let server = Server::start(&[]).await;
    let mut bob = client_with(&server, "bob", "extended-join").await;
    assert_eq!(bob.ask("JOIN #a").await[0], ":bob!~bob@127.0.0.1 JOIN #a * :Real bob");
    let mut ada = server.client("ada").await;
    assert_eq!(ada.ask("JOIN #a").await[0], format!("{ADA} JOIN #a"));
    assert_eq!(bob.until("JOIN").await, format!("{ADA} JOIN #a * :Real ada"));
}

#[tokio::test]
async fn clients_with_userhost_in_names_see_whole_prefixes() {
    let server = Server::start(&[]).await;
    let mut ada = server.member("ada", "#a").await;
    let mut bob = client_with(&server, "bob", "multi-prefix userhost-in-names").await;
    let names = ":s 353 bob = #a :@ada!~ada@127.0.0.1 bob!~bob@127.0.0.1";
    assert!(bob.ask("JOIN #a").await.contains(&names.to_owned()));
    ada.ask("MODE #a +v ada").await;
    bob.until("MODE").await;
    assert_eq!(bob.ask("NAMES #a").await[0], names.replace(":@ada", ":@+ada"));
}

#[tokio::test]
async fn clients_with_setname_learn_new_real_names() {
    let server = Server::start(&[]).await;
    let mut ada = client_with(&server, "ada", "setname").await;
    ada.ask("JOIN #a").await;
    let mut bob = client_with(&server, "bob", "setname").await;
    bob.ask("JOIN #a").await;
    let mut eve = server.member("eve", "#a").await;
    bob.until("eve").await;
    ada.until("eve").await;
    let told = format!("{ADA} SETNAME :Ada of #a");
    assert_eq!(ada.ask("SETNAME :Ada of #a").await, [&*told]);
    assert_eq!(bob.until("SETNAME").await, told);
    assert!(bob.ask("WHOIS ada").await[0].ends_with(" * :Ada of #a"));
    assert_eq!(ada.ask("SETNAME :").await, [":s 461 ada SETNAME :Not enough parameters"]);
    // Without the capability it works, but nothing confirms it.
    assert_eq!(eve.ask("SETNAME :Eve").await, [""; 0]);
    assert_eq!(bob.until("SETNAME").await, ":eve!~eve@127.0.0.1 SETNAME :Eve");
}
