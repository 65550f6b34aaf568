//! tokio-console beside loopscope: its layer for the application's subscriber.

use std::net::SocketAddr;

use tracing::Subscriber;
use tracing_subscriber::Layer;
use tracing_subscriber::registry::LookupSpan;

/// The layer that serves tokio-console on `address`.
///
/// It needs `--cfg tokio_unstable`, and must see Tokio's own spans: give any
/// filter to the other layers, not to the whole subscriber. Each poll then
/// costs about half a microsecond more, so it is for looking, not for always.
///
/// ```no_run
/// use tracing_subscriber::prelude::*;
///
/// tracing_subscriber::registry().with(loopscope::console::layer("127.0.0.1:6669".parse().unwrap())).init();
/// ```
pub fn layer<S>(address: SocketAddr) -> impl Layer<S>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    console_subscriber::ConsoleLayer::builder().server_addr(address).spawn()
}
