//! Information about users: AWAY, WHOIS, WHOWAS, USERHOST and ISON.
#![allow(missing_docs)]

mod support;

use support::Server;

#[tokio::test]
async fn away_clients_are_reported_as_away() {
    let server = Server::start(&[]).await;
    let (mut ada, mut bob) = (server.client("ada").await, server.client("bob").await);
    assert_eq!(ada.ask("AWAY :at lunch").await, [":s 306 ada :You have been marked as being away"]);
    assert_eq!(bob.ask("PRIVMSG ada :there?").await, [":s 301 bob ada :at lunch"]);
    assert_eq!(bob.ask("NOTICE ada :there?").await, [""; 0]);
    assert_eq!(
        bob.ask("USERHOST ada bob eve").await,
        [":s 302 bob :ada=-~ada@127.0.0.1 bob=+~bob@127.0.0.1"]
    );
    assert!(bob.ask("WHO ada").await[0].contains(" ada G :0 "));
    assert!(bob.ask("WHOIS ada").await.contains(&":s 301 bob ada :at lunch".to_owned()));
    ada.until("NOTICE").await;
    assert_eq!(ada.ask("AWAY").await, [":s 305 ada :You are no longer marked as being away"]);
    assert_eq!(bob.ask("PRIVMSG ada :there?").await, [""; 0]);
}

#[tokio::test]
async fn present_and_former_clients_can_be_queried() {
    let server = Server::start(&["--oper", "root:secret"]).await;
    let (mut ada, mut bob) = (server.member("ada", "#a").await, server.client("bob").await);
    bob.ask("OPER root secret").await;
    let whois = ada.ask("WHOIS s BOB").await;
    assert_eq!(whois[0], ":s 311 ada bob ~bob 127.0.0.1 * :Real bob");
    assert_eq!(whois[2], ":s 313 ada bob :is an IRC operator");
    assert!(whois[3].starts_with(":s 317 ada bob 0 ") && whois[3].ends_with(" :seconds idle, signon time"));
    assert_eq!(whois[4..], [":s 318 ada BOB :End of /WHOIS list"]);
    assert_eq!(bob.ask("WHOIS ada").await[1], ":s 319 bob ada :@#a");
    assert_eq!(ada.ask("WHO * o").await.len(), 2);
    assert_eq!(ada.ask("WHO bob o").await.len(), 2);
    assert_eq!(ada.ask("WHO ada o").await, [":s 315 ada ada :End of /WHO list"]);
    assert_eq!(ada.ask("WHO 0").await[2], ":s 315 ada 0 :End of /WHO list");
    assert_eq!(ada.ask("LUSERS").await[1], ":s 252 ada 1 :operator(s) online");
    assert_eq!(ada.ask("ISON BOB eve ada").await, [":s 303 ada :bob ada"]);
    assert_eq!(ada.ask("WHOWAS bob").await[0], ":s 406 ada bob :There was no such nickname");
    bob.send("QUIT").await;
    bob.lines_until_end().await;
    let whowas = ada.ask("WHOWAS Bob").await;
    assert_eq!(whowas, [":s 314 ada bob ~bob 127.0.0.1 * :Real bob", ":s 369 ada Bob :End of WHOWAS"]);
    let codes = |answer: Vec<String>| answer.iter().map(|it| it[3..6].to_owned()).collect::<Vec<_>>();
    let numerics = codes(ada.ask("LUSERS").await);
    assert_eq!(numerics, ["251", "254", "255", "265", "266"], "nobody is an operator or unknown");
    ada.ask("PART #a").await;
    assert_eq!(codes(ada.ask("LUSERS").await), ["251", "255", "265", "266"]);
    ada.ask("JOIN #a").await;
    // WHOWAS also finds a nick that a client has changed. A nick in another
    // case is the same nick.
    let mut eve = server.client("bob").await;
    eve.ask("NICK BOB\r\nNICK eve").await;
    let whowas = ada.ask("WHOWAS bob").await;
    assert_eq!(
        whowas[..2],
        [":s 314 ada BOB ~bob 127.0.0.1 * :Real bob", ":s 314 ada bob ~bob 127.0.0.1 * :Real bob"]
    );
    assert_eq!(ada.ask("WHOWAS bob 1").await, [&whowas[0], ":s 369 ada bob :End of WHOWAS"]);
    assert_eq!(ada.ask("WHOWAS bob -1").await, whowas);
    eve.send("QUIT").await;
    eve.lines_until_end().await;
    // A client with only a nick is not registered yet.
    let mut early = server.connect().await;
    early.ask("NICK early").await;
    assert_eq!(ada.ask("LUSERS").await[0], ":s 251 ada :There are 1 users and 0 invisible on 1 servers");
    assert_eq!(ada.ask("LUSERS").await[1], ":s 253 ada 1 :unknown connection(s)");
    assert_eq!(ada.ask("MODE early").await, [":s 401 ada early :No such nick/channel"]);
    ada.ask("MODE ada +i").await;
    assert_eq!(ada.ask("LUSERS").await[0], ":s 251 ada :There are 0 users and 1 invisible on 1 servers");
    assert!(ada.ask("INFO").await.last().is_some_and(|it| it.starts_with(":s 374 ada ")));
    for command in ["WHOIS", "WHOWAS"] {
        assert_eq!(ada.ask(command).await, [":s 431 ada :No nickname given"]);
    }
    for command in ["ISON", "USERHOST", "INVITE", "KICK", "TOPIC", "MODE"] {
        assert_eq!(ada.ask(command).await, [format!(":s 461 ada {command} :Not enough parameters")]);
    }
}
