//! Connections over HTTP/1, bounded in number, time and size.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::AbortHandle;
use tokio::time::sleep;

use crate::lock::Lock;

/// How much the clients may take together.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Connections at a time. One more closes that which has been silent for
    /// the longest, so that no number of silent ones keeps a scraper out.
    pub(crate) connections: usize,
    /// From the readiness for a request to the end of its head. Also bounds how
    /// long a connection may be kept open between requests.
    pub(crate) head_time: Duration,
    /// From the begin of a request to that of the next, with the time that the
    /// client takes to read the response.
    pub(crate) silence: Duration,
    /// The size of a request's head in bytes.
    pub(crate) head_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 64,
            head_time: Duration::from_secs(20),
            silence: Duration::from_secs(60),
            head_bytes: 8 << 10,
        }
    }
}

/// Serves until `stop` is sent or dropped. The connections are dropped with
/// the runtime.
pub(crate) async fn serve(
    listener: TcpListener,
    router: Router,
    limits: Limits,
    mut stop: oneshot::Receiver<()>,
) {
    let mut connections = Connections::new(limits.connections);
    loop {
        let accepted = tokio::select! {
            _ = &mut stop => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                connections.admit(|activity| connection(stream, router.clone(), limits, activity))
            }
            // Out of descriptors, say. The client stays in the queue; to ask
            // again at once would only burn the CPU.
            Err(_) => tokio::select! {
                _ = &mut stop => return,
                () = sleep(Duration::from_millis(50)) => {}
            },
        }
    }
}

/// One client, until it leaves, errs or falls silent.
async fn connection(stream: TcpStream, router: Router, limits: Limits, activity: Arc<Activity>) {
    // Responses go out whole; waiting for more would only delay them.
    let _ = stream.set_nodelay(true);
    let router = TowerToHyperService::new(router);
    let requests = Arc::clone(&activity);
    let service = service_fn(move |request: Request<Incoming>| {
        requests.touch();
        router.call(request)
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head_time)
        .max_buf_size(limits.head_bytes)
        .serve_connection(TokioIo::new(stream), service);
    tokio::select! {
        // What a client does wrong is answered to it and concerns nobody else.
        _ = served => {}
        () = activity.silent_for(limits.silence) => {}
    }
}

/// The connections that are open.
struct Connections {
    limit: usize,
    open: Vec<(AbortHandle, Arc<Activity>)>,
}

impl Connections {
    fn new(limit: usize) -> Self {
        Self { limit, open: Vec::with_capacity(limit) }
    }

    /// Starts what `serve` makes, and closes another one if there are too many.
    fn admit<F>(&mut self, serve: impl FnOnce(Arc<Activity>) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.open.retain(|(task, _)| !task.is_finished());
        if self.open.len() >= self.limit
            && let Some(silent) = (0..self.open.len()).max_by_key(|n| self.open[*n].1.silence())
        {
            self.open.swap_remove(silent).0.abort();
        }
        let activity = Arc::new(Activity::now());
        let task = tokio::spawn(serve(Arc::clone(&activity)));
        self.open.push((task.abort_handle(), activity));
    }
}

/// When a client last began a request, or came.
struct Activity(Lock<Instant>);

impl Activity {
    fn now() -> Self {
        Self(Lock::new(Instant::now()))
    }

    fn touch(&self) {
        *self.0.lock() = Instant::now();
    }

    fn silence(&self) -> Duration {
        self.0.lock().elapsed()
    }

    /// Returns once the client has been silent for `limit`.
    async fn silent_for(&self, limit: Duration) {
        while let Some(rest) = limit.checked_sub(self.silence()).filter(|rest| !rest.is_zero()) {
            sleep(rest).await;
        }
    }
}
