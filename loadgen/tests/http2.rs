//! HTTP/2: several requests at a time on each connection.

mod support;

use std::convert::Infallible;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use support::program::{Outcome, loadgen};
use support::web::{WebFaults, WebServer};
use tokio::sync::Barrier;

/// How many requests must be in progress on a connection before the server
/// answers them.
const REQUESTS_AT_ONCE: usize = 2;

/// What the server has counted.
#[derive(Default)]
struct Counts {
    connections: AtomicUsize,
    requests: AtomicUsize,
}

/// Starts a server for HTTP/2 in plain text. It answers the first request of a
/// connection at once, and later ones in groups of [`REQUESTS_AT_ONCE`].
fn start() -> (SocketAddr, Arc<Counts>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let counts = Arc::new(Counts::default());
    let counted = Arc::clone(&counts);
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(serve(listener, counted));
    });
    (address, counts)
}

async fn serve(listener: TcpListener, counts: Arc<Counts>) {
    listener.set_nonblocking(true).expect("a socket");
    let listener = tokio::net::TcpListener::from_std(listener).expect("a socket");
    while let Ok((stream, _)) = listener.accept().await {
        counts.connections.fetch_add(1, Ordering::Relaxed);
        let counts = Arc::clone(&counts);
        let (of_connection, barrier) =
            (Arc::new(AtomicUsize::new(0)), Arc::new(Barrier::new(REQUESTS_AT_ONCE)));
        let service = service_fn(move |request: Request<_>| {
            let (counts, barrier) = (Arc::clone(&counts), Arc::clone(&barrier));
            let number = of_connection.fetch_add(1, Ordering::Relaxed);
            async move {
                let _: Request<hyper::body::Incoming> = request;
                counts.requests.fetch_add(1, Ordering::Relaxed);
                if number > 0 {
                    barrier.wait().await;
                }
                Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(b"hello"))))
            }
        });
        tokio::spawn(
            http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service),
        );
    }
}

fn run(address: SocketAddr, more: &[&str]) -> Outcome {
    let target = format!("http://{address}/page?x=1");
    let run = ["run", "--target", &target, "--json", "-", "--quiet", "--max-send-lag", "10s"];
    let load = ["--connections", "2", "--rate", "100", "--duration", "1s", "--ramp", "0s", "--drain", "1s"];
    loadgen(&[&run[..], &load, more].concat())
}

#[test]
fn a_connection_has_several_requests_in_progress() {
    let (address, counts) = start();
    let outcome = run(address, &["--http2", "--streams", "5", "--timeout", "30s"]);
    // An odd request at the end of a connection waits for one that never comes.
    let answered = outcome.count("/load/deliveries/delivered");
    assert!((96..=100).contains(&answered), "{}", outcome.stderr);
    assert_eq!(outcome.count("/load/deliveries/expected"), 100);
    assert_eq!(counts.connections.load(Ordering::Relaxed), 2);
    assert_eq!(counts.requests.load(Ordering::Relaxed), 102, "two requests are not measured");
    assert_eq!(outcome.count("/load/connections/joined"), 2);
    assert_eq!(outcome.count("/load/connections/lost"), 0);
    assert_eq!(outcome.count("/settings/http2_streams"), 5);
    assert!(outcome.stderr.contains("HTTP/2 with up to 5 requests each"), "{}", outcome.stderr);
}

#[test]
fn a_target_that_does_not_speak_http2_is_reported() {
    let server = WebServer::start(WebFaults::default());
    let outcome = run(server.address, &["--http2", "--timeout", "5s"]);
    assert_eq!(outcome.code, 2, "{}", outcome.stderr);
    let chat = loadgen(&["run", "--target", "127.0.0.1:1", "--http2"]);
    assert!(
        chat.code == 2 && chat.stderr.contains("--http2 needs a target such as http://"),
        "{}",
        chat.stderr
    );
    let streams = loadgen(&["run", "--target", "http://127.0.0.1:1/", "--streams", "3"]);
    assert!(streams.code == 2 && streams.stderr.contains("--http2"), "{}", streams.stderr);
}
