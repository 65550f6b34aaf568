//! Serves connections over HTTP/1, with limits on their number, time and size.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use socket2::SockRef;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::AbortHandle;
use tokio::time::sleep;

use crate::export::http::memory::DocumentMemory;
use crate::export::http::stream::{ClientStream, WriteLimits};
use crate::lock::Lock;

/// The pause after a failed `accept`.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(50);

/// The size of the kernel's buffer for what a client has not read. By default,
/// Linux lets it grow to 4 MB for each client.
const SEND_BUFFER_BYTES: usize = 128 << 10;

/// Limits on the resources that clients can use.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ConnectionLimits {
    /// The number of open connections. At the limit, a new connection closes
    /// the one that has been silent for the longest time, so that silent
    /// clients cannot keep a scraper out. If less than half of them wait for a
    /// document, it closes none of these.
    pub(crate) max_connections: usize,
    /// The time that the server waits for a complete request head. This also
    /// limits how long a connection stays open between requests.
    pub(crate) head_timeout: Duration,
    /// The time from the start of one request to the start of the next. It
    /// includes the time that the client takes to read the response.
    pub(crate) silence_timeout: Duration,
    /// The time that a client may take to read a response.
    pub(crate) write: WriteLimits,
    /// The size of a request's head in bytes.
    pub(crate) max_head_bytes: usize,
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self {
            max_connections: 64,
            head_timeout: Duration::from_secs(20),
            silence_timeout: Duration::from_secs(60),
            write: WriteLimits {
                stall_timeout: Duration::from_secs(10),
                contended_timeout: Duration::from_secs(2),
            },
            max_head_bytes: 8 << 10,
        }
    }
}

/// Serves until `stop` is sent or dropped. The connections are closed when the
/// runtime is dropped.
pub(crate) async fn serve(
    listener: &TcpListener,
    router: Router,
    limits: ConnectionLimits,
    memory: &Arc<DocumentMemory>,
    mut stop: oneshot::Receiver<()>,
) {
    let mut connections = OpenConnections::new(limits.max_connections);
    loop {
        let accepted = tokio::select! {
            _ = &mut stop => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                // Each response is written at once; Nagle's algorithm would
                // only delay it.
                let _ = stream.set_nodelay(true);
                let _ = SockRef::from(&stream).set_send_buffer_size(SEND_BUFFER_BYTES);
                let stream = ClientStream::new(stream, limits.write, Arc::clone(memory));
                connections.admit(|activity| serve_connection(stream, router.clone(), limits, activity))
            }
            // For example, the process has no free file descriptor. The client
            // stays in the queue of the socket; an immediate retry would only
            // use CPU time.
            Err(_) => tokio::select! {
                _ = &mut stop => return,
                () = sleep(ACCEPT_RETRY_DELAY) => {}
            },
        }
    }
}

/// Serves one client until it disconnects, fails, or is silent for too long.
async fn serve_connection(
    stream: ClientStream,
    router: Router,
    limits: ConnectionLimits,
    activity: Arc<ClientActivity>,
) {
    let router = TowerToHyperService::new(router);
    let requests = Arc::clone(&activity);
    let service = service_fn(move |request: Request<Incoming>| {
        let waiting = WaitingClient::begin(Arc::clone(&requests));
        let response = router.call(request);
        async move {
            let response = response.await;
            drop(waiting);
            response
        }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head_timeout)
        .max_buf_size(limits.max_head_bytes)
        .serve_connection(TokioIo::new(stream), service);
    tokio::select! {
        // hyper answers an invalid request itself, so its errors need no
        // report.
        _ = served => {}
        () = activity.wait_for_silence(limits.silence_timeout) => {}
    }
}

/// The tasks of the open connections.
struct OpenConnections {
    max: usize,
    connections: Vec<(AbortHandle, Arc<ClientActivity>)>,
}

impl OpenConnections {
    fn new(max: usize) -> Self {
        Self { max, connections: Vec::with_capacity(max) }
    }

    /// Spawns the task that `serve` creates. At the limit, closes the
    /// connection that has been silent for the longest time. Connections that
    /// wait for a document are spared as long as they are the minority: those
    /// of clients that connect again and again have never been silent for long.
    /// But clients that all wait must not close each new connection.
    fn admit<F>(&mut self, serve: impl FnOnce(Arc<ClientActivity>) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.connections.retain(|(task, _)| !task.is_finished());
        if self.connections.len() >= self.max
            && let Some(longest_silent) = self.longest_silent()
        {
            self.connections.swap_remove(longest_silent).0.abort();
        }
        let activity = Arc::new(ClientActivity::new());
        let task = tokio::spawn(serve(Arc::clone(&activity)));
        self.connections.push((task.abort_handle(), activity));
    }

    /// Returns the index of the connection to close.
    fn longest_silent(&self) -> Option<usize> {
        let is_waiting = |index: &usize| self.connections[*index].1.is_waiting.load(Relaxed);
        let all = 0..self.connections.len();
        let are_spared = all.clone().filter(is_waiting).count() < self.max.div_ceil(2);
        all.filter(|index| !(are_spared && is_waiting(index)))
            .min_by_key(|index| *self.connections[*index].1.requested_at.lock())
    }
}

/// What a client does.
struct ClientActivity {
    /// When it last started a request, or connected.
    requested_at: Lock<Instant>,
    /// Whether it waits for the document of a request to be made.
    is_waiting: AtomicBool,
}

impl ClientActivity {
    fn new() -> Self {
        Self { requested_at: Lock::new(Instant::now()), is_waiting: AtomicBool::new(false) }
    }

    /// Returns the time since the last request.
    fn silence(&self) -> Duration {
        self.requested_at.lock().elapsed()
    }

    /// Waits until the client has been silent for `timeout`.
    async fn wait_for_silence(&self, timeout: Duration) {
        while let Some(remaining) = timeout.checked_sub(self.silence()).filter(|time| !time.is_zero()) {
            sleep(remaining).await;
        }
    }
}

/// A document is being made for a client. A connection has one request at a
/// time.
struct WaitingClient(Arc<ClientActivity>);

impl WaitingClient {
    fn begin(activity: Arc<ClientActivity>) -> Self {
        *activity.requested_at.lock() = Instant::now();
        activity.is_waiting.store(true, Relaxed);
        Self(activity)
    }
}

impl Drop for WaitingClient {
    fn drop(&mut self) {
        self.0.is_waiting.store(false, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;

    /// The connections of a server that allows four.
    struct Server {
        open: OpenConnections,
        activities: Vec<Arc<ClientActivity>>,
    }

    impl Server {
        fn new() -> Self {
            Self { open: OpenConnections::new(4), activities: Vec::new() }
        }

        fn connect(&mut self) -> Arc<ClientActivity> {
            self.open.admit(|activity| {
                self.activities.push(activity);
                pending()
            });
            Arc::clone(&self.activities[self.activities.len() - 1])
        }

        fn has(&self, activity: &Arc<ClientActivity>) -> bool {
            self.open.connections.iter().any(|(_, open)| Arc::ptr_eq(open, activity))
        }
    }

    #[tokio::test]
    async fn clients_that_connect_again_and_again_close_no_connection_that_waits() {
        let mut server = Server::new();
        let waiting = WaitingClient::begin(server.connect());
        let others: Vec<_> = (0..20).map(|_| server.connect()).collect();
        assert!(server.has(&waiting.0));
        assert_eq!(others.iter().filter(|activity| server.has(activity)).count(), 3);
    }

    #[tokio::test]
    async fn clients_that_all_wait_close_no_new_connection() {
        let mut server = Server::new();
        let waiting: Vec<_> = (0..3).map(|_| WaitingClient::begin(server.connect())).collect();
        let [first, second] = [server.connect(), server.connect()];
        assert!(server.has(&first) && server.has(&second));
        assert!(!server.has(&waiting[0].0), "it waits for the longest time");
    }
}
