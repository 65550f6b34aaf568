//! The beginning of a TLS connection, until its session can start.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::time::{self, Instant};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls;
use tokio_rustls::server::TlsStream;

use super::handshake_slots::{HandshakeSlot, HandshakeSlots};
use crate::handshake_metrics::{HandshakeMetrics, HandshakeResult};
use crate::irc::foreign::{ForeignProtocol, MAX_RECOGNIZED_BYTES};
use crate::irc::reply::OutputLine;
use crate::services::certificate::Certificate;
use crate::session;

/// The first byte of a TLS connection: the type of its record.
const HANDSHAKE_RECORD: u8 = 22;
/// The record with which the server refuses a TLS client: the fatal alert
/// `internal_error`. A text would not be understood.
pub(crate) const REFUSAL: &[u8] = &[21, 3, 3, 0, 2, 2, 80];
/// Maximum bytes that a connection encrypts ahead while its client does not
/// read: one record. The queue of the session holds the rest.
const ENCRYPTED_AHEAD_BYTES: usize = 16 * 1024;

/// What all TLS connections share.
#[derive(Debug)]
pub(crate) struct Handshakes {
    certificate: Arc<Certificate>,
    slots: Arc<HandshakeSlots>,
    timeout: Duration,
    metrics: HandshakeMetrics,
}

/// A connection that may begin its handshake.
#[derive(Debug)]
pub(crate) struct Handshake {
    handshakes: Arc<Handshakes>,
    _slot: HandshakeSlot,
}

impl Handshakes {
    pub(crate) fn new(
        certificate: Arc<Certificate>,
        max_connections: u32,
        timeout: Duration,
        metrics: HandshakeMetrics,
    ) -> Arc<Self> {
        Arc::new(Self { certificate, slots: HandshakeSlots::new(max_connections), timeout, metrics })
    }

    /// Begins a handshake, unless too many are in progress.
    pub(crate) fn try_begin(self: &Arc<Self>, address: IpAddr) -> Option<Handshake> {
        let slot = self.slots.try_take(address);
        if slot.is_none() {
            self.metrics.count(HandshakeResult::TooMany);
        }
        Some(Handshake { handshakes: self.clone(), _slot: slot? })
    }
}

impl Handshake {
    /// Completes the handshake. Returns `None` if it failed; the connection is
    /// closed then.
    pub(crate) async fn complete(self, socket: TcpStream, peer: SocketAddr) -> Option<TlsStream<TcpStream>> {
        let Handshakes { timeout, metrics, .. } = &*self.handshakes;
        let started = Instant::now();
        // On the heap: the handshake needs more memory than the session that
        // follows it in the same task.
        let negotiation = Box::pin(self.negotiate(socket));
        match time::timeout(*timeout, negotiation).await {
            Ok(Ok(stream)) => {
                metrics.observe_completed(started.elapsed());
                Some(stream)
            }
            Ok(Err(result)) => {
                metrics.count(result);
                tracing::debug!(%peer, result = result.label(), "no TLS handshake");
                None
            }
            Err(_) => {
                metrics.count(HandshakeResult::TimedOut);
                tracing::debug!(%peer, "the TLS handshake took longer than {timeout:?}");
                None
            }
        }
    }

    async fn negotiate(&self, socket: TcpStream) -> Result<TlsStream<TcpStream>, HandshakeResult> {
        let mut start = [0; MAX_RECOGNIZED_BYTES];
        let received = match socket.peek(&mut start).await {
            Ok(0) | Err(_) => return Err(HandshakeResult::Closed),
            Ok(bytes) => &start[..bytes],
        };
        if received[0] != HANDSHAKE_RECORD {
            refuse_plain_text(socket, received).await;
            return Err(HandshakeResult::PlainText);
        }
        let acceptor = TlsAcceptor::from(self.handshakes.certificate.for_handshake());
        let accepted = acceptor.accept_with(socket, |connection| {
            connection.set_buffer_limit(Some(ENCRYPTED_AHEAD_BYTES));
        });
        match accepted.into_fallible().await {
            Ok(stream) => Ok(stream),
            Err((error, mut socket)) => {
                // With unread input, the client could lose the alert.
                let (read_half, write_half) = socket.split();
                session::close_gracefully(read_half, write_half).await;
                Err(result_of(&error))
            }
        }
    }
}

/// Says in plain text that the port needs TLS, and closes the connection.
async fn refuse_plain_text(mut socket: TcpStream, received: &[u8]) {
    let preamble = ForeignProtocol::recognize(received).map_or(&[][..], |protocol| protocol.preamble());
    let reason = "ERROR :Closing Link: (This port needs TLS, connect with TLS or to the port without it)";
    let lines = preamble.iter().chain([&reason]).map(|line| OutputLine::new(&[line.as_bytes()]));
    let text: Vec<u8> = lines.flat_map(|line| line.plain().to_vec()).collect();
    // If the write fails, the client only sees that the connection closes.
    let _ = socket.write_all(&text).await;
    let (read_half, write_half) = socket.split();
    session::close_gracefully(read_half, write_half).await;
}

fn result_of(error: &io::Error) -> HandshakeResult {
    let cause = error.get_ref().and_then(|it| it.downcast_ref::<rustls::Error>());
    match (cause, error.kind()) {
        (Some(rustls::Error::AlertReceived(_)), _) => HandshakeResult::ClientAlert,
        (Some(_), _) => HandshakeResult::Failed,
        (None, _) => HandshakeResult::Closed,
    }
}
