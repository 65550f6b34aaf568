//! Many at once: slow readers beside lively ones, storms of connections, peers that are only half there.
#![allow(missing_docs)]

mod support;

use std::time::{Duration, Instant};

use support::{Client, Server};

const SLOW: usize = 1_000;
const LIVELY: usize = 20;
const ROUNDS: usize = 40;

/// A client for which the system takes few bytes while it reads nothing.
async fn few_bytes(address: std::net::SocketAddr) -> Client {
    let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(2_048).expect("a small buffer");
    let (read, write) = socket.connect(address).await.expect("accepted").into_split();
    Client { read: tokio::io::BufReader::new(read), write }
}

/// Each connection takes two descriptors of this process; many systems start with 1,024.
#[cfg(unix)]
fn raise_descriptors() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).expect("up to the maximum is allowed");
}

#[cfg(not(unix))]
fn raise_descriptors() {}

/// Everybody speaks in turn and everybody hears it; how long each delivery took.
async fn talk(members: &mut [Client], round: usize) -> Vec<Duration> {
    let mut waits = Vec::new();
    let speaker = round % members.len();
    let text = format!("round {round} {}", "x".repeat(300));
    let begun = Instant::now();
    members[speaker].send(&format!("PRIVMSG #a :{text}")).await;
    for (index, member) in members.iter_mut().enumerate() {
        if index != speaker {
            member.until(&format!(" PRIVMSG #a :round {round} ")).await;
            waits.push(begun.elapsed());
        }
    }
    waits
}

async fn p99(members: &mut [Client], first: usize) -> Duration {
    let mut waits = Vec::new();
    for round in first..first + ROUNDS {
        waits.extend(talk(members, round).await);
    }
    waits.sort();
    waits[waits.len() * 99 / 100]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_slow_readers_cost_the_lively_ones_no_message() {
    raise_descriptors();
    let server = Server::start(&["--flood-limit", "off"]).await;
    let mut lively = Vec::new();
    for number in 0..LIVELY {
        lively.push(server.member(&format!("lively{number}"), "#a").await);
    }
    let alone = p99(&mut lively, 0).await;
    // They join a room of their own, are talked to, and read nothing from there on.
    let mut slow = Vec::new();
    for number in 0..SLOW {
        let mut client = few_bytes(server.address).await;
        client.send(&format!("NICK slow{number}\r\nUSER u 0 * :r")).await;
        client.until(" 422 ").await;
        client.send("JOIN #slow").await;
        slow.push(client);
    }
    let mut speaker = server.client("speaker").await;
    speaker.ask("JOIN #slow").await;
    let flood = async {
        let text = "y".repeat(400);
        for _ in 0..60 {
            speaker.ask(&format!("PRIVMSG #slow :{text}")).await;
        }
    };
    let (beside, ()) = tokio::join!(p99(&mut lively, ROUNDS), flood);
    let after = p99(&mut lively, 2 * ROUNDS).await;
    println!("p99: {alone:?} alone, {beside:?} while {SLOW} slow readers are flooded, {after:?} after it");
    assert_eq!(
        speaker.ask("NAMES #a").await.last().map(String::as_str),
        Some(":s 366 speaker #a :End of /NAMES list")
    );
    assert!(beside < Duration::from_secs(20), "{beside:?}");
    drop(slow);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_of_connections_is_served_to_the_last() {
    raise_descriptors();
    let server = Server::start(&[]).await;
    let mut ada = server.member("ada", "#a").await;
    let address = server.address;
    let storm = (0..500).map(|number| {
        tokio::spawn(async move {
            let stream = tokio::net::TcpStream::connect(address).await.expect("accepted");
            let (read, write) = stream.into_split();
            let mut client = Client { read: tokio::io::BufReader::new(read), write };
            client.send(&format!("NICK n{number}\r\nUSER u 0 * :r")).await;
            client.until(" 422 ").await;
            client
        })
    });
    let storm: Vec<_> = storm.collect();
    let mut clients = Vec::new();
    for client in storm {
        clients.push(client.await.expect("registered"));
    }
    assert_eq!(ada.ask("ISON n0 n250 n499").await, [":s 303 ada :n0 n250 n499"]);
    drop(clients);
    while ada.ask("ISON n0 n250 n499").await != [":s 303 ada :"] {}
}

#[tokio::test]
async fn a_peer_that_only_sends_is_told_and_one_that_only_reads_is_heard_to_the_end() {
    let server = Server::start(&[]).await;
    let mut ada = server.member("ada", "#a").await;
    let mut half = server.member("half", "#a").await;
    ada.until("JOIN").await;
    half.send("PRIVMSG #a :last").await;
    // It closes its sending side only: what it said counts, and it reads why it ends.
    tokio::io::AsyncWriteExt::shutdown(&mut half.write).await.expect("half closed");
    assert_eq!(ada.line().await.as_deref(), Some(":half!~half@127.0.0.1 PRIVMSG #a :last"));
    ada.until("QUIT").await;
    assert_eq!(half.rest().await, ["ERROR :Closing Link: 127.0.0.1 (Connection closed)"]);
}
