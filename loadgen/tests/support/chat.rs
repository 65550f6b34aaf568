//! A small chat server, wrong on demand.

use std::collections::{BTreeMap, HashMap};
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

/// What the server does with one delivery to a room; it is told how many there
/// were.
pub(crate) type Delivery = fn(u64, &str) -> Fate;

/// What becomes of a delivery.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Passed,
    Dropped,
    Doubled,
    /// Held back until the receiver's next one has gone out.
    Swapped,
}

/// What the server does wrong.
#[derive(Clone, Copy)]
pub(crate) struct Conduct {
    pub(crate) delivery: Delivery,
    /// How long a message is kept before it goes out; it is told how many
    /// messages there were.
    pub(crate) delay: Option<fn(u64) -> Duration>,
    /// Once, this long after the first message, for this long, nothing moves.
    pub(crate) freeze: Option<(Duration, Duration)>,
    /// After this many messages every connection is closed.
    pub(crate) closes_after: Option<u64>,
}

impl Default for Conduct {
    fn default() -> Self {
        Self { delivery: |_, _| Fate::Passed, delay: None, freeze: None, closes_after: None }
    }
}

/// When a message went out to its room, and when it had been due.
#[derive(Clone, Copy)]
pub(crate) struct Passed {
    pub(crate) at: SystemTime,
    pub(crate) due_ns: u64,
    pub(crate) receivers: usize,
}

/// What the server did, which the generator must find out.
#[derive(Default)]
pub(crate) struct Tally {
    pub(crate) passed: Vec<Passed>,
    /// From when to when nothing moved.
    pub(crate) frozen: Option<(SystemTime, SystemTime)>,
    pub(crate) messages: u64,
    pub(crate) deliveries: u64,
    pub(crate) dropped: u64,
    pub(crate) doubled: u64,
    pub(crate) swapped: u64,
    pub(crate) pongs: u64,
}

struct Peer {
    stream: TcpStream,
    room: String,
    held: Option<String>,
}

struct Hub {
    conduct: Conduct,
    first: Option<Instant>,
    peers: HashMap<u64, Peer>,
    tally: Tally,
    keeper: Sender<Kept>,
}

/// A message that is kept until its time.
struct Kept {
    until: Instant,
    sender: u64,
    line: String,
}

/// A running server; its threads end with the test's process.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    hub: Arc<Mutex<Hub>>,
}

impl Server {
    pub(crate) fn start(conduct: Conduct) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let (keeper, kept) = mpsc::channel();
        let hub = Hub { conduct, first: None, peers: HashMap::new(), tally: Tally::default(), keeper };
        let hub = Arc::new(Mutex::new(hub));
        let keeping = Arc::clone(&hub);
        thread::spawn(move || keep(&keeping, &kept));
        let serving = Arc::clone(&hub);
        thread::spawn(move || {
            for (id, stream) in (0..).zip(listener.incoming().flatten()) {
                let hub = Arc::clone(&serving);
                thread::spawn(move || serve(&hub, id, stream));
            }
        });
        Self { address, hub }
    }

    pub(crate) fn tally<T>(&self, read: impl FnOnce(&Tally) -> T) -> T {
        read(&self.hub.lock().expect("no panic").tally)
    }
}

fn serve(hub: &Mutex<Hub>, id: u64, stream: TcpStream) {
    let _ = stream.set_nodelay(true);
    let mut lines = BufReader::new(stream.try_clone().expect("a second handle"));
    let mut line = String::new();
    let mut nick = String::from("*");
    while matches!(lines.read_line(&mut line), Ok(1..)) {
        let (verb, rest) = line.trim_end().split_once(' ').unwrap_or((line.trim_end(), ""));
        let answer = match verb {
            "NICK" => {
                rest.clone_into(&mut nick);
                String::new()
            }
            "USER" => {
                format!("PING :are you there\r\n:fake 001 {nick} :welcome\r\n:fake 422 {nick} :no motd\r\n")
            }
            "JOIN" => {
                hub.lock().expect("no panic").join(id, rest, &stream);
                format!(":{nick} JOIN {rest}\r\n:fake 366 {nick} {rest} :end\r\n")
            }
            "WHO" => format!("{}\r\n:fake 461 {nick} :not \u{fffd} now\r\n", "x".repeat(9000)),
            "PONG" => {
                hub.lock().expect("no panic").tally.pongs += 1;
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
    fn join(&mut self, id: u64, room: &str, stream: &TcpStream) {
        if !room.ends_with("-scratch") {
            let stream = stream.try_clone().expect("a second handle");
            self.peers.insert(id, Peer { stream, room: room.to_owned(), held: None });
        }
    }

    fn privmsg(&mut self, sender: u64, line: &str) {
        self.tally.messages += 1;
        let first = *self.first.get_or_insert_with(Instant::now);
        if let Some((_, length)) = self.conduct.freeze.take_if(|(after, _)| first.elapsed() >= *after) {
            let begin = SystemTime::now();
            // Under the hub's lock, so nobody moves.
            thread::sleep(length);
            self.tally.frozen = Some((begin, SystemTime::now()));
        }
        if self.conduct.closes_after.is_some_and(|messages| self.tally.messages > messages) {
            for peer in self.peers.values() {
                let _ = peer.stream.shutdown(std::net::Shutdown::Both);
            }
            return;
        }
        if let Some(delay) = self.conduct.delay {
            let until = Instant::now() + delay(self.tally.messages);
            let _ = self.keeper.send(Kept { until, sender, line: line.to_owned() });
        } else {
            self.pass(sender, line);
        }
    }

    fn pass(&mut self, sender: u64, line: &str) {
        let Some(room) = self.peers.get(&sender).map(|peer| peer.room.clone()) else { return };
        let receivers = self.peers.iter_mut().filter(|(id, peer)| **id != sender && peer.room == room);
        let before = self.tally.deliveries;
        let at = SystemTime::now();
        for (_, peer) in receivers {
            self.tally.deliveries += 1;
            let fate = (self.conduct.delivery)(self.tally.deliveries, &peer.room);
            deliver(peer, line, fate, &mut self.tally);
        }
        // What follows the text's mark: run, sender, sequence, due time.
        let due_ns = line.split(' ').nth(7).and_then(|due| due.parse().ok()).expect("a generator's message");
        let receivers = usize::try_from(self.tally.deliveries - before).expect("few");
        self.tally.passed.push(Passed { at, due_ns, receivers });
    }
}

/// Passes each message on when its time has come, in the order of the times.
fn keep(hub: &Mutex<Hub>, kept: &Receiver<Kept>) {
    let mut waiting: BTreeMap<(Instant, u64), Kept> = BTreeMap::new();
    for number in 0.. {
        let next = waiting.keys().next().map(|&(until, _)| until.saturating_duration_since(Instant::now()));
        match kept.recv_timeout(next.unwrap_or(Duration::from_secs(3600))) {
            Ok(message) => drop(waiting.insert((message.until, number), message)),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        while let Some(first) = waiting.first_entry().filter(|first| first.key().0 <= Instant::now()) {
            let Kept { sender, line, .. } = first.remove();
            hub.lock().expect("no panic").pass(sender, &line);
        }
    }
}

fn deliver(peer: &mut Peer, line: &str, fate: Fate, tally: &mut Tally) {
    let mut text = match fate {
        Fate::Passed => line.to_owned(),
        Fate::Doubled => line.repeat(2),
        Fate::Dropped => String::new(),
        // Only within one sender can an order be told; a held line waits for
        // the next of any, so it is held for one from the same.
        Fate::Swapped if peer.held.is_none() => {
            peer.held = Some(line.to_owned());
            return;
        }
        Fate::Swapped => line.to_owned(),
    };
    let prefix = |line: &str| line.split(' ').next().map(str::to_owned);
    if fate != Fate::Dropped
        && let Some(held) = peer.held.take_if(|held| prefix(held) == prefix(line))
    {
        tally.swapped += 1;
        text.push_str(&held);
    }
    tally.dropped += u64::from(fate == Fate::Dropped);
    tally.doubled += u64::from(fate == Fate::Doubled);
    let _ = (&peer.stream).write_all(text.as_bytes());
}
