//! One chat client: registers, joins its channel, answers pings, receives
//! messages.

use std::cell::RefCell;
use std::io;
use std::sync::Arc;
use std::time::Instant;

use super::lines::LineBuffer;
use super::link::Link;
use super::message::Message;
use super::sasl::SaslLogin;
use crate::net::Connector;
use crate::record::{Failure, Inbox, Payload, RunState, Visit};

/// The size of the buffer of one read.
const READ_BYTES: usize = 16 * 1024;

thread_local! {
    /// The buffer of all sessions of a thread. One for each read would have to
    /// be zeroed.
    static READ_BUFFER: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_BYTES].into());
}

/// Maximum number of replacements of a nick that is in use.
const MAX_NICK_TRIES: u32 = 8;

/// The data of a client that has joined, as the outlet needs it.
#[derive(Debug, Clone)]
pub(crate) struct Member {
    /// Its number among all connections.
    pub(crate) id: usize,
    /// The nick that the server accepted.
    pub(crate) nick: String,
    /// Its channel.
    pub(crate) channel: String,
    /// Its connection.
    pub(crate) link: Arc<Link>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SessionPhase {
    Registering { tries: u32 },
    Joining,
    Joined,
}

/// The receiving side of a client.
#[derive(Debug)]
pub(crate) struct Session {
    state: Arc<RunState>,
    id: usize,
    /// The nick that was asked for at first.
    base_nick: String,
    nick: String,
    channel: String,
    link: Arc<Link>,
    lines: LineBuffer,
    phase: SessionPhase,
    /// The login that the registration waits for.
    sasl: Option<SaslLogin>,
    inbox: Inbox,
    /// Used by a visitor instead of the inbox.
    visit: Option<Visit>,
}

impl Session {
    /// Connects, registers and joins `channel`. The nick consists of the plan's
    /// prefix, the number of the connection and `nick_suffix`.
    pub(crate) async fn open(
        state: &Arc<RunState>,
        connector: &Connector,
        id: usize,
        channel: String,
        nick_suffix: &str,
    ) -> Result<Self, Failure> {
        let stream = connector.connect(id).await?;
        let nick = format!("{}{id}{nick_suffix}", state.plan.nick_prefix);
        let mut session = Self {
            state: Arc::clone(state),
            id,
            base_nick: nick.clone(),
            nick,
            channel,
            link: Arc::new(Link::new(stream)),
            lines: LineBuffer::default(),
            phase: SessionPhase::Registering { tries: 0 },
            sasl: state.plan.accounts.of(id).map(SaslLogin::new),
            inbox: Inbox::new(state.channel_size()),
            visit: (id >= state.plan.connections).then(Visit::default),
        };
        session.register();
        while session.phase != SessionPhase::Joined {
            session.receive_once().await?;
        }
        Ok(session)
    }

    /// Returns the data that the outlet needs.
    pub(crate) fn member(&self) -> Member {
        let (nick, channel) = (self.nick.clone(), self.channel.clone());
        Member { id: self.id, nick, channel, link: Arc::clone(&self.link) }
    }

    /// Receives until the connection fails.
    pub(crate) async fn receive(&mut self) -> Failure {
        loop {
            if let Err(failure) = self.receive_once().await {
                self.link.close();
                return failure;
            }
        }
    }

    /// Closes the connection without a word to the server.
    pub(crate) fn drop_silently(self) {
        if let Some(visit) = &self.visit {
            self.state.on_leave(self.id, visit);
        }
    }

    /// Quits. Returns the received messages.
    pub(crate) fn leave(self) -> Inbox {
        self.link.send(b"QUIT :done\r\n");
        self.link.close();
        if let Some(visit) = &self.visit {
            self.state.on_leave(self.id, visit);
        }
        self.inbox
    }

    fn register(&self) {
        let pass = self.state.plan.pass.as_ref().map(|pass| format!("PASS {pass}\r\n"));
        let nick = &self.nick;
        let cap = self.sasl.as_ref().map_or("", |_| SaslLogin::begin());
        let lines = format!("{cap}{}NICK {nick}\r\nUSER {nick} 0 * :loadgen\r\n", pass.unwrap_or_default());
        self.link.send(lines.as_bytes());
    }

    /// Waits for bytes and processes their lines.
    async fn receive_once(&mut self) -> Result<(), Failure> {
        self.link.readable().await.map_err(|error| Failure::reading(&error))?;
        self.read_lines()
    }

    /// Reads once. All lines of one read have the same arrival time.
    fn read_lines(&mut self) -> Result<(), Failure> {
        READ_BUFFER.with_borrow_mut(|buffer| self.read_lines_with(buffer))
    }

    fn read_lines_with(&mut self, buffer: &mut [u8]) -> Result<(), Failure> {
        let length = match self.link.read(buffer) {
            Ok(0) => return Err(Failure::closed("the target closed the connection")),
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(Failure::reading(&error)),
        };
        let now = Instant::now();
        let mut lines = std::mem::take(&mut self.lines);
        let result = lines.feed(&buffer[..length], |line| self.on_line(line, now));
        self.lines = lines;
        result
    }

    fn on_line(&mut self, line: Option<&[u8]>, now: Instant) -> Result<(), Failure> {
        let Some((line, message)) = line.and_then(|line| Some((line, Message::parse(line)?))) else {
            let failure = Failure::protocol("the target does not speak IRC: it sent", line);
            if self.phase == SessionPhase::Joined {
                self.state.failures.count(&failure);
                return Ok(());
            }
            return Err(failure);
        };
        if let Some(sasl) = &self.sasl
            && let Some(answer) = sasl.on_line(&message, line)?
        {
            if answer.starts_with("CAP END") {
                self.sasl = None;
            }
            self.link.send(answer.as_bytes());
            return Ok(());
        }
        match message.command {
            b"PRIVMSG" => self.on_message(message.trailing(), now),
            b"PING" => self.pong(message.trailing()),
            b"ERROR" => return Err(Failure::closed_with("the target closed the connection", line)),
            _ => {
                if let Some(numeric) = message.numeric() {
                    return self.on_numeric(numeric, line);
                }
            }
        }
        Ok(())
    }

    fn on_message(&mut self, text: &[u8], now: Instant) {
        if let Some(payload) = Payload::parse(text).filter(|payload| payload.run == self.state.run) {
            match &mut self.visit {
                Some(visit) => self.state.on_visit(self.id, visit, &payload),
                None => self.state.on_delivery(self.id, &mut self.inbox, &payload, now),
            }
        }
    }

    fn pong(&self, token: &[u8]) {
        let mut line = b"PONG :".to_vec();
        line.extend_from_slice(token);
        line.extend_from_slice(b"\r\n");
        self.link.send(&line);
    }

    fn on_numeric(&mut self, numeric: u16, line: &[u8]) -> Result<(), Failure> {
        match (self.phase, numeric) {
            (SessionPhase::Registering { .. }, 1) if self.sasl.is_some() => {
                return Err(Failure::protocol("the target has no login with SASL: it sent", Some(line)));
            }
            (SessionPhase::Registering { .. }, 1) => {
                self.phase = SessionPhase::Joining;
                self.link.send(format!("JOIN {}\r\n", self.channel).as_bytes());
            }
            (SessionPhase::Registering { tries }, 433 | 436 | 437) if tries < MAX_NICK_TRIES => {
                self.phase = SessionPhase::Registering { tries: tries + 1 };
                let suffix = char::from(b'a' + u8::try_from(tries).unwrap_or(0));
                self.nick = format!("{}{suffix}", self.base_nick);
                self.link.send(format!("NICK {}\r\n", self.nick).as_bytes());
            }
            (SessionPhase::Joining, 366) => self.phase = SessionPhase::Joined,
            // 422 says that there is no message of the day; it refuses nothing.
            (_, 422) => {}
            (SessionPhase::Registering { .. } | SessionPhase::Joining, 400..=599) => {
                return Err(Failure::protocol("the target refused to register a client:", Some(line)));
            }
            (SessionPhase::Joined, 400..=599) => self.state.on_error_reply(self.id, numeric),
            _ => {}
        }
        Ok(())
    }
}
