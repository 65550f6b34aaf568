//! Accepts connections and disconnects all clients at the end.

use std::io::{self, Read as _, Write as _};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinHandle;
use tokio::time;

use crate::config::ServerConfig;
use crate::descriptors::ReserveDescriptor;
use crate::hub::handle::Hub;
use crate::hub::request::{ClientId, ServerIdentity};
use crate::inject::spec::InjectionSite;
use crate::irc::reply::OutputLine;
use crate::metrics::{Metrics, Rejection};
use crate::services::Services;
use crate::services::directory::UserDirectory;
use crate::services::filter::Filter;
use crate::services::history::History;
use crate::services::motd_program::MotdProgram;
use crate::services::password::Passwords;
use crate::services::resolve::Resolver;
use crate::services::throttle::Throttle;
use crate::services::upstream::Upstream;
use crate::services::visits::VisitCounter;
use crate::session::{self, SessionContext};

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
    /// Opens the history in `directory` and starts all services. The server is
    /// ready when it returns.
    ///
    /// Must run in a Tokio runtime with I/O and time enabled.
    ///
    /// # Errors
    ///
    /// Returns an error if the history cannot be opened, a password cannot be
    /// hashed or a service cannot start.
    pub(crate) async fn start(
        directory: &Path,
        config: ServerConfig,
        metrics: Metrics,
    ) -> anyhow::Result<Self> {
        let ServerConfig {
            name,
            password,
            operator,
            motd,
            max_connections,
            lines_per_second,
            client_limits,
            injections,
            started_at,
        } = config;
        let identity = ServerIdentity {
            name,
            motd,
            needs_password: password.is_some(),
            has_operators: operator.is_some(),
            started_at,
        };
        let mistake = injections.at(InjectionSite::Password);
        let hashing = loopscope::spawn_blocking("hash-passwords", move || {
            let operator = operator.as_ref().map(|(name, password)| (name.as_str(), password.as_str()));
            Passwords::hash(password.as_deref(), operator, mistake)
        });
        let (write_mistake, read_mistake) =
            (injections.at(InjectionSite::History), injections.at(InjectionSite::Chathistory));
        let (history, ids, writer) =
            History::start(directory, metrics.clone(), write_mistake, read_mistake).await?;
        let services = Services {
            throttle: Throttle::new(lines_per_second, injections.at(InjectionSite::Sleep)),
            filter: Filter::new(injections.at(InjectionSite::Filter)),
            passwords: hashing.await??,
            visits: VisitCounter::start(injections.at(InjectionSite::Lock)),
            resolver: Resolver::new(injections.at(InjectionSite::Resolve)),
            directory: UserDirectory::start(injections.at(InjectionSite::Channel))?,
            motd_program: MotdProgram::new(injections.at(InjectionSite::Child)),
            upstream: Upstream::start(injections.at(InjectionSite::Upstream))?,
            history,
            metrics: metrics.clone(),
        };
        let (hub, _) = Hub::start(identity, ids, metrics);
        let sessions = Arc::new(Semaphore::new(max_connections as usize));
        Ok(Self {
            context: Arc::new(SessionContext { hub, services, client_limits }),
            sessions,
            max_connections,
            history: writer,
        })
    }

    /// Serves clients of `listener` until `shutdown` completes. Then
    /// disconnects them: all accepted messages are delivered, and each client
    /// receives the reason.
    pub(crate) async fn run(self, listener: TcpListener, shutdown: impl Future<Output = ()>) {
        let Self { context, sessions, max_connections, history } = self;
        let hub = context.hub.clone();
        let acceptor = Acceptor { context, sessions: sessions.clone(), max_connections, next_id: 0 };
        let acceptor_task = loopscope::spawn("acceptor", acceptor.run(listener));
        shutdown.await;
        acceptor_task.abort();
        // The listener closes when the task has ended, which may be after the
        // abort.
        let _ = acceptor_task.await;
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

struct Acceptor {
    context: Arc<SessionContext>,
    sessions: Arc<Semaphore>,
    max_connections: u32,
    next_id: u64,
}

impl Acceptor {
    async fn run(mut self, listener: TcpListener) {
        let open_refusals = self.max_connections as usize / 8;
        let open_refusals = open_refusals.clamp(MIN_OPEN_REFUSALS, MAX_OPEN_REFUSALS);
        let refusals = Arc::new(Semaphore::new(open_refusals));
        let mut backoff = MIN_ACCEPT_BACKOFF;
        let mut reserve = ReserveDescriptor::new();
        loop {
            match listener.accept().await {
                Ok((socket, peer)) => {
                    backoff = MIN_ACCEPT_BACKOFF;
                    match self.sessions.clone().try_acquire_owned() {
                        Ok(permit) => self.serve(socket, peer, permit),
                        Err(_) => self.refuse(socket, &refusals),
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

    fn serve(&mut self, socket: TcpStream, peer: SocketAddr, permit: OwnedSemaphorePermit) {
        let (id, context) = (ClientId(self.next_id), self.context.clone());
        self.next_id += 1;
        loopscope::spawn("session", async move {
            session::serve(id, socket, peer, context).await;
            drop(permit);
        });
    }

    fn refuse(&self, mut socket: TcpStream, refusals: &Arc<Semaphore>) {
        let Ok(permit) = refusals.clone().try_acquire_owned() else { return self.refuse_at_once(socket) };
        self.context.services.metrics.count_rejected(Rejection::ServerFull);
        loopscope::spawn("refusal", async move {
            // If the write fails, the client only sees that the connection
            // closes.
            let _ = socket.write_all(refusal().plain()).await;
            session::close_gracefully(socket).await;
            drop(permit);
        });
    }

    /// Refuses a client without waiting for it.
    fn refuse_at_once(&self, socket: TcpStream) {
        self.context.services.metrics.count_rejected(Rejection::ServerFull);
        // No call on this socket waits: it stays in non-blocking mode. Tokio's
        // own calls would wait for the first event of the new socket.
        let Ok(mut socket) = socket.into_std() else { return };
        let _ = socket.write(refusal().plain());
        // With unread input, the client could lose the reason.
        let mut discarded = [0; 512];
        let mut reads = 0..MAX_DISCARDING_READS;
        while reads.next().is_some() && socket.read(&mut discarded).is_ok_and(|bytes| bytes > 0) {}
    }
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
