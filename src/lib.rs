//! Stub while the library is being built; the signatures are final.
#![allow(missing_docs, missing_debug_implementations, unused_variables)]
use std::{future::Future, net::SocketAddr, pin::Pin, task::{Context, Poll}, time::Duration};
mod error;
mod finding;
#[path = "record/snapshot.rs"]
mod snapshot;
pub use error::StartError;
pub use finding::*;
pub use snapshot::*;

/// When findings are drawn on stderr.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Terminal { /** if stderr is a terminal */ #[default] Auto, Always, Never }

#[derive(Default)]
pub struct Builder { telemetry: Option<SocketAddr> }
impl Builder {
    #[must_use] pub fn blocking_threshold(self, threshold: Duration) -> Self { self }
    #[must_use] pub fn terminal(self, terminal: Terminal) -> Self { self }
    #[must_use] pub fn on_finding(self, callback: impl Fn(&Finding) + Send + Sync + 'static) -> Self { self }
    /// feature `telemetry`
    #[must_use] pub fn telemetry(mut self, address: SocketAddr) -> Self { self.telemetry = Some(address); self }
    /// feature `prometheus`: the application's own registry, whose metrics the telemetry thread's /metrics shows too
    #[cfg(feature = "prometheus")]
    #[must_use] pub fn registry(self, registry: prometheus::Registry) -> Self { self }
    pub fn start(self) -> Result<Scope, StartError> { Ok(Scope { telemetry: self.telemetry }) }
}
/// Dropping it stops and joins the threads at once; hooks go inert.
pub struct Scope { telemetry: Option<SocketAddr> }
impl Scope {
    #[must_use] pub fn builder() -> Builder { Builder::default() }
    /// sets the hooks on a tokio builder
    pub fn watch<'b>(&self, builder: &'b mut tokio::runtime::Builder) -> &'b mut tokio::runtime::Builder { builder }
    pub fn block_on<F: Future>(&self, runtime: &tokio::runtime::Runtime, future: F) -> F::Output { runtime.block_on(future) }
    /// where the telemetry thread listens (the real port where 0 was asked for)
    #[must_use] pub fn telemetry_address(&self) -> Option<SocketAddr> { self.telemetry }
    #[must_use] pub fn findings(&self) -> FindingsDocument { unimplemented!() }
    #[must_use] pub fn snapshot(&self) -> Snapshot { unimplemented!() }
    #[must_use] pub fn stalls(&self, since: Option<std::time::SystemTime>) -> StallsDocument { unimplemented!() }
}
pub fn run<F: Future>(future: F) -> F::Output { tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(future) }
/// A future with a name.
pub struct Instrumented<F>(Pin<Box<F>>);
impl<F: Future> Future for Instrumented<F> { type Output = F::Output; fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> { self.0.as_mut().poll(cx) } }
pub trait Named: Future + Sized { fn named(self, name: &'static str) -> Instrumented<Self> { Instrumented(Box::pin(self)) } }
impl<F: Future> Named for F {}
#[track_caller]
pub fn spawn<F>(name: &'static str, future: F) -> tokio::task::JoinHandle<F::Output> where F: Future + Send + 'static, F::Output: Send + 'static { tokio::spawn(future) }
#[track_caller]
pub fn spawn_blocking<F, R>(name: &'static str, f: F) -> tokio::task::JoinHandle<R> where F: FnOnce() -> R + Send + 'static, R: Send + 'static { tokio::task::spawn_blocking(f) }
pub mod report {
    /// Draws one finding as a compiler would (feature `diagnostic`). Ends with a newline. ANSI colours if `color`.
    #[must_use] pub fn diagnostic(finding: &crate::Finding, color: bool) -> String { String::new() }
}
/// feature `console`: tokio-console's layer, served at `address`; add it to the application's subscriber.
#[cfg(feature = "console")]
pub mod console {
    pub fn layer<S>(address: std::net::SocketAddr) -> impl tracing_subscriber::Layer<S>
    where S: tracing::Subscriber + for<'a> tracing_subscriber::registry::LookupSpan<'a>,
    { console_subscriber::ConsoleLayer::builder().server_addr(address).spawn() }
}
