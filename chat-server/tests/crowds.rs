//! Many at a time: connect storms, and a thousand who do not listen beside a hundred who do.
#![allow(missing_docs)]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use chat_server::ClientLimits;
use support::{Client, Server};
use tokio::io::AsyncReadExt;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// Both ends of each connection are in this process.
fn allow_descriptors(count: u64) {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
        let maximum = getrlimit(Resource::Nofile).maximum;
        let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
        let current = getrlimit(Resource::Nofile).current;
        assert!(current.is_none_or(|current| current >= count), "needs {count} descriptors, not {current:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_of_connections_is_served_to_the_last() {
    const CLIENTS: usize = 1_000;
    allow_descriptors(2 * CLIENTS as u64 + 100);
    let server = Arc::new(Server::start(&[]).await);
    let mut storm = JoinSet::new();
    for number in 0..CLIENTS {
        let server = server.clone();
        storm.spawn(async move { server.client(&format!("n{number}")).await });
    }
    let clients = storm.join_all().await;
    let mut last = server.client("last").await;
    let lusers = last.ask("LUSERS").await;
    assert_eq!(
        lusers[0],
        format!(":s 251 last :There are {} users and 0 invisible on 1 servers", CLIENTS + 1)
    );
    // And gone again, all at once.
    drop(clients);
    while last.ask("LUSERS").await[0] != ":s 251 last :There are 1 users and 0 invisible on 1 servers" {}
}

const SLOW: usize = 1_000;
const LIVELY: usize = 100;
/// Messages of each phase.
const MESSAGES: usize = 100;

/// Says `MESSAGES` numbered ones, each as the one before was heard by all who listen, and gives how long each
/// took to each of the lively.
async fn talk(
    speaker: &mut Client,
    heard: &mut mpsc::UnboundedReceiver<(usize, Instant)>,
    first: usize,
) -> Vec<Duration> {
    let (text, mut delays) = ("x".repeat(400), Vec::with_capacity(MESSAGES * LIVELY));
    for number in first..first + MESSAGES {
        let begun = Instant::now();
        speaker.send(&format!("PRIVMSG #a :{number} {text}")).await;
        for _ in 0..LIVELY {
            let (said, at) = heard.recv().await.expect("the lively listen");
            assert_eq!(said, number, "each hears all of it, in order");
            delays.push(at - begun);
        }
    }
    delays.sort();
    delays
}

fn p99(delays: &[Duration]) -> Duration {
    delays[delays.len() * 99 / 100]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_slow_readers_do_not_hold_up_a_hundred_lively_ones() {
    allow_descriptors(2 * (SLOW + LIVELY) as u64 + 100);
    let limits = ClientLimits::default()
        .with_soft_queue_bytes(32 * 1024)
        .with_slow_reader_timeout(Duration::from_secs(3));
    let server = Server::with_limits(&["--flood-limit", "off"], limits).await;
    let (tell, mut heard) = mpsc::unbounded_channel();
    let gone = Arc::new(AtomicUsize::new(0));
    // The slow ones read for as long as this is open.
    let (open, reading) = tokio::sync::watch::channel(());
    let (mut slow, mut lively) = (JoinSet::new(), JoinSet::new());
    for number in 0..SLOW {
        let mut client = server.connect_small().await;
        client.send(&format!("NICK s{number}\r\nUSER s 0 * :r\r\nJOIN #a")).await;
        client.until(" 422 ").await;
        let mut reading = reading.clone();
        slow.spawn(async move {
            let mut waste = [0; 4096];
            loop {
                tokio::select! {
                    biased;
                    _ = reading.changed() => return client,
                    read = client.read.read(&mut waste) => {
                        assert!(read.is_ok_and(|bytes| bytes > 0), "whoever reads stays");
                    }
                }
            }
        });
    }
    for number in 0..LIVELY {
        let mut client = server.member(&format!("l{number}"), "#a").await;
        let (tell, gone) = (tell.clone(), gone.clone());
        lively.spawn(async move {
            while let Some(line) = client.line().await {
                let at = Instant::now();
                if let Some((_, text)) = line.split_once(" PRIVMSG #a :") {
                    let said = text.split(' ').next().and_then(|it| it.parse().ok()).expect("a number");
                    let _ = tell.send((said, at));
                } else if number == 0 && line.ends_with(" QUIT :SendQ exceeded") {
                    gone.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
    }
    let mut speaker = server.member("speaker", "#a").await;
    let before = talk(&mut speaker, &mut heard, 0).await;
    drop(open);
    let silent = slow.join_all().await;
    let mut after = Vec::new();
    let mut first = MESSAGES;
    // On and on until the last one is gone: all of it counts.
    while gone.load(Ordering::Relaxed) < SLOW {
        after.extend(talk(&mut speaker, &mut heard, first).await);
        first += MESSAGES;
    }
    after.sort();
    let (before_p99, after_p99) = (p99(&before), p99(&after));
    println!(
        "p99 of {LIVELY} lively readers: {before_p99:?} as {SLOW} others read, {after_p99:?} as they do not \
         and are dropped ({} messages): {:.2}",
        first - MESSAGES,
        after_p99.as_secs_f64() / before_p99.as_secs_f64()
    );
    // The figure is for the report; a machine that has other things to do is no failure.
    assert!(after_p99 < before_p99 * 20 + Duration::from_millis(500), "{before_p99:?} {after_p99:?}");
    drop(silent);
}
