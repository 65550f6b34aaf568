//! Who is here, in which channels, and what they get to read: one task owns it all.
//!
//! The lock discipline is that there is no lock. Sessions send requests and wait for the outcome, so each
//! has one request here at a time and its replies come in order; what everybody sees is in the order in
//! which this task took the requests. It never waits for a client: a queue that is full costs that client
//! its connection. Whatever takes long (argon2, files, a flood's pause) is done by the sessions.
//!
//! | what | owned by | others reach it by |
//! |---|---|---|
//! | clients, nicks, channels, who was here | the hub's task | [`Hub`]: a message, and its outcome |
//! | the socket, what was read and not yet asked, the allowance of lines | the session's task | nobody |
//! | what waits for a client | its [`outbox`](crate::outbox): pushed by the hub, emptied by the session | – |
//! | how much that is, and whether lines are stamped | atomics that both ends share | relaxed loads |
//! | bytes of a line | all queues that hold it, by count | never changed once queued |
//! | what is logged, counted, hashed | `services` and their tasks | channels, atomics |
//!
//! So no session ever waits for another one's client, and nothing can be locked across an await.
//!
//! As nobody else can change the state, long loops may yield in their middle: see [`delivery`].

mod caps;
mod channel;
mod client;
mod delivery;
mod handle;
mod history;
mod isupport;
mod join_part;
mod leaving;
mod listing;
mod messages;
mod mode_change;
mod moderation;
mod modes;
mod operators;
mod queries;
mod registration;
mod user_modes;
mod whois;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::SystemTime;

use tokio::sync::{mpsc, oneshot};

use self::channel::Channel;
use self::client::Client;
use self::delivery::Delivery;
use self::whois::FormerClients;
use crate::irc::command::Command;
use crate::irc::message::Message;
use crate::irc::names::NameKey;
use crate::irc::reply::Replies;
use crate::metrics::{Metrics, Rejection};
use crate::outbox::Outbox;
use crate::services::history_store::StoredMessage;

pub(crate) use self::handle::Hub;
pub(crate) use crate::services::history::ChannelMessage;

/// A connection, for as long as the server runs; in the order they came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ClientId(pub(crate) u64);

/// What a session asks for.
#[derive(Debug)]
pub(crate) enum Request {
    /// A line of the client, with what the session found out about it.
    Line(Box<[u8]>, Checks),
    /// The client sent a line over the limit.
    TooLong,
    /// The client is to show that it is alive.
    Ping,
    /// What the store gave for [`RequestOutcome::ReadHistory`].
    History { channel: NameKey, lines: Option<Vec<StoredMessage>> },
    /// The client had its time to register.
    RegistrationTimeout,
}

/// What the session checked before it passed a line on.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Checks {
    /// The password in it (PASS, OPER) is right.
    pub(crate) password: bool,
    /// The word filter refuses its text.
    pub(crate) refused: bool,
}

/// What became of a request.
#[derive(Debug)]
pub(crate) enum RequestOutcome {
    /// It is done.
    Done,
    /// It was said in these channels.
    Said(Vec<ChannelMessage>),
    /// The session is to fetch so many lines of this channel, and to come back with them.
    ReadHistory { channel: NameKey, max_lines: usize },
    /// The client is let go; nothing it sends is heard any more.
    Disconnected,
}

/// What a command leads to.
enum CommandOutcome {
    Done,
    Said(Vec<ChannelMessage>),
    ReadHistory { channel: NameKey, max_lines: usize },
    Disconnect(Vec<u8>),
}

enum HubEvent {
    Connect { id: ClientId, host: Box<[u8]>, outbox: Outbox, done: oneshot::Sender<()> },
    Request { id: ClientId, request: Request, outcome: oneshot::Sender<RequestOutcome> },
    Drain { reason: &'static str },
}

/// A client is gone, or to be let go.
#[derive(Debug)]
struct LeaveRequest {
    id: ClientId,
    reason: String,
}

/// What the server says about itself.
#[derive(Debug)]
pub(crate) struct ServerIdentity {
    pub(crate) name: Arc<str>,
    pub(crate) motd: Option<Vec<Box<[u8]>>>,
    pub(crate) needs_password: bool,
    pub(crate) has_operators: bool,
    pub(crate) created: SystemTime,
}

/// The state, owned by the hub's task.
struct HubState {
    identity: ServerIdentity,
    clients: HashMap<ClientId, Client>,
    nicks: HashMap<NameKey, ClientId>,
    channels: HashMap<NameKey, Channel>,
    former_clients: FormerClients,
    /// How many clients are registered, how many of them operators, and how many invisible.
    registered: usize,
    operators: usize,
    invisible: usize,
    /// The most clients there were at a time.
    max_registered: usize,
    delivery: Delivery,
}

/// Serves events until all handles are gone.
///
/// Those who leave come by a way of their own, and whoever is next is left to chance: each QUIT goes to all
/// who share a channel, and when a thousand leave at once, what others say is not to wait for all of them.
async fn run(
    mut events: mpsc::Receiver<HubEvent>,
    mut leaving: mpsc::Receiver<LeaveRequest>,
    identity: ServerIdentity,
    metrics: Metrics,
) {
    let delivery = Delivery::new(metrics);
    let (clients, nicks, channels, former_clients) = Default::default();
    let mut state = HubState {
        identity,
        clients,
        nicks,
        channels,
        former_clients,
        registered: 0,
        operators: 0,
        invisible: 0,
        max_registered: 0,
        delivery,
    };
    loop {
        tokio::select! {
            event = events.recv() => match event {
                Some(event) => state.handle(event).await,
                None => return,
            },
            Some(LeaveRequest { id, reason }) = leaving.recv() => state.remove(id, reason.as_bytes()).await,
            () = std::future::ready(()), if state.delivery.has_slow_readers() => {
                if let Some(slow) = state.delivery.take_slow_reader() {
                    state.remove(slow, b"SendQ exceeded").await;
                }
            }
        }
        state.delivery.end_event().await;
    }
}

impl HubState {
    async fn handle(&mut self, event: HubEvent) {
        match event {
            HubEvent::Connect { id, host, outbox, done } => {
                self.clients.insert(id, Client::new(id, host, outbox, !self.identity.needs_password));
                let _ = done.send(());
            }
            HubEvent::Request { id, request, outcome } => {
                let result = self.request(id, request).await;
                // The session may have ended meanwhile; it then says so itself.
                let _ = outcome.send(result);
            }
            HubEvent::Drain { reason } => self.drain(reason.as_bytes()).await,
        }
    }

    async fn request(&mut self, id: ClientId, request: Request) -> RequestOutcome {
        let Some(client) = self.clients.get(&id) else { return RequestOutcome::Disconnected };
        let has_time_tags = client.outbox.has_time_tags();
        let mut replies = Replies::new(self.identity.name.clone(), client.nick_or_star(), has_time_tags);
        let next = match request {
            Request::Line(line, checks) => self.line(id, &line, checks, &mut replies).await,
            Request::TooLong => {
                replies.numeric(417, &[], "Input line was too long");
                CommandOutcome::Done
            }
            Request::RegistrationTimeout if client.registered => CommandOutcome::Done,
            Request::RegistrationTimeout => {
                self.delivery.count_rejected(Rejection::Timeout);
                CommandOutcome::Disconnect(b"Registration timed out".to_vec())
            }
            Request::Ping => {
                replies.line(&[b"PING :", self.identity.name.as_bytes()]);
                CommandOutcome::Done
            }
            Request::History { channel, lines } => {
                self.send_history(&channel, lines, &mut replies);
                CommandOutcome::Done
            }
        };
        if let Some(client) = self.clients.get(&id) {
            self.delivery.reply(id, &client.outbox, &mut replies);
        }
        match next {
            CommandOutcome::Done => RequestOutcome::Done,
            CommandOutcome::Said(entries) => RequestOutcome::Said(entries),
            CommandOutcome::ReadHistory { channel, max_lines } => {
                RequestOutcome::ReadHistory { channel, max_lines }
            }
            CommandOutcome::Disconnect(reason) => {
                self.remove(id, &reason).await;
                RequestOutcome::Disconnected
            }
        }
    }

    async fn line(
        &mut self,
        id: ClientId,
        line: &[u8],
        checks: Checks,
        replies: &mut Replies,
    ) -> CommandOutcome {
        let Some(message) = Message::parse(line) else { return CommandOutcome::Done };
        let command = Command::from_word(message.command);
        let registered = self.clients.get(&id).is_some_and(|client| client.registered);
        // irssi sends an empty JOIN first, to see whether it talks to a proxy.
        let empty_join = command == Command::Join && message.params() == [b""];
        if empty_join {
            return CommandOutcome::Done;
        }
        if !registered && !command.is_allowed_before_registration() {
            replies.numeric(451, &[], "You have not registered");
            return CommandOutcome::Done;
        }
        match command {
            Command::Quit => return self.quit(&message),
            Command::History => return self.history(id, &message, replies),
            Command::Privmsg | Command::Notice => {
                return self.talk(id, command, &message, checks, replies).await;
            }
            Command::Cap => return self.cap(id, &message, replies),
            Command::Pass => self.pass(id, &message, checks, replies),
            Command::User => return self.user(id, &message, replies),
            Command::Kill => return self.kill(id, &message, replies).await,
            Command::Nick => return self.nick(id, &message, replies).await,
            Command::Join => self.join(id, &message, replies).await,
            Command::Part => self.part(id, &message, replies).await,
            Command::Topic => self.topic(id, &message, replies).await,
            Command::Mode => self.mode(id, &message, replies).await,
            Command::Kick => self.kick(id, &message, replies).await,
            Command::Names => self.names(id, &message, replies).await,
            Command::List => self.list(id, &message, replies).await,
            Command::Who => self.who(id, &message, replies).await,
            _ => self.query(id, command, &message, checks, replies),
        }
        CommandOutcome::Done
    }
}
