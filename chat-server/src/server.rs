//! Accepts connections and disconnects all clients at the end.

use std::io::{self, Read as _, Write as _};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinHandle;
use tokio::time;

use crate::config::ServerConfig;
use crate::descriptors::ReserveDescriptor;
use crate::hub::handle::Hub;
use crate::hub::request::{ClientId, ServerIdentity};
use crate::inject::mistake::Mistake;
use crate::inject::spec::InjectionSite;
use crate::irc::reply::{Buffer, OutputLine};
use crate::listeners::Listeners;
use crate::metrics::{Metrics, Rejection};
use crate::services::Services;
use crate::services::accounts::Accounts;
use crate::services::certificate::Certificate;
use crate::services::directory::UserDirectory;
use crate::services::filter::Filter;
use crate::services::history::History;
use crate::services::motd_program::MotdProgram;
use crate::services::password::{PasswordVerifier, Passwords};
use crate::services::registration_limit::RegistrationLimit;
use crate::services::resolve::Resolver;
use crate::services::throttle::Throttle;
use crate::services::upstream::Upstream;
use crate::services::visits::VisitCounter;
use crate::session::{self, Peer, SessionContext};
use crate::tls::handshake::{self, Handshake, Handshakes};
use crate::tls::settings::CertificateSource;
use crate::transport::Transport;

/// Maximum wait for the sessions to end after the shutdown begins.
const SESSIONS_END_TIMEOUT: Duration = Duration::from_millis(1_600);
/// Maximum wait for the history to be written after the last session.
const HISTORY_END_TIMEOUT: Duration = Duration::from_millis(400);
/// Maximum refused connections that are open at one time, until the client has
/// read the reason. Further ones are closed at once, and the client may lose
/// the reason. Fewer, if the server accepts few connections: there may be few
/// descriptors.
const MIN_OPEN_REFUSALS: usize = 8;
const MAX_OPEN_REFUSALS: usize = 64;
/// Maximum reads of what a refused client has sent already.
const MAX_DISCARDING_READS: u32 = 8;
/// Pause after a failed accept. It doubles with each further failure, up to
/// [`MAX_ACCEPT_BACKOFF`].
const MIN_ACCEPT_BACKOFF: Duration = Duration::from_millis(50);
const MAX_ACCEPT_BACKOFF: Duration = Duration::from_secs(1);

/// A server whose services run. It accepts no client yet.
pub(crate) struct Server {
    context: Arc<SessionContext>,
    sessions: Arc<Semaphore>,
    max_connections: u32,
    history: JoinHandle<()>,
}

impl Server {
    /// Opens the history and the accounts in `directory` and starts all
    /// services. The server is ready when it returns.
    ///
    /// Must run in a Tokio runtime with I/O and time enabled.
    ///
    /// # Errors
    ///
    /// Returns an error if the history or the accounts cannot be opened, a
    /// password cannot be hashed, the certificate is missing or wrong, or a
    /// service cannot start.
    pub(crate) async fn start(
        directory: &Path,
        config: ServerConfig,
        listeners: &Listeners,
        metrics: Metrics,
    ) -> anyhow::Result<Self> {
        let ServerConfig {
            name,
            password,
            operator,
            motd,
            certificate,
            max_connections,
            lines_per_second,
            client_limits,
            account_policy,
            injections,
            started_at,
        } = config;
        let certificate = match &listeners.tls {
            Some(_) => {
                let mistake = injections.at(InjectionSite::Certificate);
                Some(start_certificate(certificate, directory, &name, mistake).await?)
            }
            None => None,
        };
        let tls_address = listeners.tls.as_ref().and_then(|tls| tls.local_addr().ok());
        let identity = ServerIdentity {
            name,
            motd,
            needs_password: password.is_some(),
            has_operators: operator.is_some(),
            tls_port: tls_address.map(|address| address.port()),
            account_policy,
            started_at,
        };
        let verifier = Arc::new(PasswordVerifier::new(injections.at(InjectionSite::Password)));
        let limit = RegistrationLimit::new(account_policy.registrations_per_hour);
        let accounts = Accounts::open(directory, verifier.clone(), limit, metrics.clone()).await?;
        let hashing = loopscope::spawn_blocking("hash-passwords", move || {
            let operator = operator.as_ref().map(|(name, password)| (name.as_str(), password.as_str()));
            Passwords::hash(password.as_deref(), operator, verifier)
        });
        let (write_mistake, read_mistake) =
            (injections.at(InjectionSite::History), injections.at(InjectionSite::Chathistory));
        let (history, queue, ids, writer) =
            History::start(directory, metrics.clone(), write_mistake, read_mistake).await?;
        let services = Services {
            throttle: Throttle::new(lines_per_second, injections.at(InjectionSite::Sleep)),
            filter: Filter::new(injections.at(InjectionSite::Filter)),
            passwords: hashing.await??,
            accounts,
            visits: VisitCounter::start(injections.at(InjectionSite::Lock)),
            resolver: Resolver::new(injections.at(InjectionSite::Resolve)),
            directory: UserDirectory::start(injections.at(InjectionSite::Channel))?,
            motd_program: MotdProgram::new(injections.at(InjectionSite::Child)),
            upstream: Upstream::start(injections.at(InjectionSite::Upstream))?,
            history,
            certificate,
            metrics: metrics.clone(),
        };
        let (hub, _) = Hub::start(identity, ids, queue, metrics);
        let sessions = Arc::new(Semaphore::new(max_connections as usize));
        Ok(Self {
            context: Arc::new(SessionContext { hub, services, client_limits }),
            sessions,
            max_connections,
            history: writer,
        })
    }

    /// Returns the certificate, if the server has TLS.
    pub(crate) fn certificate(&self) -> Option<Arc<Certificate>> {
        self.context.services.certificate.clone()
    }

    /// Serves clients of `listeners` until `shutdown` completes. Then
    /// disconnects them: all accepted messages are delivered, and each client
    /// receives the reason.
    pub(crate) async fn run(self, listeners: Listeners, shutdown: impl Future<Output = ()>) {
        let Self { context, sessions, max_connections, history } = self;
        let hub = context.hub.clone();
        let open_refusals = (max_connections as usize / 8).clamp(MIN_OPEN_REFUSALS, MAX_OPEN_REFUSALS);
        let (shutdown_sender, is_shut_down) = watch::channel(());
        let plain = Acceptor {
            context: context.clone(),
            sessions: sessions.clone(),
            refusals: Arc::new(Semaphore::new(open_refusals)),
            next_id: Arc::default(),
            tls: None,
        };
        let tls = context.services.certificate.clone().map(|certificate| {
            let (timeout, metrics) = (context.client_limits.handshake_timeout, &context.services.metrics);
            Handshakes::new(certificate, max_connections, timeout, metrics.handshakes().clone())
        });
        let tls = tls.map(|handshakes| Acceptor { tls: Some((handshakes, is_shut_down)), ..plain.clone() });
        let mut acceptors = vec![loopscope::spawn("acceptor", plain.run(listeners.plain))];
        acceptors.extend(
            tls.zip(listeners.tls).map(|(tls, listener)| loopscope::spawn("tls-acceptor", tls.run(listener))),
        );
        // The history ends when the last of those that hold it has ended: the
        // acceptors, the sessions, and the hub, which ends after them.
        drop(context);
        shutdown.await;
        acceptors.iter().for_each(JoinHandle::abort);
        for acceptor in acceptors {
            // The listener closes when the task has ended, which may be after
            // the abort.
            let _ = acceptor.await;
        }
        drop(shutdown_sender);
        hub.drain("Server shutting down").await;
        drop(hub);
        if time::timeout(SESSIONS_END_TIMEOUT, sessions.acquire_many(max_connections)).await.is_err() {
            tracing::warn!(
                "{} clients did not disconnect in time",
                max_connections as usize - sessions.available_permits()
            );
        }
        if time::timeout(HISTORY_END_TIMEOUT, history).await.is_err() {
            tracing::warn!("the last messages may not be in the history: the disk is too slow");
        }
    }
}

/// Reads the certificate of a server with TLS.
async fn start_certificate(
    source: Option<CertificateSource>,
    directory: &Path,
    server_name: &Arc<str>,
    mistake: Option<Mistake>,
) -> anyhow::Result<Arc<Certificate>> {
    let source = source.context("--tls-certificate: a server with TLS needs a certificate")?;
    let (directory, name) = (directory.to_owned(), server_name.clone());
    let files = move || source.files(&directory, &name);
    let files = loopscope::spawn_blocking("certificate-files", files).await??;
    Ok(Arc::new(Certificate::start(files, mistake).await?))
}

/// Accepts the connections of one listener.
#[derive(Clone)]
struct Acceptor {
    context: Arc<SessionContext>,
    sessions: Arc<Semaphore>,
    refusals: Arc<Semaphore>,
    next_id: Arc<AtomicU64>,
    /// Set if the listener is for TLS. The receiver ends the handshakes in
    /// progress: it has an error when the server shuts down.
    tls: Option<(Arc<Handshakes>, watch::Receiver<()>)>,
}

impl Acceptor {
    async fn run(self, listener: TcpListener) {
        let mut backoff = MIN_ACCEPT_BACKOFF;
        let mut reserve = ReserveDescriptor::new();
        loop {
            match listener.accept().await {
                Ok((socket, peer)) => {
                    backoff = MIN_ACCEPT_BACKOFF;
                    match self.sessions.clone().try_acquire_owned() {
                        Ok(permit) => self.serve(socket, peer, permit),
                        Err(_) => self.refuse(socket),
                    }
                }
                Err(error) if is_connection_error(&error) => {}
                Err(error) => {
                    tracing::warn!("cannot accept connections for {backoff:?}: {error}");
                    while reserve.free_after(&error) {
                        // The connection waits already.
                        let Ok(Ok((socket, _))) = time::timeout(Duration::ZERO, listener.accept()).await
                        else {
                            break;
                        };
                        self.refuse_at_once(socket);
                        reserve = ReserveDescriptor::new();
                    }
                    reserve = ReserveDescriptor::new();
                    time::sleep(backoff).await;
                    backoff = (backoff * 2).min(MAX_ACCEPT_BACKOFF);
                }
            }
        }
    }

    fn serve(&self, mut socket: TcpStream, address: SocketAddr, permit: OwnedSemaphorePermit) {
        let id = ClientId(self.next_id.fetch_add(1, Ordering::Relaxed));
        let context = self.context.clone();
        // Lines are small and already written in batches. Nagle's algorithm
        // would only delay them.
        let _ = socket.set_nodelay(true);
        if let Some((handshakes, is_shut_down)) = &self.tls {
            let Some(handshake) = handshakes.try_begin(address.ip()) else {
                return write_at_once(socket, handshake::REFUSAL);
            };
            let is_shut_down = is_shut_down.clone();
            loopscope::spawn("session", async move {
                serve_tls(id, socket, address, handshake, is_shut_down, context).await;
                drop(permit);
            });
            return;
        }
        loopscope::spawn("session", async move {
            let (read_half, write_half) = socket.split();
            let peer = Peer { address, transport: Transport::plain(address.ip()) };
            session::serve(id, read_half, write_half, peer, context).await;
            drop(permit);
        });
    }

    /// Returns what a client receives for which there is no place.
    fn refusal(&self) -> Buffer {
        match self.tls {
            Some(_) => handshake::REFUSAL.into(),
            None => refusal().plain().clone(),
        }
    }

    fn refuse(&self, mut socket: TcpStream) {
        let refusal = self.refusal();
        let Ok(permit) = self.refusals.clone().try_acquire_owned() else {
            return self.refuse_at_once(socket);
        };
        self.context.services.metrics.count_rejected(Rejection::ServerFull);
        loopscope::spawn("refusal", async move {
            // If the write fails, the client only sees that the connection
            // closes.
            let _ = socket.write_all(&refusal).await;
            let (read_half, write_half) = socket.split();
            session::close_gracefully(read_half, write_half).await;
            drop(permit);
        });
    }

    /// Refuses a client without waiting for it.
    fn refuse_at_once(&self, socket: TcpStream) {
        self.context.services.metrics.count_rejected(Rejection::ServerFull);
        write_at_once(socket, &self.refusal());
    }
}

/// Completes the handshake and serves the client. Ends at the shutdown if the
/// handshake is not complete.
async fn serve_tls(
    id: ClientId,
    socket: TcpStream,
    address: SocketAddr,
    handshake: Handshake,
    mut is_shut_down: watch::Receiver<()>,
    context: Arc<SessionContext>,
) {
    let stream = tokio::select! {
        stream = handshake.complete(socket, address) => stream,
        _ = is_shut_down.changed() => None,
    };
    let Some(stream) = stream else { return };
    let (read_half, write_half) = tokio::io::split(stream);
    let peer = Peer { address, transport: Transport::Tls };
    session::serve(id, read_half, write_half, peer, context).await;
}

/// Writes what fits into the socket's buffer, and closes the connection.
fn write_at_once(socket: TcpStream, bytes: &[u8]) {
    // No call on this socket waits: it stays in non-blocking mode. Tokio's
    // own calls would wait for the first event of the new socket.
    let Ok(mut socket) = socket.into_std() else { return };
    let _ = socket.write(bytes);
    // With unread input, the client could lose the reason.
    let mut discarded = [0; 512];
    let mut reads = 0..MAX_DISCARDING_READS;
    while reads.next().is_some() && socket.read(&mut discarded).is_ok_and(|bytes| bytes > 0) {}
}

fn refusal() -> OutputLine {
    OutputLine::new(&[b"ERROR :Closing Link: (Server full, try again later)"])
}

/// Returns whether the error concerns only the connection to be accepted, so
/// that the next accept may succeed.
fn is_connection_error(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}
