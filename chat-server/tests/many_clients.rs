//! Many clients at the same time: a connect storm, and 1,000 clients that stop
//! reading next to 100 that read.
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

/// Raises the descriptor limit. Both ends of each connection are in this
/// process.
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
async fn a_connect_storm_is_served_completely() {
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
    // All clients disconnect at the same time.
    drop(clients);
    while last.ask("LUSERS").await[0] != ":s 251 last :There are 1 users and 0 invisible on 1 servers" {}
}

const SLOW_READERS: usize = 1_000;
const READERS: usize = 100;
/// Messages in each phase.
const MESSAGES: usize = 100;

/// Sends `MESSAGES` numbered messages, each after all readers have received the
/// one before. Returns the time that each message took to each reader, sorted.
async fn send_messages(
    speaker: &mut Client,
    received: &mut mpsc::UnboundedReceiver<(usize, Instant)>,
    first_number: usize,
) -> Vec<Duration> {
    let (text, mut delays) = ("x".repeat(400), Vec::with_capacity(MESSAGES * READERS));
    for number in first_number..first_number + MESSAGES {
        let started = Instant::now();
        speaker.send(&format!("PRIVMSG #a :{number} {text}")).await;
        for _ in 0..READERS {
            let (received_number, at) = received.recv().await.expect("the readers are connected");
            assert_eq!(received_number, number, "each reader receives all messages in order");
            delays.push(at - started);
        }
    }
    delays.sort();
    delays
}

fn p99(delays: &[Duration]) -> Duration {
    delays[delays.len() * 99 / 100]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_slow_readers_do_not_delay_a_hundred_others() {
    allow_descriptors(2 * (SLOW_READERS + READERS) as u64 + 100);
    let limits = ClientLimits::default()
        .with_soft_queue_bytes(32 * 1024)
        .with_slow_reader_timeout(Duration::from_secs(3));
    let server = Server::with_limits(&["--flood-limit", "off"], limits).await;
    let (report, mut received) = mpsc::unbounded_channel();
    let disconnected_count = Arc::new(AtomicUsize::new(0));
    // The slow clients stop reading when `stop_reading` is dropped.
    let (stop_reading, reading) = tokio::sync::watch::channel(());
    let (mut slow, mut readers) = (JoinSet::new(), JoinSet::new());
    for number in 0..SLOW_READERS {
        let mut client = server.connect_with_small_buffers().await;
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
                        assert!(read.is_ok_and(|bytes| bytes > 0), "a client that reads stays connected");
                    }
                }
            }
        });
    }
    for number in 0..READERS {
        let mut client = server.member(&format!("l{number}"), "#a").await;
        let (report, disconnected_count) = (report.clone(), disconnected_count.clone());
        readers.spawn(async move {
            while let Some(line) = client.line().await {
                let at = Instant::now();
                if let Some((_, text)) = line.split_once(" PRIVMSG #a :") {
                    let received_number =
                        text.split(' ').next().and_then(|it| it.parse().ok()).expect("a number");
                    let _ = report.send((received_number, at));
                } else if number == 0 && line.ends_with(" QUIT :SendQ exceeded") {
                    disconnected_count.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
    }
    let mut speaker = server.member("speaker", "#a").await;
    let before = send_messages(&mut speaker, &mut received, 0).await;
    drop(stop_reading);
    let silent = slow.join_all().await;
    let mut after = Vec::new();
    let mut first_number = MESSAGES;
    // Sends until the last slow client is disconnected. All these messages
    // count.
    while disconnected_count.load(Ordering::Relaxed) < SLOW_READERS {
        after.extend(send_messages(&mut speaker, &mut received, first_number).await);
        first_number += MESSAGES;
    }
    after.sort();
    let (before_p99, after_p99) = (p99(&before), p99(&after));
    println!(
        "p99 of {READERS} readers: {before_p99:?} while {SLOW_READERS} others read, {after_p99:?} while they do not \
         and are dropped ({} messages): {:.2}",
        first_number - MESSAGES,
        after_p99.as_secs_f64() / before_p99.as_secs_f64()
    );
    // The factor and the 500 ms are large, so that a busy machine does not fail
    // the test.
    assert!(after_p99 < before_p99 * 20 + Duration::from_millis(500), "{before_p99:?} {after_p99:?}");
    drop(silent);
}
