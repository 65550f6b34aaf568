//! A small web server, wrong on demand.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// What the server does wrong.
#[derive(Clone, Copy, Default)]
pub(crate) struct Manners {
    /// Once, this long after the first request, for this long, nothing moves.
    pub(crate) freeze: Option<(Duration, Duration)>,
    /// Every connection ends with its first answer.
    pub(crate) closes: bool,
    /// From this request on there is no answer any more.
    pub(crate) stalls_after: Option<u64>,
    /// Every so many requests fail with 503.
    pub(crate) fails_every: Option<u64>,
}

/// A running server; its threads end with the test's process.
pub(crate) struct WebServer {
    pub(crate) address: SocketAddr,
    asked: Arc<Mutex<Asked>>,
}

#[derive(Default)]
struct Asked {
    count: u64,
    first: Option<Instant>,
    has_frozen: bool,
}

impl WebServer {
    pub(crate) fn start(manners: Manners) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let asked = Arc::new(Mutex::new(Asked::default()));
        let counting = Arc::clone(&asked);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let asked = Arc::clone(&counting);
                thread::spawn(move || {
                    let _ = stream.set_nodelay(true);
                    let mut lines = BufReader::new(&stream).lines();
                    while let Some(answer) = request(&mut lines).then(|| answer(&asked, manners)) {
                        let done = (&stream).write_all(answer.as_bytes()).is_err() || manners.closes;
                        if done {
                            break;
                        }
                    }
                });
            }
        });
        Self { address, asked }
    }

    /// How many requests have come.
    pub(crate) fn count(&self) -> u64 {
        self.asked.lock().expect("no panic").count
    }
}

/// Whether a whole request has come.
fn request(lines: &mut impl Iterator<Item = std::io::Result<String>>) -> bool {
    let mut lines = lines.map_while(Result::ok);
    let is_get = lines.next().is_some_and(|line| line == "GET /page?x=1 HTTP/1.1");
    is_get && lines.any(|line| line.is_empty())
}

fn answer(asked: &Mutex<Asked>, manners: Manners) -> String {
    let mut asked = asked.lock().expect("no panic");
    asked.count += 1;
    let first = *asked.first.get_or_insert_with(Instant::now);
    if let Some((_, length)) =
        manners.freeze.filter(|(after, _)| !asked.has_frozen && first.elapsed() >= *after)
    {
        asked.has_frozen = true;
        // Under the lock, so that nobody is answered.
        thread::sleep(length);
    }
    if manners.stalls_after.is_some_and(|after| asked.count > after) {
        drop(asked);
        thread::sleep(Duration::from_secs(600));
        return String::new();
    }
    let fails = manners.fails_every.is_some_and(|every| asked.count.is_multiple_of(every));
    let status = if fails { "503 Service Unavailable" } else { "200 OK" };
    format!("HTTP/1.1 {status}\r\ncontent-length: 5\r\n\r\nhello")
}
