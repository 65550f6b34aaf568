//! A small chat server with configurable faults.

use std::collections::{BTreeMap, HashMap};
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

/// Decides what the server does with one delivery. The arguments are the number
/// of deliveries so far and the channel.
pub(crate) type Delivery = fn(u64, &str) -> DeliveryOutcome;

/// What the server does with a delivery.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum DeliveryOutcome {
    Passed,
    Dropped,
    Doubled,
    /// Held back until the receiver has got the next line of the same sender.
    Swapped,
}

/// The faults of the server.
#[derive(Clone, Copy)]
pub(crate) struct Faults {
    pub(crate) delivery: Delivery,
    /// Delays a message. The argument is the number of messages so far.
    pub(crate) delay: Option<fn(u64) -> Duration>,
    /// Time after the first message at which the server freezes once, and the
    /// duration of the freeze.
    pub(crate) freeze: Option<(Duration, Duration)>,
    /// Closes all connections after this number of messages.
    pub(crate) closes_after: Option<u64>,
    /// Stops to welcome clients after this number of them.
    pub(crate) welcomes: Option<u64>,
    /// What clients get instead of a welcome.
    pub(crate) refusal: &'static str,
}

impl Default for Faults {
    fn default() -> Self {
        Self {
            delivery: |_, _| DeliveryOutcome::Passed,
            delay: None,
            freeze: None,
            closes_after: None,
            welcomes: None,
            refusal: "",
        }
    }
}

/// A message that the server sent to its channel.
#[derive(Clone, Copy)]
pub(crate) struct PassedMessage {
    pub(crate) sent_at: SystemTime,
    /// When the message was due, in nanoseconds after the start of the run.
    pub(crate) due_ns: u64,
    pub(crate) receivers: usize,
}

/// The server's own counts. The generator's report must agree with them.
#[derive(Default)]
pub(crate) struct ServerCounts {
    pub(crate) passed: Vec<PassedMessage>,
    /// The start and the end of the freeze.
    pub(crate) frozen: Option<(SystemTime, SystemTime)>,
    pub(crate) messages: u64,
    pub(crate) deliveries: u64,
    pub(crate) dropped: u64,
    pub(crate) doubled: u64,
    pub(crate) swapped: u64,
    pub(crate) pongs: u64,
    /// Clients that were welcomed.
    pub(crate) welcomed: u64,
    /// What clients have logged in with by SASL PLAIN, decoded.
    pub(crate) accounts: Vec<String>,
}

struct Peer {
    stream: TcpStream,
    channel: String,
    held: Option<String>,
}

struct Hub {
    faults: Faults,
    first_message: Option<Instant>,
    peers: HashMap<u64, Peer>,
    counts: ServerCounts,
    delayed: Sender<DelayedMessage>,
}

struct DelayedMessage {
    send_at: Instant,
    sender: u64,
    line: String,
}

/// A running server. Its threads end with the test's process.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    hub: Arc<Mutex<Hub>>,
}

impl Server {
    pub(crate) fn start(faults: Faults) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let (delayed, receiver) = mpsc::channel();
        let hub = Hub {
            faults,
            first_message: None,
            peers: HashMap::new(),
            counts: ServerCounts::default(),
            delayed,
        };
        let hub = Arc::new(Mutex::new(hub));
        let delaying_hub = Arc::clone(&hub);
        thread::spawn(move || send_delayed(&delaying_hub, &receiver));
        let serving_hub = Arc::clone(&hub);
        thread::spawn(move || {
            for (id, stream) in (0..).zip(listener.incoming().flatten()) {
                let hub = Arc::clone(&serving_hub);
                thread::spawn(move || serve(&hub, id, stream));
            }
        });
        Self { address, hub }
    }

    pub(crate) fn counts<T>(&self, read: impl FnOnce(&ServerCounts) -> T) -> T {
        read(&self.hub.lock().expect("no panic").counts)
    }
}

fn serve(hub: &Mutex<Hub>, id: u64, stream: TcpStream) {
    let _ = stream.set_nodelay(true);
    let mut lines = BufReader::new(stream.try_clone().expect("a second handle"));
    let mut line = String::new();
    let mut nick = String::from("*");
    let mut negotiates = false;
    while matches!(lines.read_line(&mut line), Ok(1..)) {
        let (verb, rest) = line.trim_end().split_once(' ').unwrap_or((line.trim_end(), ""));
        let answer = match verb {
            "NICK" => {
                rest.clone_into(&mut nick);
                String::new()
            }
            "CAP" if rest == "END" => hub.lock().expect("no panic").welcome(&nick),
            "CAP" => {
                negotiates = true;
                ":fake CAP * ACK :sasl\r\n".to_owned()
            }
            "AUTHENTICATE" if rest == "PLAIN" => "AUTHENTICATE +\r\n".to_owned(),
            "AUTHENTICATE" => hub.lock().expect("no panic").log_in(rest),
            "USER" if negotiates => String::new(),
            "USER" => hub.lock().expect("no panic").welcome(&nick),
            "JOIN" => {
                hub.lock().expect("no panic").join(id, rest, &stream);
                format!(":{nick} JOIN {rest}\r\n:fake 366 {nick} {rest} :end\r\n")
            }
            "WHO" => format!("{}\r\n:fake 461 {nick} :not \u{fffd} now\r\n", "x".repeat(9000)),
            "PONG" => {
                hub.lock().expect("no panic").counts.pongs += 1;
                String::new()
            }
            "PRIVMSG" => {
                hub.lock().expect("no panic").privmsg(id, &format!(":{nick}!u@h {}\r\n", line.trim_end()));
                String::new()
            }
            "QUIT" => break,
            _ => String::new(),
        };
        if (&stream).write_all(answer.as_bytes()).is_err() {
            break;
        }
        line.clear();
    }
    let _ = stream.shutdown(std::net::Shutdown::Both);
}

impl Hub {
    fn welcome(&mut self, nick: &str) -> String {
        self.counts.welcomed += 1;
        if self.faults.welcomes.is_some_and(|limit| self.counts.welcomed > limit) {
            return self.faults.refusal.to_owned();
        }
        format!("PING :are you there\r\n:fake 001 {nick} :welcome\r\n:fake 422 {nick} :no motd\r\n")
    }

    /// Accepts every password except `wrong`.
    fn log_in(&mut self, encoded: &str) -> String {
        let decoded = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, encoded);
        let account = decoded.ok().and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or_default();
        if account.ends_with("\0wrong") {
            return ":fake 904 * :SASL authentication failed\r\n".to_owned();
        }
        self.counts.accounts.push(account);
        ":fake 900 * * * :You are logged in\r\n:fake 903 * :SASL authentication successful\r\n".to_owned()
    }

    fn join(&mut self, id: u64, channel: &str, stream: &TcpStream) {
        if !channel.ends_with("-scratch") {
            let stream = stream.try_clone().expect("a second handle");
            self.peers.insert(id, Peer { stream, channel: channel.to_owned(), held: None });
        }
    }

    fn privmsg(&mut self, sender: u64, line: &str) {
        self.counts.messages += 1;
        let first = *self.first_message.get_or_insert_with(Instant::now);
        if let Some((_, duration)) = self.faults.freeze.take_if(|(after, _)| first.elapsed() >= *after) {
            let begin = SystemTime::now();
            // This thread holds the hub's lock, so no other thread continues.
            thread::sleep(duration);
            self.counts.frozen = Some((begin, SystemTime::now()));
        }
        if self.faults.closes_after.is_some_and(|messages| self.counts.messages > messages) {
            for peer in self.peers.values() {
                let _ = peer.stream.shutdown(std::net::Shutdown::Both);
            }
            return;
        }
        if let Some(delay) = self.faults.delay {
            let send_at = Instant::now() + delay(self.counts.messages);
            let _ = self.delayed.send(DelayedMessage { send_at, sender, line: line.to_owned() });
        } else {
            self.pass(sender, line);
        }
    }

    fn pass(&mut self, sender: u64, line: &str) {
        let Some(channel) = self.peers.get(&sender).map(|peer| peer.channel.clone()) else { return };
        let receivers = self.peers.iter_mut().filter(|(id, peer)| **id != sender && peer.channel == channel);
        let before = self.counts.deliveries;
        let sent_at = SystemTime::now();
        for (_, peer) in receivers {
            self.counts.deliveries += 1;
            let outcome = (self.faults.delivery)(self.counts.deliveries, &peer.channel);
            deliver(peer, line, outcome, &mut self.counts);
        }
        // The text contains a marker, the run, the sender, the sequence number
        // and the due time.
        let due_ns = line.split(' ').nth(7).and_then(|due| due.parse().ok()).expect("a generator's message");
        let receivers = usize::try_from(self.counts.deliveries - before).expect("few");
        self.counts.passed.push(PassedMessage { sent_at, due_ns, receivers });
    }
}

/// Sends each delayed message at its time.
fn send_delayed(hub: &Mutex<Hub>, receiver: &Receiver<DelayedMessage>) {
    let mut waiting: BTreeMap<(Instant, u64), DelayedMessage> = BTreeMap::new();
    for number in 0.. {
        let next = waiting.keys().next().map(|&(at, _)| at.saturating_duration_since(Instant::now()));
        match receiver.recv_timeout(next.unwrap_or(Duration::from_secs(3600))) {
            Ok(message) => drop(waiting.insert((message.send_at, number), message)),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        while let Some(first) = waiting.first_entry().filter(|first| first.key().0 <= Instant::now()) {
            let DelayedMessage { sender, line, .. } = first.remove();
            hub.lock().expect("no panic").pass(sender, &line);
        }
    }
}

fn deliver(peer: &mut Peer, line: &str, outcome: DeliveryOutcome, counts: &mut ServerCounts) {
    let mut text = match outcome {
        DeliveryOutcome::Passed => line.to_owned(),
        DeliveryOutcome::Doubled => line.repeat(2),
        DeliveryOutcome::Dropped => String::new(),
        // The receiver can check only the order of one sender's messages, so a
        // held line is sent after the next line of the same sender.
        DeliveryOutcome::Swapped if peer.held.is_none() => {
            peer.held = Some(line.to_owned());
            return;
        }
        DeliveryOutcome::Swapped => line.to_owned(),
    };
    let prefix = |line: &str| line.split(' ').next().map(str::to_owned);
    if outcome != DeliveryOutcome::Dropped
        && let Some(held) = peer.held.take_if(|held| prefix(held) == prefix(line))
    {
        counts.swapped += 1;
        text.push_str(&held);
    }
    counts.dropped += u64::from(outcome == DeliveryOutcome::Dropped);
    counts.doubled += u64::from(outcome == DeliveryOutcome::Doubled);
    let _ = (&peer.stream).write_all(text.as_bytes());
}
