//! A small web server with configurable faults.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// The faults of the server.
#[derive(Clone, Copy, Default)]
pub(crate) struct WebFaults {
    /// Time after the first request at which the server freezes once, and the
    /// duration of the freeze.
    pub(crate) freeze: Option<(Duration, Duration)>,
    /// Closes each connection after its first response.
    pub(crate) closes: bool,
    /// Stops responding after this number of requests.
    pub(crate) stalls_after: Option<u64>,
    /// Every n-th request fails with 503.
    pub(crate) fails_every: Option<u64>,
}

/// A running server. Its threads end with the test's process.
pub(crate) struct WebServer {
    pub(crate) address: SocketAddr,
    requests: Arc<Mutex<Requests>>,
}

#[derive(Default)]
struct Requests {
    count: u64,
    first: Option<Instant>,
    has_frozen: bool,
}

impl WebServer {
    pub(crate) fn start(faults: WebFaults) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let requests = Arc::new(Mutex::new(Requests::default()));
        let counting = Arc::clone(&requests);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let requests = Arc::clone(&counting);
                thread::spawn(move || {
                    let _ = stream.set_nodelay(true);
                    let mut lines = BufReader::new(&stream).lines();
                    while let Some(response) = read_request(&mut lines).then(|| respond(&requests, faults)) {
                        let is_done = (&stream).write_all(response.as_bytes()).is_err() || faults.closes;
                        if is_done {
                            break;
                        }
                    }
                });
            }
        });
        Self { address, requests }
    }

    /// Counts the requests so far.
    pub(crate) fn count(&self) -> u64 {
        self.requests.lock().expect("no panic").count
    }
}

/// Reads a request. Returns whether it is complete.
fn read_request(lines: &mut impl Iterator<Item = std::io::Result<String>>) -> bool {
    let mut lines = lines.map_while(Result::ok);
    let is_get = lines.next().is_some_and(|line| line == "GET /page?x=1 HTTP/1.1");
    is_get && lines.any(|line| line.is_empty())
}

fn respond(requests: &Mutex<Requests>, faults: WebFaults) -> String {
    let mut requests = requests.lock().expect("no panic");
    requests.count += 1;
    let first = *requests.first.get_or_insert_with(Instant::now);
    if let Some((_, duration)) =
        faults.freeze.filter(|(after, _)| !requests.has_frozen && first.elapsed() >= *after)
    {
        requests.has_frozen = true;
        // This thread holds the lock, so no other request gets a response.
        thread::sleep(duration);
    }
    if faults.stalls_after.is_some_and(|after| requests.count > after) {
        drop(requests);
        thread::sleep(Duration::from_secs(600));
        return String::new();
    }
    let fails = faults.fails_every.is_some_and(|every| requests.count.is_multiple_of(every));
    let status = if fails { "503 Service Unavailable" } else { "200 OK" };
    format!("HTTP/1.1 {status}\r\ncontent-length: 5\r\n\r\nhello")
}
