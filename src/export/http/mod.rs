//! The telemetry thread: an HTTP server that works while every worker is
//! blocked.

mod document;
mod findings;
mod guard;
mod listener;
mod live;
mod memory;
mod negotiation;
mod page;
mod polls;
mod query;
mod render;
mod response;
mod routes;
mod serve;
mod state;
mod stream;
#[cfg(stack_capture)]
mod tree;

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;
use std::{io, mem};

use axum::Router;
use prometheus::Registry;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;

use crate::error::StartError;
use crate::export::http::guard::AllowedHosts;
use crate::export::http::listener::Listener;
use crate::export::http::memory::DocumentMemory;
use crate::export::http::render::RenderLimits;
use crate::export::http::routes::router;
use crate::export::http::serve::{ConnectionLimits, serve};
use crate::export::http::state::{DOCUMENT_LIMITS, HandlerState, MAX_BLOCKING_THREADS};
use crate::export::source::Source;
use crate::owned_thread::OwnedThread;

/// The name of the thread in debuggers and `top`.
const THREAD_NAME: &str = "loopscope-http";

/// How long a thread that renders waits for another document. A thread that
/// ends gives back the memory that its allocator has cached.
const THREAD_KEEP_ALIVE: Duration = Duration::from_millis(500);

/// The running telemetry thread. Drop closes all connections, stops the thread
/// and waits for its end, which takes no noticeable time.
#[derive(Debug)]
pub(crate) struct Telemetry {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: OwnedThread,
    #[cfg(test)]
    document_memory: Arc<DocumentMemory>,
}

/// Binds `address` and serves the data of `source`. `/metrics` also contains
/// the metrics of the application's `registry`.
pub(crate) fn start(
    address: SocketAddr,
    source: Arc<dyn Source>,
    registry: Option<Registry>,
) -> Result<Telemetry, StartError> {
    start_with(address, source, registry, ServerLimits::default())
}

/// Limits on the resources that clients can use.
#[derive(Debug, Clone, Copy)]
struct ServerLimits {
    connections: ConnectionLimits,
    documents: RenderLimits,
}

impl Default for ServerLimits {
    fn default() -> Self {
        Self { connections: ConnectionLimits::default(), documents: DOCUMENT_LIMITS }
    }
}

fn start_with(
    address: SocketAddr,
    source: Arc<dyn Source>,
    registry: Option<Registry>,
    limits: ServerLimits,
) -> Result<Telemetry, StartError> {
    let (listener, address) =
        Listener::bind(address).map_err(|source| StartError::Bind { address, source })?;
    let allowed_hosts = allowed_hosts(address);
    let memory = Arc::new(DocumentMemory::default());
    let state = HandlerState::new(source, registry, limits.documents, Arc::clone(&memory));
    let router = router(state, allowed_hosts);
    #[cfg(test)]
    let document_memory = Arc::clone(&memory);
    let (stop, stopped) = oneshot::channel();
    let thread = runtime()
        .and_then(|runtime| {
            let run = move || run(runtime, listener, router, limits.connections, &memory, stopped);
            OwnedThread::spawn(THREAD_NAME, run)
        })
        .map_err(|source| StartError::Thread { name: THREAD_NAME, source })?;
    if allowed_hosts == AllowedHosts::Any {
        tracing::warn!(target: "loopscope", %address, "telemetry is served to other machines without authentication");
    }
    Ok(Telemetry {
        address,
        stop: Some(stop),
        thread,
        #[cfg(test)]
        document_memory,
    })
}

fn allowed_hosts(address: SocketAddr) -> AllowedHosts {
    if address.ip().to_canonical().is_loopback() { AllowedHosts::Local } else { AllowedHosts::Any }
}

/// Creates a runtime without loopscope's hooks, so that it causes no findings.
fn runtime() -> io::Result<Runtime> {
    Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .thread_name(THREAD_NAME)
        .max_blocking_threads(MAX_BLOCKING_THREADS)
        .thread_keep_alive(THREAD_KEEP_ALIVE)
        .build()
}

fn run(
    runtime: Runtime,
    listener: Listener<TcpListener>,
    router: Router,
    limits: ConnectionLimits,
    memory: &Arc<DocumentMemory>,
    stopped: oneshot::Receiver<()>,
) {
    runtime.block_on(async {
        match listener.into_async() {
            Ok(listener) => serve(listener.socket(), router, limits, memory, stopped).await,
            Err(error) => tracing::warn!(target: "loopscope", %error, "telemetry cannot be served"),
        }
    });
    // Closes the connections, but does not wait for a rendering or for a
    // collector that hangs.
    runtime.shutdown_background();
}

impl Telemetry {
    /// Returns the address that it listens on. If port 0 was requested, this is
    /// the port that the system chose.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Telemetry {
    fn drop(&mut self) {
        let Some(stop) = self.stop.take() else { return };
        if self.thread.is_of_this_process() {
            let _ = stop.send(());
        } else {
            // The parent process and its forked child share the descriptor that
            // would wake the parent's thread.
            mem::forget(stop);
        }
    }
}

#[cfg(test)]
mod tests;
