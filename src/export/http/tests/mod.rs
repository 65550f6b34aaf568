//! Tests every route and every limit over real sockets.

mod encodings;
mod load;
mod tree;

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::sync::Mutex;
use std::thread;
use std::time::Instant;

use prometheus::IntCounter;

use super::*;
use crate::export::fake::FakeSource;
use crate::export::metrics::catalogue;
use crate::export::metrics::prometheus::Collector;
use crate::export::source::Health;
use crate::finding::{FindingsDocument, StallsDocument};

const LOOPBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// Much longer than a response takes, even on a busy machine.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(20);

/// All documents but the page and the health.
const DOCUMENTS: [&str; 14] = [
    "/findings",
    "/findings.txt",
    "/findings/sleep-5f3a",
    "/findings.sarif",
    "/profile.folded",
    "/profile.svg",
    "/profile.pb.gz",
    "/stalls",
    "/polls",
    "/tasks",
    "/tasks?tree",
    "/trace",
    "/live",
    "/metrics",
];

struct Response {
    status: u16,
    head: String,
    body: String,
}

fn start_server() -> (Telemetry, Arc<FakeSource>) {
    let source = FakeSource::new();
    (start(LOOPBACK, source.clone(), None).unwrap(), source)
}

fn start_server_with(connections: ConnectionLimits) -> Telemetry {
    let limits = ServerLimits { connections, ..ServerLimits::default() };
    start_with(LOOPBACK, FakeSource::new(), None, limits).unwrap()
}

fn connect(telemetry: &Telemetry) -> TcpStream {
    let stream = TcpStream::connect(telemetry.address()).unwrap();
    stream.set_read_timeout(Some(RESPONSE_TIMEOUT)).unwrap();
    stream
}

/// Sends `request` unchanged and reads until the server closes the connection.
fn exchange(telemetry: &Telemetry, request: &str) -> Response {
    let (status, head, body) = exchange_bytes(telemetry, request);
    Response { status, head, body: String::from_utf8(body).unwrap() }
}

/// Does the same. Returns the status, the head in lower case, and the body.
fn exchange_bytes(telemetry: &Telemetry, request: &str) -> (u16, String, Vec<u8>) {
    let mut stream = connect(telemetry);
    stream.write_all(request.as_bytes()).unwrap();
    let mut bytes = Vec::new();
    // A server that rejects a request early may reset the connection, because
    // it has not read the whole request.
    match stream.read_to_end(&mut bytes) {
        Err(error) if error.kind() != ErrorKind::ConnectionReset => panic!("{error}"),
        _ => {}
    }
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").expect("a response head") + 4;
    let body = bytes.split_off(end);
    let head = String::from_utf8(bytes).unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, head.to_ascii_lowercase(), body)
}

fn request(telemetry: &Telemetry, method: &str, path: &str, host: &str) -> Response {
    let request = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    exchange(telemetry, &request)
}

fn get(telemetry: &Telemetry, path: &str) -> Response {
    request(telemetry, "GET", path, &telemetry.address().to_string())
}

/// Waits until the server has closed `stream`. Returns false if it does not.
fn is_closed(stream: &mut TcpStream) -> bool {
    match stream.read(&mut [0; 1_024]) {
        Ok(read) => read == 0 || is_closed(stream),
        Err(error) => error.kind() == ErrorKind::ConnectionReset,
    }
}

#[track_caller]
fn assert_one_sentence(response: &Response, status: u16) {
    assert_eq!(response.status, status, "{}", response.body);
    assert!(response.body.ends_with(".\n"), "{:?}", response.body);
    assert_eq!(response.body.lines().count(), 1, "{:?}", response.body);
}

#[test]
fn metrics_contain_the_whole_catalogue() {
    let (telemetry, _) = start_server();
    let response = get(&telemetry, "/metrics");
    assert_eq!(response.status, 200);
    assert!(response.head.contains("\r\ncontent-type: text/plain; version=0.0.4; charset=utf-8"));
    assert!(response.body.contains("\nloopscope_longest_active_poll_seconds 1.213\n"));
    for metric in catalogue::ALL {
        assert!(response.body.contains(&format!("# TYPE {} ", metric.name)), "{}", metric.name);
    }
}

#[test]
fn application_metrics_follow_and_no_metric_occurs_twice() {
    let source = FakeSource::new();
    let registry = Registry::new();
    let counter = IntCounter::new("chat_messages_total", "Messages.").unwrap();
    counter.inc_by(42);
    registry.register(Box::new(counter)).unwrap();
    registry.register(Box::new(Collector::new(source.clone()))).unwrap();
    let telemetry = start(LOOPBACK, source, Some(registry)).unwrap();
    let body = get(&telemetry, "/metrics").body;
    assert!(body.ends_with("\nchat_messages_total 42\n"), "{body}");
    assert_eq!(body.matches("# TYPE loopscope_workers gauge").count(), 1);
}

/// The application's collectors must not prevent loopscope's own metrics from
/// being served.
#[test]
fn a_collector_that_hangs_or_panics_is_omitted() {
    struct FaultyCollector(Collector, Arc<Mutex<()>>);
    impl prometheus::core::Collector for FaultyCollector {
        fn desc(&self) -> Vec<&prometheus::core::Desc> {
            self.0.desc()
        }
        fn collect(&self) -> Vec<prometheus::proto::MetricFamily> {
            drop(self.1.lock().unwrap());
            self.0.collect()
        }
    }
    let lock = Arc::new(Mutex::new(()));
    let registry = Registry::new();
    registry.register(Box::new(FaultyCollector(Collector::new(FakeSource::new()), lock.clone()))).unwrap();
    let telemetry = start(LOOPBACK, FakeSource::new(), Some(registry)).unwrap();

    let held_lock = lock.lock().unwrap();
    let comments = ["were not collected within 1 s.\n", "are still being collected for an earlier scrape.\n"];
    for comment in comments {
        let body = get(&telemetry, "/metrics").body;
        assert!(body.starts_with("# HELP loopscope_"), "{body}");
        assert!(body.ends_with(&format!("\n# The application's own metrics {comment}")), "{body}");
    }
    drop(held_lock);
    let _ = thread::spawn(move || {
        let _poison = lock.lock().unwrap();
        panic!("intended: poisons the lock, so that the collector panics");
    })
    .join();
    let deadline = Instant::now() + RESPONSE_TIMEOUT;
    while !get(&telemetry, "/metrics").body.ends_with("could not be collected: a collector panicked.\n") {
        assert!(Instant::now() < deadline);
    }
}

#[test]
fn findings_are_served_as_json_and_as_text() {
    let (telemetry, source) = start_server();
    let response = get(&telemetry, "/findings");
    assert_eq!(response.status, 200);
    assert!(response.head.contains("\r\ncontent-type: application/json"));
    let document: FindingsDocument = serde_json::from_str(&response.body).unwrap();
    assert_eq!(document, source.findings());

    let text = get(&telemetry, "/findings.txt");
    assert_eq!(text.status, 200);
    assert!(text.head.contains("\r\ncontent-type: text/plain; charset=utf-8"));
    assert_eq!(text.body, crate::report::diagnostics(&source.findings(), false));
}

#[test]
fn findings_have_colours_only_on_request() {
    let (telemetry, source) = start_server();
    let text = get(&telemetry, "/findings.txt?color=true").body;
    assert_eq!(text, crate::report::diagnostics(&source.findings(), true));
    assert!(text.contains("\u{1b}["));
    assert!(!get(&telemetry, "/findings.txt?color=false").body.contains('\u{1b}'));
    for query in ["color=red", "colour=true", "color"] {
        assert_one_sentence(&get(&telemetry, &format!("/findings.txt?{query}")), 400);
    }
}

#[test]
fn one_finding_is_served_as_json_and_as_text() {
    let (telemetry, source) = start_server();
    let finding = &source.findings().findings[0];
    let json = get(&telemetry, &format!("/findings/{}", finding.id));
    let document: serde_json::Value = serde_json::from_str(&json.body).unwrap();
    assert_eq!(document["schema"], "loopscope.finding/1");
    assert_eq!(document["finding"], serde_json::to_value(finding).unwrap());
    assert!(document["source"].is_null(), "the source file does not exist");
    let text = get(&telemetry, &format!("/findings/{}.txt", finding.id));
    assert_eq!(text.body, crate::report::diagnostic(finding, false));
    for absent in ["no-such-id", "..%2f..%2fetc%2fpasswd", "%ff"] {
        let response = get(&telemetry, &format!("/findings/{absent}"));
        assert!([400, 404].contains(&response.status), "{absent}: {}", response.status);
    }
}

#[test]
fn findings_can_be_limited() {
    let (telemetry, _) = start_server();
    for (query, expected) in
        [("?cause=sleep&limit=1", 1), ("?cause=lock", 0), ("?since=2554-01-01T00:00:00Z", 0)]
    {
        let json: FindingsDocument =
            serde_json::from_str(&get(&telemetry, &format!("/findings{query}")).body).unwrap();
        assert_eq!(json.findings.len(), expected, "{query}");
        for route in ["/findings.txt", "/findings.sarif"] {
            let response = get(&telemetry, &format!("{route}{query}"));
            assert_eq!(response.status, 200, "{route}{query}");
            assert_eq!(
                response.body.contains("src/flood.rs"),
                expected == 1,
                "{route}{query}: {}",
                response.body
            );
        }
    }
    for route in ["/findings", "/findings.txt", "/findings.sarif"] {
        for query in
            ["cause=sleeping", "since=yesterday", "limit=0", "limit=1&limit=2", "last=1", "cause=%ff"]
        {
            assert_one_sentence(&get(&telemetry, &format!("{route}?{query}")), 400);
        }
    }
}

/// `/live` and `/tasks` contain the data that the live page shows. Their worker
/// labels are those of `/stalls`.
#[test]
fn live_and_tasks_contain_the_snapshot() {
    let (telemetry, source) = start_server();
    let live: serde_json::Value = serde_json::from_str(&get(&telemetry, "/live?since=1.6").body).unwrap();
    assert_eq!(live["schema"], "loopscope.live/1");
    assert_eq!(live["stalls"].as_array().unwrap().len(), 1);
    assert_eq!(live["workers"][0]["label"], "api/0", "the label contains the name of the runtime");
    assert_eq!(live["findings"][0]["site"], "src/flood.rs:31");
    assert!(live["findings"][0]["stack"].is_null(), "the page requests stacks separately");
    assert_eq!(live["scope_start_unix_ns"], 500_000_000, "the page divides by the age of the scope");
    let split = source.findings().findings[0].split;
    assert_eq!(live["findings"][0]["split"]["off_cpu_seconds"], split.off_cpu.as_secs_f64());
    let tasks: serde_json::Value = serde_json::from_str(&get(&telemetry, "/tasks").body).unwrap();
    assert_eq!(tasks["schema"], "loopscope.tasks/1");
    assert_eq!(tasks["kinds"], live["tasks"]["kinds"]);
    let kind = &source.snapshot().kinds[0];
    assert_eq!(tasks["kinds"][0]["alive"], kind.alive());
    assert_eq!(tasks["kinds"][0]["poll"]["count"], kind.poll_time.count);
    assert_one_sentence(&get(&telemetry, "/live?since=yesterday"), 400);
}

#[test]
fn clients_that_accept_openmetrics_get_it() {
    let (telemetry, _) = start_server();
    let request = "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
                   Accept: application/openmetrics-text;version=1.0.0\r\n\r\n";
    let response = exchange(&telemetry, request);
    assert!(
        response
            .head
            .contains("\r\ncontent-type: application/openmetrics-text; version=1.0.0; charset=utf-8")
    );
    assert!(response.body.ends_with("\n# EOF\n"));
    assert!(
        response
            .body
            .contains("\n# TYPE loopscope_starved_seconds counter\nloopscope_starved_seconds_total ")
    );
}

#[test]
fn stalls_can_be_limited_by_time() {
    let (telemetry, _) = start_server();
    for (query, expected) in [("", 2), ("?since=0", 2), ("?since=1.6", 1), ("?since=3e0", 0)] {
        let response = get(&telemetry, &format!("/stalls{query}"));
        assert_eq!(response.status, 200, "{query}");
        let document: StallsDocument = serde_json::from_str(&response.body).unwrap();
        assert_eq!(document.stalls.len(), expected, "{query}");
    }
    for query in ["?since=yesterday", "?since=", "?since=-1", "?since=nan", "?until=1", "?since=%ff"] {
        assert_one_sentence(&get(&telemetry, &format!("/stalls{query}")), 400);
    }
}

#[test]
fn polls_of_a_range_are_served() {
    let (telemetry, _) = start_server();
    let response = get(&telemetry, "/polls?from=1&to=2&columns=4");
    let polls: serde_json::Value = serde_json::from_str(&response.body).unwrap();
    let row = &polls["workers"][0];
    assert_eq!(row["busy_shares"], serde_json::json!([1.0, 1.0, 0.0, 0.0]));
    assert_eq!(row["polls"], serde_json::json!([[0, 500_000_000, 1]]));
    assert_eq!(row["complete_since_unix_ns"], 1_000_000_000);
    for wrong in ["/polls?from=2&to=1", "/polls?columns=0", "/polls?since=1"] {
        assert_one_sentence(&get(&telemetry, wrong), 400);
    }
}

#[test]
fn healthz_reports_that_all_workers_are_blocked() {
    let (telemetry, source) = start_server();
    let healthy = get(&telemetry, "/healthz");
    assert_eq!((healthy.status, healthy.body.as_str()), (200, "ok\n"));

    let longest = Duration::from_millis(1_213);
    *source.health.lock().unwrap() = Health::AllWorkersBlocked { workers: 4, longest };
    let blocked = get(&telemetry, "/healthz");
    assert_one_sentence(&blocked, 503);
    assert_eq!(blocked.body, "Every worker is blocked (4 of 4); the longest poll has lasted 1.213 s.\n");

    *source.health.lock().unwrap() = Health::Starved { workers: 4, longest };
    let starved = get(&telemetry, "/healthz");
    assert_eq!(starved.status, 200);
    assert!(
        starved.body.starts_with("Starved: every worker is in a long poll (4 of 4), "),
        "{}",
        starved.body
    );
}

#[test]
fn the_links_of_the_live_page_are_valid() {
    let (telemetry, _) = start_server();
    let index = get(&telemetry, "/");
    assert_eq!(index.status, 200);
    assert!(index.head.contains("\r\ncontent-type: text/html; charset=utf-8"));
    let footer = index.body.split_once("<footer>").unwrap().1.split_once("</footer>").unwrap().0;
    let links: Vec<_> = footer.split("href=\"").skip(1).map(|rest| rest.split('"').next().unwrap()).collect();
    let tools = ["trace", "profile.pb.gz", "profile.folded", "findings.sarif", "metrics"];
    assert!(tools.iter().all(|tool| links.contains(tool)), "{links:?}");
    for link in links {
        assert_eq!(request(&telemetry, "HEAD", &format!("/{link}"), "localhost").status, 200, "{link}");
    }
}

#[test]
fn responses_to_head_have_no_body() {
    let (telemetry, _) = start_server();
    for path in DOCUMENTS.into_iter().chain(["/", "/healthz"]) {
        let response = request(&telemetry, "HEAD", path, "localhost");
        assert_eq!((response.status, response.body.as_str()), (200, ""), "{path}");
    }
}

#[test]
fn findings_are_served_in_the_formats_of_other_tools() {
    let (telemetry, _) = start_server();
    assert!(get(&telemetry, "/findings.sarif").body.contains("\"version\":\"2.1.0\""));
    assert!(get(&telemetry, "/profile.folded").body.contains(";chat::flood::throttle (src/flood.rs:31);"));
    assert!(get(&telemetry, "/trace").body.contains("\"traceEvents\""));
    assert_eq!(get(&telemetry, "/trace?seconds=2.5").status, 200);
    for query in ["seconds=0", "seconds=-1", "seconds=1e6", "seconds=soon", "since=1"] {
        assert_one_sentence(&get(&telemetry, &format!("/trace?{query}")), 400);
    }
    let flame_graph = get(&telemetry, "/profile.svg");
    assert!(flame_graph.body.contains("chat::flood::throttle"));
    assert_eq!(flame_graph.head.matches("content-security-policy").count(), 1, "{}", flame_graph.head);
    assert!(flame_graph.head.contains("sandbox allow-scripts"), "{}", flame_graph.head);
}

#[test]
fn unknown_paths_and_methods_get_one_sentence() {
    let (telemetry, _) = start_server();
    assert_one_sentence(&get(&telemetry, "/nonsense"), 404);
    assert_one_sentence(&get(&telemetry, "/findings/../../etc/passwd"), 404);
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"] {
        let response = request(&telemetry, method, "/findings", "localhost");
        assert_one_sentence(&response, 405);
        assert!(response.head.contains("\r\nallow: get,head"), "{}", response.head);
    }
}

#[test]
fn all_responses_have_the_security_headers() {
    let (telemetry, _) = start_server();
    let responses = [
        (200, get(&telemetry, "/")),
        (200, get(&telemetry, "/healthz")),
        (200, get(&telemetry, "/profile.svg")),
        (204, get(&telemetry, "/favicon.ico")),
        (404, get(&telemetry, "/no")),
        (405, request(&telemetry, "POST", "/", "localhost")),
        (403, request(&telemetry, "GET", "/", "evil.example")),
        // hyper writes these itself.
        (400, exchange(&telemetry, "PING :irc\r\n\r\n")),
        (431, request(&telemetry, "GET", "/", &"x".repeat(10_000))),
    ];
    for (status, response) in responses {
        assert_eq!(response.status, status);
        for header in [
            "cache-control: no-store",
            "content-security-policy: default-src 'none'",
            "cross-origin-resource-policy: same-origin",
            "referrer-policy: no-referrer",
            "x-content-type-options: nosniff",
        ] {
            assert_eq!(response.head.matches(header).count(), 1, "{header}: {}", response.head);
        }
        if status >= 400 {
            assert_one_sentence(&response, status);
        }
        assert!(!response.head.contains("access-control"), "{}", response.head);
    }
}

#[test]
fn a_loopback_server_rejects_foreign_host_names() {
    let (telemetry, _) = start_server();
    for host in ["evil.example", "evil.example:9464", "localhost.evil.example", "a@localhost", ""] {
        assert_one_sentence(&request(&telemetry, "GET", "/findings", host), 403);
    }
    assert_one_sentence(&request(&telemetry, "GET", "http://evil.example/findings", "localhost"), 403);
    for host in ["localhost", "127.0.0.1:1", "[::1]:9464", "localhost.", "chat.localhost:9464"] {
        assert_eq!(request(&telemetry, "GET", "/findings", host).status, 200, "{host}");
    }
}

/// Clients on other machines may use any name for the server.
#[test]
fn a_server_for_other_machines_accepts_any_host_name() {
    let any = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0);
    let mut telemetry = start(any, FakeSource::new(), None).unwrap();
    telemetry.address.set_ip(Ipv4Addr::LOCALHOST.into());
    assert_eq!(request(&telemetry, "GET", "/healthz", "chat.internal:9464").status, 200);
}

/// A server on a loopback address logs nothing.
#[test]
fn a_server_for_other_machines_logs_a_warning() {
    let logged = |ip: Ipv4Addr| {
        let log = Arc::new(Mutex::new(Vec::new()));
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_ansi(false)
            .with_writer(move || -> Box<dyn Write> { Box::new(SharedLog(writer.clone())) })
            .finish();
        tracing::subscriber::with_default(subscriber, || {
            drop(start(SocketAddr::new(ip.into(), 0), FakeSource::new(), None).unwrap());
        });
        String::from_utf8(log.lock().unwrap().clone()).unwrap()
    };
    struct SharedLog(Arc<Mutex<Vec<u8>>>);
    impl Write for SharedLog {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let warning = logged(Ipv4Addr::UNSPECIFIED);
    assert!(warning.contains("WARN") && warning.contains("without authentication"), "{warning:?}");
    assert_eq!(logged(Ipv4Addr::LOCALHOST), "");
}

#[test]
fn requests_that_are_too_large_are_rejected() {
    let (telemetry, _) = start_server();
    let long = "x".repeat(100_000);
    assert_eq!(request(&telemetry, "GET", "/", &long).status, 431);
    assert!([414, 431].contains(&request(&telemetry, "GET", &format!("/{long}"), "localhost").status));
    let body = "GET /findings HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000000\r\n\r\n";
    assert_one_sentence(&exchange(&telemetry, body), 413);
}

#[test]
fn invalid_requests_are_answered_and_affect_no_other_client() {
    let (telemetry, _) = start_server();
    assert_eq!(exchange(&telemetry, "\0\u{1}\u{2}\r\n\r\n").status, 400);
    assert_eq!(exchange(&telemetry, "PING :irc\r\n\r\n").status, 400);
    assert_eq!(get(&telemetry, "/healthz").status, 200);
}

#[test]
fn a_client_that_sends_its_head_slowly_is_disconnected_and_delays_no_other_client() {
    let telemetry = start_server_with(ConnectionLimits {
        head_timeout: Duration::from_millis(300),
        ..ConnectionLimits::default()
    });
    let mut slow = connect(&telemetry);
    let start_time = Instant::now();
    slow.write_all(b"GET / HTTP/1.1\r\n").unwrap();
    assert_eq!(get(&telemetry, "/healthz").status, 200);
    while slow.write_all(b"X-A: b\r\n").is_ok() {
        assert!(start_time.elapsed() < RESPONSE_TIMEOUT, "the connection is still open");
        thread::sleep(Duration::from_millis(50));
    }
    assert!(start_time.elapsed() >= Duration::from_millis(300));
    assert_eq!(get(&telemetry, "/healthz").status, 200);
}

#[test]
fn a_silent_client_is_disconnected() {
    let telemetry = start_server_with(ConnectionLimits {
        silence_timeout: Duration::from_millis(200),
        ..ConnectionLimits::default()
    });
    let mut idle = connect(&telemetry);
    idle.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    assert!(is_closed(&mut idle));
}

#[test]
fn idle_connections_do_not_prevent_a_scrape() {
    let (telemetry, _) = start_server();
    let mut idle: Vec<_> = (0..100).map(|_| connect(&telemetry)).collect();
    assert_eq!(get(&telemetry, "/metrics").status, 200);
    // Of the 101 connections the server closed 37, the oldest first.
    assert!(idle[..30].iter_mut().all(is_closed));
    assert_eq!(get(&telemetry, "/metrics").status, 200);
}

/// Opens 1,000 connections, or as many as this process may open. Client and
/// server are in this process, so each connection uses two file descriptors.
#[test]
fn a_thousand_slow_clients_delay_no_other_client() {
    let (telemetry, _) = start_server();
    let mut slow = Vec::new();
    while slow.len() < 1_000 {
        let Ok(mut stream) = TcpStream::connect(telemetry.address()) else { break };
        // Fails if the server has already closed this connection.
        let _ = stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: local");
        slow.push(stream);
        if slow.len() % 100 == 0 {
            let start_time = Instant::now();
            assert_eq!(get(&telemetry, "/healthz").status, 200);
            assert!(
                start_time.elapsed() < Duration::from_secs(2),
                "{:?} with {} slow clients",
                start_time.elapsed(),
                slow.len()
            );
        }
    }
    assert!(slow.len() >= 400, "{} connections are too few for this test", slow.len());
    // Frees file descriptors for the next request.
    slow.truncate(400);
    assert_eq!(get(&telemetry, "/metrics").status, 200);
}

#[test]
fn one_connection_serves_several_requests() {
    let (telemetry, _) = start_server();
    let mut stream = connect(&telemetry);
    for _ in 0..3 {
        stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        let mut bytes = Vec::new();
        while !bytes.ends_with(b"\r\n\r\nok\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            bytes.push(byte[0]);
        }
    }
}

#[test]
fn drop_closes_all_connections_at_once() {
    let (telemetry, _) = start_server();
    let address = telemetry.address();
    let mut open: Vec<_> = (0..10).map(|_| connect(&telemetry)).collect();
    open[0].write_all(b"GET / HT").unwrap();
    assert_eq!(get(&telemetry, "/healthz").status, 200);
    let start_time = Instant::now();
    drop(telemetry);
    assert!(start_time.elapsed() < Duration::from_secs(2), "{:?}", start_time.elapsed());
    assert!(open.iter_mut().all(is_closed));
    assert!(TcpStream::connect(address).is_err());
}

#[test]
fn a_port_in_use_is_an_error() {
    let (telemetry, _) = start_server();
    let error = start(telemetry.address(), FakeSource::new(), None).unwrap_err();
    assert!(matches!(&error, StartError::Bind { address, source }
        if *address == telemetry.address() && source.kind() == ErrorKind::AddrInUse));
    assert!(error.to_string().contains(&telemetry.address().to_string()), "{error}");
    let chain = format!("{:?}", anyhow::Error::from(error));
    assert_eq!(chain.matches("Address already in use").count(), 1, "{chain}");
}
