//! The process: starts everything that a checked configuration asks for.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use loopscope::Scope;
use tokio::net::{TcpListener, TcpSocket};
use tokio::runtime::Builder;

use crate::args::{Args, ArgsCommand};
use crate::config::Config;
use crate::data_dir::DataDir;
use crate::listeners::Listeners;
use crate::metrics::Metrics;
use crate::server::Server;
use crate::{account_command, descriptors, logging, signals};

/// Connections that the kernel may queue while the acceptor is busy.
const LISTEN_BACKLOG: u32 = 4096;
/// Kernel buffer for a client that does not read, in addition to its queue in
/// the server. Without a limit the kernel uses megabytes per client.
const SEND_BUFFER_BYTES: u32 = 128 * 1024;
/// Kernel buffer for lines that a client has sent and the server has not read,
/// because of the flood limit. Without a limit the kernel uses megabytes per
/// client, and works all of them off even after the client has gone.
const RECEIVE_BUFFER_BYTES: u32 = 32 * 1024;
/// Stack captures per second. The default of loopscope, 10, is meant for
/// production. Here all injection sites may block at the same time. A stall
/// beyond the budget is counted without its line.
const CAPTURES_PER_SECOND: u32 = 50;
/// Maximum wait at shutdown for work on blocking threads.
const BLOCKING_TASKS_TIMEOUT: Duration = Duration::from_millis(200);

/// Runs a server until SIGTERM or Ctrl-C, or the subcommand of `args`.
///
/// Checks the flags, starts loopscope and a monitored runtime, and prints one
/// line on stdout when it serves clients. With `--check` it only checks
/// the flags.
///
/// # Errors
///
/// Returns one sentence about the flag, address or directory that is wrong.
pub fn main_with(args: Args) -> anyhow::Result<()> {
    if let Some(ArgsCommand::Account(command)) = args.command.clone() {
        return account_command::run(&command, Config::try_from(args)?.data_dir.as_deref());
    }
    let check = args.check;
    let mut config = Config::try_from(args)?;
    if check {
        let _ = writeln!(io::stdout(), "chat-server: the configuration is valid");
        return Ok(());
    }
    let directory = DataDir::open(config.data_dir.as_deref())?;
    let wanted_connections = config.server.max_connections;
    config.server.max_connections = descriptors::prepare_descriptors(wanted_connections);
    logging::start(config.console);
    if config.server.max_connections < wanted_connections {
        tracing::warn!(
            "at most {} connections instead of {wanted_connections}: the process may not open more files \
             and sockets, raise `ulimit -n`",
            config.server.max_connections
        );
    }
    let (metrics, registry) = (Metrics::default(), prometheus::Registry::new());
    metrics.register(&registry)?;
    let mut scope = Scope::builder()
        .blocking_threshold(config.blocking_threshold)
        .captures_per_second(CAPTURES_PER_SECOND)
        // All tasks here have names. loopscope measures the schedule delay of a
        // named task by its waker, at half the cost of Tokio's measurement.
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
    let runtime = scope.watch(builder.enable_all()).build().context("the runtime cannot be started")?;
    let served = scope.block_on(&runtime, async {
        let plain = listen("--listen", config.listen)?;
        let tls = match config.server.certificate {
            Some(_) => Some(listen("--tls-listen", config.tls_listen)?),
            None => None,
        };
        let shutdown = signals::shutdown().context("the signal handlers cannot be installed")?;
        let listeners = Listeners { plain, tls };
        let server = Server::start(directory.path(), config.server, &listeners, metrics).await?;
        if let Some(certificate) = server.certificate() {
            signals::reload_on_hangup(certificate).context("the signal handler cannot be installed")?;
        }
        announce(&listeners, scope.telemetry_address())?;
        server.run(listeners, shutdown).await;
        anyhow::Ok(())
    });
    runtime.shutdown_timeout(BLOCKING_TASKS_TIMEOUT);
    served
}

/// Serves clients of `listeners` on the caller's runtime until `shutdown`
/// completes. Then disconnects them: all accepted messages are delivered, and
/// each client receives the reason.
///
/// The caller must handle the settings of `config` for addresses, threads and
/// loopscope. The runtime must have I/O and time enabled.
///
/// # Errors
///
/// Returns an error if the data directory or the history in it cannot be used,
/// a password cannot be hashed, or `listeners` has a socket for TLS and
/// `config` no valid certificate.
pub async fn serve(
    listeners: impl Into<Listeners>,
    config: Config,
    shutdown: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    let Config { data_dir, server, .. } = config;
    let open = move || DataDir::open(data_dir.as_deref());
    let directory = loopscope::spawn_blocking("data-dir", open).await??;
    let listeners = listeners.into();
    let server = Server::start(directory.path(), server, &listeners, Metrics::default()).await?;
    server.run(listeners, shutdown).await;
    Ok(())
}

fn listen(flag: &str, address: SocketAddr) -> anyhow::Result<TcpListener> {
    let bind = || -> io::Result<TcpListener> {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        // Without it, a restart must wait until the connections of the previous
        // process time out.
        socket.set_reuseaddr(true)?;
        // Accepted sockets inherit the buffer sizes.
        socket.set_send_buffer_size(SEND_BUFFER_BYTES)?;
        socket.set_recv_buffer_size(RECEIVE_BUFFER_BYTES)?;
        socket.bind(address)?;
        socket.listen(LISTEN_BACKLOG)
    };
    bind().with_context(|| format!("{flag}: {address} cannot be bound, choose a free port or port 0"))
}

/// Prints the line that other programs wait for. They read the ports from it.
fn announce(listeners: &Listeners, telemetry: Option<SocketAddr>) -> io::Result<()> {
    let irc = listeners.plain.local_addr()?;
    let tls = match &listeners.tls {
        Some(tls) => format!(" ircs={}", tls.local_addr()?),
        None => String::new(),
    };
    let telemetry = telemetry.map_or_else(|| "none".to_owned(), |address| address.to_string());
    let mut out = io::stdout().lock();
    // The reader of stdout may be gone. The server runs anyway.
    let _ =
        writeln!(out, "chat-server ready irc={irc} telemetry={telemetry}{tls}").and_then(|()| out.flush());
    Ok(())
}
