//! The log on stderr, and tokio-console.

use std::io::{self, IsTerminal};
use std::net::SocketAddr;

use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry};

type BoxedLayer = Box<dyn Layer<Registry> + Send + Sync>;

/// Starts logging. If the host program has set a subscriber, that one stays.
pub(crate) fn start(console: Option<SocketAddr>) {
    let is_terminal = io::stderr().is_terminal();
    let filter =
        EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default_filter(is_terminal)));
    let color = is_terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    // The filter applies to the log only. A global filter would hide the events
    // that the console needs.
    let log = tracing_subscriber::fmt::layer().with_writer(io::stderr).with_ansi(color).with_filter(filter);
    let mut layers: Vec<BoxedLayer> = vec![log.boxed()];
    layers.extend(console.and_then(console_layer));
    let _ = tracing_subscriber::registry().with(layers).try_init();
}

/// Returns the filter of the log. On a terminal, the log leaves the findings to
/// loopscope, which draws those that no subscriber takes.
fn default_filter(is_terminal: bool) -> &'static str {
    if is_terminal { "warn,chat_server=info,loopscope::blocking=off" } else { "warn,chat_server=info" }
}

#[cfg(feature = "console")]
fn console_layer(address: SocketAddr) -> Option<BoxedLayer> {
    use tracing_subscriber::filter::{LevelFilter, Targets};
    let tokio =
        Targets::new().with_target("tokio", LevelFilter::TRACE).with_target("runtime", LevelFilter::TRACE);
    Some(loopscope::console::layer(address).with_filter(tokio).boxed())
}

#[cfg(not(feature = "console"))]
fn console_layer(_: SocketAddr) -> Option<BoxedLayer> {
    None
}
