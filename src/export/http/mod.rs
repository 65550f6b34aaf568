//! The telemetry thread: answers while every worker is blocked.

mod findings;
mod guard;
mod live;
mod page;
mod routes;
mod serve;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use axum::Router;
use prometheus::Registry;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;

use crate::error::StartError;
use crate::export::http::guard::Hosts;
use crate::export::http::routes::router;
use crate::export::http::serve::{Limits, serve};
use crate::export::source::Source;

/// As debuggers and `top` show it.
const THREAD: &str = "loopscope-http";

/// The running telemetry thread. Dropping it closes every connection, ends the
/// thread and waits for that, which is at once.
#[derive(Debug)]
pub(crate) struct Telemetry {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// Binds `address` and serves what `source` knows, with the metrics of the
/// application's `registry` beside loopscope's own.
pub(crate) fn start(
    address: SocketAddr,
    source: Arc<dyn Source>,
    registry: Option<Registry>,
) -> Result<Telemetry, StartError> {
    start_with(address, source, registry, Limits::default())
}

fn start_with(
    address: SocketAddr,
    source: Arc<dyn Source>,
    registry: Option<Registry>,
    limits: Limits,
) -> Result<Telemetry, StartError> {
    let (listener, address) = bind(address).map_err(|source| StartError::Bind { address, source })?;
    let hosts = hosts(address);
    let router = router(source, registry, hosts);
    let (stop, stopped) = oneshot::channel();
    let thread = runtime()
        .and_then(|runtime| {
            let run = move || run(runtime, listener, router, limits, stopped);
            thread::Builder::new().name(THREAD.to_owned()).spawn(run)
        })
        .map_err(|source| StartError::Thread { name: THREAD, source })?;
    if hosts == Hosts::Any {
        tracing::warn!(target: "loopscope", %address, "telemetry is served to other machines, to anybody who asks");
    }
    Ok(Telemetry { address, stop: Some(stop), thread: Some(thread) })
}

fn bind(address: SocketAddr) -> io::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}

fn hosts(address: SocketAddr) -> Hosts {
    if address.ip().to_canonical().is_loopback() { Hosts::Local } else { Hosts::Any }
}

/// A runtime that nothing watches, so that it is never a finding itself.
fn runtime() -> io::Result<Runtime> {
    Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .thread_name(THREAD)
        .max_blocking_threads(4)
        .build()
}

fn run(
    runtime: Runtime,
    listener: TcpListener,
    router: Router,
    limits: Limits,
    stopped: oneshot::Receiver<()>,
) {
    runtime.block_on(async {
        match tokio::net::TcpListener::from_std(listener) {
            Ok(listener) => serve(listener, router, limits, stopped).await,
            Err(error) => tracing::warn!(target: "loopscope", %error, "telemetry cannot be served"),
        }
    });
    // Closes the connections, and does not wait for a collector that hangs.
    runtime.shutdown_background();
}

impl Telemetry {
    /// Where it listens: the real port where 0 was asked for.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Telemetry {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        // Dropped by the thread itself, with the last reference to the source:
        // it cannot wait for its own end.
        if let Some(thread) =
            self.thread.take().filter(|thread| thread.thread().id() != thread::current().id())
        {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests;
