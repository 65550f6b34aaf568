//! One connection: a task with a reading and a writing half.

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{self, Instant};

use crate::client_limits::ClientLimits;
use crate::client_timers::{RegistrationTimer, SilenceTimer};
use crate::hub::handle::Hub;
use crate::hub::request::{ClientId, Request, RequestOutcome};
use crate::irc::foreign::{ForeignProtocol, MAX_RECOGNIZED_BYTES};
use crate::irc::lines::{InputLine, LineBuffer};
use crate::metrics::Rejection;
use crate::outbox::{self, SlowReader};
use crate::services::Services;
use crate::services::history_reader::ReadSlot;
use crate::transport::Transport;

/// Maximum wait for the peer to close the connection after the server has
/// closed its sending side. Closing at once, with unread input, would reset the
/// connection, and the peer could lose the ERROR with the reason.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(500);

/// Time after a wrong OPER or AUTHENTICATE in which the server handles no
/// further line of the same client, so that guessing takes long. The same
/// follows a repeated login, which takes a slow check too. Other clients do not
/// wait.
const CHECK_PAUSE: Duration = Duration::from_secs(1);

/// What all sessions share.
#[derive(Debug)]
pub(crate) struct SessionContext {
    pub(crate) hub: Hub,
    pub(crate) services: Services,
    pub(crate) client_limits: ClientLimits,
}

/// The other end of a connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer {
    pub(crate) address: SocketAddr,
    pub(crate) transport: Transport,
}

/// Serves one connection until it ends. The caller has split the socket, which
/// may be of TCP or TLS.
pub(crate) async fn serve(
    id: ClientId,
    mut read_half: impl AsyncRead + Unpin,
    mut write_half: impl AsyncWrite + Unpin,
    peer: Peer,
    context: Arc<SessionContext>,
) {
    context.services.metrics.connected();
    context.services.resolver.log_host_name(peer.address);
    let (outbox, queue) = outbox::bounded(context.client_limits, context.services.metrics.clone());
    let slow_reader = queue.slow_reader();
    context.hub.connect(id, host(peer.address.ip()), peer.transport, outbox).await;
    let reader = Reader {
        id,
        address: peer.address.ip(),
        context: &context,
        lines: LineBuffer::default(),
        read_slot: ReadSlot::default(),
        registration: RegistrationTimer::new(context.client_limits.registration_timeout),
        has_logged_in: false,
    };
    let written = tokio::select! {
        written = queue.drain(&mut write_half) => written,
        never = reader.run(&mut read_half, slow_reader) => match never {},
    };
    match written {
        Ok(()) => close_gracefully(read_half, write_half).await,
        Err(error) => context.hub.leave(id, format!("Write error: {}", error.kind())).await,
    }
    context.services.metrics.disconnected();
}

/// Closes the sending side and discards what the peer still sends.
pub(crate) async fn close_gracefully(
    mut read_half: impl AsyncRead + Unpin,
    mut write_half: impl AsyncWrite + Unpin,
) {
    let drain = async {
        write_half.shutdown().await?;
        let mut discarded = [0; 512];
        while read_half.read(&mut discarded).await? > 0 {}
        io::Result::Ok(())
    };
    // Success, error or timeout: the connection is over in any case.
    let _ = time::timeout(CLOSE_TIMEOUT, drain).await;
}

/// Formats the address for prefixes and parameters. A leading `:` has another
/// meaning there, so the address gets a leading `0`.
fn host(ip: IpAddr) -> Box<[u8]> {
    let text = ip.to_canonical().to_string();
    if text.starts_with(':') { format!("0{text}").into_bytes().into() } else { text.into_bytes().into() }
}

struct Reader<'a> {
    id: ClientId,
    address: IpAddr,
    context: &'a SessionContext,
    lines: LineBuffer,
    read_slot: ReadSlot,
    registration: RegistrationTimer,
    has_logged_in: bool,
}

impl Reader<'_> {
    /// Reads until the client disconnects. Then it never completes: the writing
    /// half ends the session when the hub drops the queue's sender.
    async fn run(mut self, socket: &mut (impl AsyncRead + Unpin), slow_reader: SlowReader) -> Infallible {
        let (id, context) = (self.id, self.context);
        let reason = tokio::select! {
            reason = self.read_lines(socket) => reason,
            () = slow_reader.notified() => {
                context.services.metrics.count_slow_reader();
                Some("SendQ exceeded".into())
            }
        };
        if let Some(reason) = reason {
            context.hub.leave(id, reason).await;
        }
        std::future::pending().await
    }

    /// Returns the reason to disconnect the client, or `None` if the hub has
    /// disconnected it.
    async fn read_lines(&mut self, socket: &mut (impl AsyncRead + Unpin)) -> Option<String> {
        let throttle = &self.context.services.throttle;
        let mut bucket = throttle.new_bucket();
        let mut silence = SilenceTimer::new(self.context.client_limits);
        let mut may_be_foreign = true;
        loop {
            let read = tokio::select! {
                biased;
                () = self.registration.elapsed() => {
                    match self.context.hub.ask(self.id, Request::RegistrationTimeout).await {
                        RequestOutcome::Disconnected => return None,
                        _ => continue,
                    }
                }
                // What the client has sent comes before its silence.
                read = read_some(socket, &mut self.lines) => read,
                () = silence.elapsed() => match silence.timeout_reason() {
                    Some(reason) => {
                        self.context.services.metrics.count_rejected(Rejection::Timeout);
                        return Some(reason);
                    }
                    None => {
                        self.context.hub.ask(self.id, Request::Ping).await;
                        continue;
                    }
                },
            };
            match read {
                Ok(0) => return Some("Connection closed".into()),
                Ok(bytes) => self.context.services.metrics.count_bytes_in(bytes),
                // Many TLS clients close the connection without a close_notify.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    return Some("Connection closed".into());
                }
                Err(error) => return Some(format!("Read error: {}", error.kind())),
            }
            if may_be_foreign {
                let start = self.lines.unread();
                if let Some(protocol) = ForeignProtocol::recognize(start) {
                    self.context.hub.ask(self.id, Request::Foreign(protocol)).await;
                    return None;
                }
                may_be_foreign = start.len() < MAX_RECOGNIZED_BYTES && !start.contains(&b'\n');
            }
            while let Some(line) = self.lines.next() {
                throttle.wait_for_token(&mut bucket).await;
                if let RequestOutcome::Disconnected = self.handle_line(line).await {
                    return None;
                }
            }
            // The time in which the server handles lines is no silence.
            silence.reset();
        }
    }

    async fn handle_line(&mut self, line: InputLine) -> RequestOutcome {
        let SessionContext { hub, services, .. } = self.context;
        let outcome = match line {
            InputLine::TooLong => hub.ask(self.id, Request::TooLong).await,
            InputLine::Whole(line) => {
                let started = Instant::now();
                let (command, checks) = services.run_before_hub(&line, self.address).await;
                let outcome = hub.ask(self.id, Request::Line(line, checks)).await;
                command.inspect(|&command| services.metrics.observe_duration(command, started.elapsed()));
                if checks.is_password_wrong {
                    time::sleep(CHECK_PAUSE).await;
                }
                outcome
            }
        };
        match outcome {
            RequestOutcome::InHistory(messages) => {
                services.run_after_hub(&messages);
                RequestOutcome::Done
            }
            outcome @ (RequestOutcome::Done | RequestOutcome::Disconnected) => outcome,
            // Rare and large: every session would reserve the memory for it.
            outcome => Box::pin(self.work_for_hub(outcome)).await,
        }
    }

    /// Does what the hub asks for, and returns its answer to the result.
    async fn work_for_hub(&mut self, outcome: RequestOutcome) -> RequestOutcome {
        let SessionContext { hub, services, .. } = self.context;
        match outcome {
            RequestOutcome::ReadHistory(read) => {
                let answer = services.history.read(&self.read_slot, *read).await;
                hub.ask(self.id, Request::History(Box::new(answer))).await
            }
            RequestOutcome::CheckPassword(password) => {
                let check = services.passwords.admits(&password, self.address);
                let is_right = self.registration.paused_for(check).await;
                hub.ask(self.id, Request::PasswordChecked { is_right }).await
            }
            RequestOutcome::Reload => {
                let sentence = match &services.certificate {
                    Some(certificate) => certificate.reload().await,
                    None => "There is nothing to read again: the server has no TLS certificate".to_owned(),
                };
                hub.ask(self.id, Request::Reloaded { sentence }).await
            }
            RequestOutcome::LogIn(credentials) => {
                let check = services.accounts.log_in(&credentials, self.address);
                let account = self.registration.paused_for(check).await;
                let is_first = account.is_some() && !std::mem::replace(&mut self.has_logged_in, true);
                let outcome = hub.ask(self.id, Request::LoginChecked { account }).await;
                if !is_first {
                    time::sleep(CHECK_PAUSE).await;
                }
                outcome
            }
            RequestOutcome::RegisterAccount(credentials) => {
                let name = credentials.account.clone();
                let register = services.accounts.register(credentials, self.address);
                let registration = self.registration.paused_for(register).await;
                hub.ask(self.id, Request::AccountRegistered { name, registration }).await
            }
            other => other,
        }
    }
}

async fn read_some(socket: &mut (impl AsyncRead + Unpin), lines: &mut LineBuffer) -> io::Result<usize> {
    socket.read_buf(lines.space()).await
}
