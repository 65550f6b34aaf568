//! The process: everything that a checked configuration brings to life, in order.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use loopscope::Scope;
use tokio::net::{TcpListener, TcpSocket};
use tokio::runtime::Builder;

use crate::args::Args;
use crate::config::Config;
use crate::data_dir::DataDir;
use crate::metrics::Metrics;
use crate::{descriptors, logging, server, signals};

/// Connections that the system may hold ready while the acceptor is busy.
const LISTEN_BACKLOG: u32 = 4096;
/// What the kernel may hold for a client that does not read, beside its queue here. Left to itself it is
/// megabytes each.
const SEND_BUFFER_BYTES: u32 = 128 * 1024;
/// Stacks that loopscope may take in a second. Its usual 10 are for production; here every site may be wrong at
/// once, and a stall over the budget would be counted without its line.
const CAPTURES_PER_SECOND: u32 = 50;
/// Work on blocking threads has this long to end.
const BLOCKING_TASKS_TIMEOUT: Duration = Duration::from_millis(200);

/// Runs a server until SIGTERM or Ctrl-C: checks the flags, starts loopscope and a runtime that it watches,
/// and prints one line on stdout when everything is bound. With `--check` it only says that all is right.
///
/// # Errors
///
/// With one sentence that says what is wrong with a flag, an address or a directory.
pub fn main_with(args: Args) -> anyhow::Result<()> {
    let check = args.check;
    let config = Config::try_from(args)?;
    if check {
        let _ = writeln!(io::stdout(), "chat-server: the configuration is right");
        return Ok(());
    }
    let directory = DataDir::open(config.data_dir.as_deref())?;
    descriptors::prepare_descriptors(config.server.max_connections);
    logging::start(config.console);
    let (metrics, registry) = (Metrics::default(), prometheus::Registry::new());
    metrics.register(&registry)?;
    let mut scope = Scope::builder()
        .blocking_threshold(config.threshold)
        .captures_per_second(CAPTURES_PER_SECOND)
        // All tasks here have names, so that their own wakers tell it, at half the cost.
        .schedule_delay(false)
        .registry(registry);
    if let Some(address) = config.telemetry {
        scope = scope.telemetry(address);
    }
    let scope = scope.start()?;
    let mut builder = Builder::new_multi_thread();
    if let Some(workers) = config.workers {
        builder.worker_threads(workers.get());
    }
    let runtime = scope.watch(builder.enable_all()).build().context("the runtime could not be started")?;
    let served = scope.block_on(&runtime, async {
        let listener = listen(config.listen)?;
        let shutdown = signals::shutdown().context("signals could not be listened for")?;
        announce(listener.local_addr()?, scope.telemetry_address());
        server::run(listener, directory.path(), config.server, metrics, shutdown).await
    });
    runtime.shutdown_timeout(BLOCKING_TASKS_TIMEOUT);
    served
}

/// Serves clients of `listener` on the caller's own runtime until `shutdown` is ready, then lets them go:
/// what was accepted is delivered, and everybody is told why it ends.
///
/// What `config` says of addresses, threads and loopscope is the caller's to do. The runtime must have
/// I/O and time.
///
/// # Errors
///
/// If the data directory cannot be used, or a password not be hashed.
pub async fn serve(
    listener: TcpListener,
    config: Config,
    shutdown: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    let Config { data_dir, server, .. } = config;
    let open = move || DataDir::open(data_dir.as_deref());
    let directory = loopscope::spawn_blocking("data-dir", open).await??;
    server::run(listener, directory.path(), server, Metrics::default(), shutdown).await
}

fn listen(address: SocketAddr) -> anyhow::Result<TcpListener> {
    let bind = || -> io::Result<TcpListener> {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        // Else a restart would have to wait for the connections of its predecessor to time out.
        socket.set_reuseaddr(true)?;
        // Those that are accepted inherit it.
        socket.set_send_buffer_size(SEND_BUFFER_BYTES)?;
        socket.bind(address)?;
        socket.listen(LISTEN_BACKLOG)
    };
    bind().with_context(|| format!("--listen: {address} cannot be bound, choose a free port or port 0"))
}

/// The line that programs wait for, and read the ports from.
fn announce(irc: SocketAddr, telemetry: Option<SocketAddr>) {
    let telemetry = telemetry.map_or_else(|| "none".to_owned(), |address| address.to_string());
    let mut out = io::stdout().lock();
    // Nobody may be listening any more; the server is for its clients all the same.
    let _ = writeln!(out, "chat-server ready irc={irc} telemetry={telemetry}").and_then(|()| out.flush());
}
