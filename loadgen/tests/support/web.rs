//! A small web server with configurable faults.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, SystemTime};

/// The faults of the server.
#[derive(Clone, Copy, Default)]
pub(crate) struct WebFaults {
    /// The number of the request at which the server freezes once, from 1, and
    /// the duration of the freeze.
    pub(crate) freeze: Option<(u64, Duration)>,
    /// Closes each connection after its first response.
    pub(crate) closes: bool,
    /// Stops responding after this number of requests.
    pub(crate) stalls_after: Option<u64>,
    /// Every n-th request fails with 503.
    pub(crate) fails_every: Option<u64>,
}

/// A request that the server has received. The times are those of the server,
/// so they contain the delays of a busy machine.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ReceivedRequest {
    /// Whether it is the first request of its connection.
    pub(crate) is_first: bool,
    /// The client had no free connection for it before this time, at which the
    /// server sent its previous response on this connection. For the first
    /// request, the server began to serve the connection at this time.
    pub(crate) sent_after: SystemTime,
    /// The client had sent it by this time.
    pub(crate) sent_before: SystemTime,
    /// The client had received the response by this time, at which it sent the
    /// next request or closed the connection.
    pub(crate) answered_before: Option<SystemTime>,
}

/// A running server. Its threads end with the test's process.
pub(crate) struct WebServer {
    pub(crate) address: SocketAddr,
    log: Arc<Mutex<WebLog>>,
}

/// What the server has seen.
#[derive(Default)]
struct WebLog {
    requests: Vec<ReceivedRequest>,
    /// The beginning and the end of the freeze.
    frozen: Option<(SystemTime, SystemTime)>,
}

impl WebServer {
    pub(crate) fn start(faults: WebFaults) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let log = Arc::default();
        let shared = Arc::clone(&log);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let log = Arc::clone(&shared);
                thread::spawn(move || serve(&stream, &log, faults));
            }
        });
        Self { address, log }
    }

    /// Counts the requests so far.
    pub(crate) fn count(&self) -> u64 {
        self.requests().len() as u64
    }

    /// Returns the requests so far.
    pub(crate) fn requests(&self) -> Vec<ReceivedRequest> {
        self.log.lock().expect("no panic").requests.clone()
    }

    /// Returns the beginning and the end of the freeze, if there was one.
    pub(crate) fn frozen(&self) -> Option<(SystemTime, SystemTime)> {
        self.log.lock().expect("no panic").frozen
    }
}

fn serve(stream: &TcpStream, log: &Mutex<WebLog>, faults: WebFaults) {
    let _ = stream.set_nodelay(true);
    let mut lines = BufReader::new(stream).lines();
    let (mut previous, mut sent_after) = (None::<usize>, SystemTime::now());
    loop {
        let is_complete = read_request(&mut lines);
        let now = SystemTime::now();
        let mut log = log.lock().expect("no panic");
        if let Some(previous) = previous {
            log.requests[previous].answered_before = Some(now);
        }
        if !is_complete {
            break;
        }
        let is_first = previous.is_none();
        previous = Some(log.requests.len());
        log.requests.push(ReceivedRequest { is_first, sent_after, sent_before: now, answered_before: None });
        let response = respond(log, faults);
        sent_after = SystemTime::now();
        let is_done = { stream }.write_all(response.as_bytes()).is_err() || faults.closes;
        if is_done {
            break;
        }
    }
}

/// Reads a request. Returns whether it is complete.
fn read_request(lines: &mut impl Iterator<Item = std::io::Result<String>>) -> bool {
    let mut lines = lines.map_while(Result::ok);
    let is_get = lines.next().is_some_and(|line| line == "GET /page?x=1 HTTP/1.1");
    is_get && lines.any(|line| line.is_empty())
}

/// Returns the response to the latest request.
fn respond(mut log: MutexGuard<'_, WebLog>, faults: WebFaults) -> String {
    let count = log.requests.len() as u64;
    if let Some((_, duration)) = faults.freeze.filter(|(at, _)| *at == count) {
        // This thread holds the lock, so no other request gets a response.
        let begin = SystemTime::now();
        thread::sleep(duration);
        log.frozen = Some((begin, SystemTime::now()));
    }
    drop(log);
    if faults.stalls_after.is_some_and(|after| count > after) {
        thread::sleep(Duration::from_secs(600));
        return String::new();
    }
    let fails = faults.fails_every.is_some_and(|every| count.is_multiple_of(every));
    let status = if fails { "503 Service Unavailable" } else { "200 OK" };
    format!("HTTP/1.1 {status}\r\ncontent-length: 5\r\n\r\nhello")
}
