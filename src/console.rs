//! The layer of tokio-console, for the application's subscriber.

use std::net::SocketAddr;

use tracing::Subscriber;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::registry::LookupSpan;

/// Returns a layer that serves tokio-console on `address`.
///
/// It needs `--cfg tokio_unstable`, and it must receive Tokio's own spans: add
/// filters to the other layers, not to the whole subscriber. It costs about
/// half a microsecond for each poll, so use it for debugging, not permanently.
///
/// The layer takes no events, so it does not count as a subscriber that takes
/// those of findings: see [`Terminal`](crate::Terminal).
///
/// The console is served without authentication: use a loopback address. If the
/// address cannot be bound, the console's thread panics and the application
/// continues without the console.
///
/// # Panics
///
/// Panics without `--cfg tokio_unstable`, or if the console's thread cannot be
/// started.
///
/// # Examples
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
    let tokio =
        Targets::new().with_target("tokio", LevelFilter::TRACE).with_target("runtime", LevelFilter::TRACE);
    console_subscriber::ConsoleLayer::builder().server_addr(address).spawn().with_filter(tokio)
}
