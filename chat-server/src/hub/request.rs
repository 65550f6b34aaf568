//! What sessions ask of the hub and what they get back.

use std::sync::Arc;
use std::time::SystemTime;

use tokio::sync::oneshot;

use crate::account_policy::AccountPolicy;
use crate::irc::foreign::ForeignProtocol;
use crate::irc::sasl::Credentials;
use crate::outbox::Outbox;
use crate::services::accounts::Registration;
use crate::services::history::ChannelMessage;
use crate::services::history_query::{HistoryAnswer, HistoryRead};
use crate::services::line_checks::LineChecks;
use crate::transport::Transport;

/// Identifies a connection for as long as the server runs. Ids grow in the
/// order in which clients connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ClientId(pub(crate) u64);

/// What a session asks for.
#[derive(Debug)]
pub(crate) enum Request {
    /// Handle a line of the client. The session has checked it.
    Line(Box<[u8]>, LineChecks),
    /// Tell the client that it sent a line over the limit.
    TooLong,
    /// Tell the client that it speaks another protocol, and disconnect it.
    Foreign(ForeignProtocol),
    /// Send a PING, as the client has been silent.
    Ping,
    /// Send what was read for [`RequestOutcome::ReadHistory`].
    History(Box<HistoryAnswer>),
    /// Register the client if the password of
    /// [`RequestOutcome::CheckPassword`] is right. Otherwise disconnect it.
    PasswordChecked { is_right: bool },
    /// Tell the client about the reload of [`RequestOutcome::Reload`].
    Reloaded { sentence: String },
    /// Log the client in to this account. Without an account, the credentials
    /// of [`RequestOutcome::LogIn`] are wrong.
    LoginChecked { account: Option<Box<[u8]>> },
    /// Tell the client the result of [`RequestOutcome::RegisterAccount`].
    AccountRegistered { name: Box<[u8]>, registration: Registration },
    /// Disconnect the client unless it has registered by now.
    RegistrationTimeout,
}

impl Request {
    /// Returns whether the session sends it with the result of what the hub has
    /// asked it to do.
    pub(super) fn is_answer_of_session(&self) -> bool {
        matches!(
            self,
            Self::PasswordChecked { .. }
                | Self::Reloaded { .. }
                | Self::LoginChecked { .. }
                | Self::AccountRegistered { .. }
                | Self::History(_)
        )
    }
}

/// The result of a request.
#[derive(Debug)]
pub(crate) enum RequestOutcome {
    /// There is nothing more to do.
    Done,
    /// These channel messages are in the history's queue. Only an injected
    /// mistake of the history needs them.
    InHistory(Vec<ChannelMessage>),
    /// The session must read this and send it with [`Request::History`].
    ReadHistory(Box<HistoryRead>),
    /// The session must verify this password and report the result with
    /// [`Request::PasswordChecked`].
    CheckPassword(Box<[u8]>),
    /// The session must read the certificate again and report the result with
    /// [`Request::Reloaded`].
    Reload,
    /// The session must verify these credentials and report the result with
    /// [`Request::LoginChecked`].
    LogIn(Credentials),
    /// The session must add this account and report the result with
    /// [`Request::AccountRegistered`].
    RegisterAccount(Credentials),
    /// The client is disconnected; the hub ignores further requests.
    Disconnected,
}

/// The result of a command, inside the hub.
pub(super) enum CommandOutcome {
    Done,
    InHistory(Vec<ChannelMessage>),
    ReadHistory(HistoryRead),
    CheckPassword(Box<[u8]>),
    Reload,
    LogIn(Credentials),
    RegisterAccount(Credentials),
    /// Disconnect the client, for this reason.
    Disconnect(Vec<u8>),
}

/// What arrives at the hub's task.
pub(super) enum HubEvent {
    Connect { id: ClientId, host: Box<[u8]>, transport: Transport, outbox: Outbox, done: oneshot::Sender<()> },
    Request { id: ClientId, request: Request, outcome: oneshot::Sender<RequestOutcome> },
    Drain { reason: &'static str },
}

/// A client has disconnected or must be disconnected.
#[derive(Debug)]
pub(super) struct LeaveRequest {
    pub(super) id: ClientId,
    pub(super) reason: String,
}

/// What the server tells clients about itself.
#[derive(Debug)]
pub(crate) struct ServerIdentity {
    pub(crate) name: Arc<str>,
    pub(crate) motd: Option<Vec<Box<[u8]>>>,
    pub(crate) needs_password: bool,
    pub(crate) has_operators: bool,
    /// The port for TLS, if the server serves it.
    pub(crate) tls_port: Option<u16>,
    pub(crate) account_policy: AccountPolicy,
    pub(crate) started_at: SystemTime,
}
