//! The telemetry thread under load: nothing waits for a rendering that does not
//! need it, and clients that do not read hold a limited amount of memory.

use std::sync::Condvar;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;
use std::time::SystemTime;

use super::*;
use crate::attach::document::PsDocument;
use crate::attach::error::AttachError;
use crate::export::http::stream::WriteLimits;
use crate::export::source::Source;
use crate::finding::Finding;
use crate::snapshot::{FlightRecording, RecordedPolls, Snapshot};

/// A source whose reads wait until the gate is open.
struct GatedSource {
    source: Arc<FakeSource>,
    gated: Gated,
    is_open: Mutex<bool>,
    opened: Condvar,
    waiting: AtomicUsize,
}

/// The reads that wait.
#[derive(PartialEq)]
enum Gated {
    /// All except that of the health.
    Everything,
    /// Only that of all findings.
    Findings,
    /// Only that of all tasks.
    TaskTree,
}

impl GatedSource {
    fn new(gated: Gated) -> Arc<Self> {
        let (is_open, waiting) = (Mutex::new(false), AtomicUsize::new(0));
        Arc::new(Self { source: FakeSource::new(), gated, is_open, opened: Condvar::new(), waiting })
    }

    fn open(&self) {
        *self.is_open.lock().unwrap() = true;
        self.opened.notify_all();
    }

    fn wait(&self, read: &Gated) {
        if self.gated == *read || self.gated == Gated::Everything {
            self.waiting.fetch_add(1, SeqCst);
            let is_open = self.is_open.lock().unwrap();
            drop(self.opened.wait_while(is_open, |is_open| !*is_open).unwrap());
        }
    }
}

impl Source for GatedSource {
    fn snapshot(&self) -> Snapshot {
        self.wait(&Gated::Everything);
        self.source.snapshot()
    }

    fn findings(&self) -> FindingsDocument {
        self.wait(&Gated::Findings);
        self.source.findings()
    }

    fn ended_findings(&self) -> Vec<Finding> {
        self.wait(&Gated::Everything);
        self.source.ended_findings()
    }

    fn stalls(&self, since: Option<SystemTime>) -> StallsDocument {
        self.wait(&Gated::Everything);
        self.source.stalls(since)
    }

    #[cfg(feature = "tokio-metrics")]
    fn runtimes(&self) -> Vec<(String, tokio::runtime::Handle)> {
        Vec::new()
    }

    fn flight(&self, length: Duration) -> FlightRecording {
        self.wait(&Gated::Everything);
        self.source.flight(length)
    }

    fn recorded_polls(&self, since: SystemTime) -> RecordedPolls {
        self.wait(&Gated::Everything);
        self.source.recorded_polls(since)
    }

    fn tasks_tree(&self, asking: &[u64]) -> Result<PsDocument, AttachError> {
        self.wait(&Gated::TaskTree);
        self.source.tasks_tree(asking)
    }

    fn health(&self) -> Health {
        self.source.health()
    }
}

/// Sends a request and does not read the response.
fn send(telemetry: &Telemetry, path: &str) -> TcpStream {
    let mut stream = connect(telemetry);
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    stream
}

fn wait_for(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + RESPONSE_TIMEOUT;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        thread::sleep(Duration::from_millis(2));
    }
}

fn status_of(mut stream: TcpStream) -> u16 {
    let mut response = Vec::new();
    stream.read_to_end(&mut response).unwrap();
    let status_line = String::from_utf8_lossy(&response[..20]).into_owned();
    status_line.split(' ').nth(1).unwrap().parse().unwrap()
}

#[test]
fn the_health_is_reported_while_every_rendering_hangs() {
    for path in DOCUMENTS {
        let source = GatedSource::new(Gated::Everything);
        let telemetry = start(LOOPBACK, source.clone(), None).unwrap();
        let client = send(&telemetry, path);
        wait_for("the rendering begins", || source.waiting.load(SeqCst) > 0);
        assert_eq!(get(&telemetry, "/healthz").status, 200, "{path}");
        source.open();
        assert_eq!(status_of(client), 200, "{path}");
    }
}

#[test]
fn metrics_are_served_while_documents_are_rendered() {
    let source = GatedSource::new(Gated::Findings);
    let telemetry = start(LOOPBACK, source.clone(), None).unwrap();
    let clients: Vec<_> = (1..10).map(|n| send(&telemetry, &format!("/findings?limit={n}"))).collect();
    let max = DOCUMENT_LIMITS.max_renderings;
    wait_for("all renderings begin", || source.waiting.load(SeqCst) == max);
    assert_eq!(get(&telemetry, "/metrics").status, 200);
    assert_eq!(source.waiting.load(SeqCst), max, "no more documents are rendered at a time");
    source.open();
    assert!(clients.into_iter().all(|client| status_of(client) == 200));
}

#[test]
fn other_documents_are_rendered_while_tasks_are_read_and_their_readers_share_one_reading() {
    let source = GatedSource::new(Gated::TaskTree);
    let telemetry = start(LOOPBACK, source.clone(), None).unwrap();
    let clients: Vec<_> = (0..10).map(|_| send(&telemetry, "/tasks?tree")).collect();
    wait_for("the reading begins", || source.waiting.load(SeqCst) > 0);
    for path in ["/healthz", "/metrics", "/live", "/tasks"] {
        assert_eq!(get(&telemetry, path).status, 200, "{path}");
    }
    source.open();
    assert!(clients.into_iter().all(|client| status_of(client) == 200));
    assert_eq!(source.waiting.load(SeqCst), 1, "one reading");
}

#[test]
fn a_request_that_waits_too_long_gets_503() {
    let source = GatedSource::new(Gated::Everything);
    let documents =
        RenderLimits { max_renderings: 1, queue_timeout: Duration::from_millis(50), ..DOCUMENT_LIMITS };
    let limits = ServerLimits { documents, ..ServerLimits::default() };
    let telemetry = start_with(LOOPBACK, source.clone(), None, limits).unwrap();
    let first = send(&telemetry, "/findings");
    wait_for("the rendering begins", || source.waiting.load(SeqCst) > 0);
    let second = get(&telemetry, "/stalls");
    assert_one_sentence(&second, 503);
    assert!(second.head.contains("\r\nretry-after: 1\r\n"), "{}", second.head);
    source.open();
    assert_eq!(status_of(first), 200);
    assert_eq!(get(&telemetry, "/stalls").status, 200);
}

#[test]
fn drop_does_not_wait_for_a_rendering() {
    let source = GatedSource::new(Gated::Everything);
    let telemetry = start(LOOPBACK, source.clone(), None).unwrap();
    let mut client = send(&telemetry, "/findings");
    wait_for("the rendering begins", || source.waiting.load(SeqCst) > 0);
    drop(telemetry);
    assert!(is_closed(&mut client));
    source.open();
}

/// Each client requests another document, and does not read it. The kernel
/// buffers a small part of a document.
#[test]
fn clients_that_do_not_read_hold_a_limited_amount_of_memory() {
    const DOCUMENT_BYTES: usize = 2 << 20;
    const MAX_HELD_BYTES: usize = 2 * DOCUMENT_BYTES;
    let source = FakeSource::new();
    source.findings.lock().unwrap().findings[0].advice = "x".repeat(DOCUMENT_BYTES);
    let timeout = Duration::from_millis(40);
    let connections = ConnectionLimits {
        write: WriteLimits { stall_timeout: timeout * 10, contended_timeout: timeout },
        ..ConnectionLimits::default()
    };
    let documents =
        RenderLimits { max_held_bytes: MAX_HELD_BYTES, queue_timeout: RESPONSE_TIMEOUT, ..DOCUMENT_LIMITS };
    let limits = ServerLimits { connections, documents };
    let telemetry = start_with(LOOPBACK, source, None, limits).unwrap();
    let memory = Arc::clone(&telemetry.document_memory);
    let silent: Vec<_> = (1..=24).map(|n| send(&telemetry, &format!("/findings?limit={n}"))).collect();

    let mut most_bytes = 0;
    let mut observe = || {
        most_bytes = most_bytes.max(memory.held_bytes());
        memory.held_bytes()
    };
    wait_for("clients hold documents", || observe() >= MAX_HELD_BYTES);
    thread::scope(|scope| {
        let reader = scope.spawn(|| get(&telemetry, "/findings"));
        wait_for("a client that reads gets its document", || {
            observe();
            reader.is_finished()
        });
        let response = reader.join().unwrap();
        assert!(response.status == 200 && response.body.len() > DOCUMENT_BYTES, "{}", response.status);
    });
    wait_for("all memory is given back", || observe() == 0);
    drop(silent);
    // Another rendering of each thread may end after the limit is reached.
    let max_bytes = MAX_HELD_BYTES + DOCUMENT_LIMITS.max_renderings * (DOCUMENT_BYTES + (64 << 10));
    assert!(most_bytes <= max_bytes, "{most_bytes} bytes");
}
