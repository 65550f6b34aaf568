//! One client of the chat: registers, joins its channel, answers, receives.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use super::lines::LineBuffer;
use super::link::Link;
use super::message::Message;
use super::payload::Payload;
use crate::record::{Failure, Inbox, RunState, Visit};

/// How often a nick that is in use is replaced by another.
const MAX_NICK_TRIES: u32 = 8;

/// A client that takes part: what the sender needs to know of it.
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
    nick: String,
    channel: String,
    link: Arc<Link>,
    lines: LineBuffer,
    stage: SessionPhase,
    inbox: Inbox,
    /// For one who comes and goes, instead of the inbox.
    visit: Option<Visit>,
}

impl Session {
    /// Connects, registers and joins `channel`.
    pub(crate) async fn open(
        state: &Arc<RunState>,
        address: SocketAddr,
        id: usize,
        channel: String,
    ) -> Result<Self, Failure> {
        let link = Link::connect(address, id).await.map_err(|error| Failure::connecting(&error))?;
        let mut session = Self {
            state: Arc::clone(state),
            id,
            nick: format!("{}{id}", state.plan.nick_prefix),
            channel,
            link: Arc::new(link),
            lines: LineBuffer::default(),
            stage: SessionPhase::Registering { tries: 0 },
            inbox: Inbox::new(state.channel_size()),
            visit: (id >= state.plan.connections).then(Visit::default),
        };
        session.register();
        while session.stage != SessionPhase::Joined {
            session.turn().await?;
        }
        Ok(session)
    }

    /// What the sender needs to know.
    pub(crate) fn member(&self) -> Member {
        let (nick, channel) = (self.nick.clone(), self.channel.clone());
        Member { id: self.id, nick, channel, link: Arc::clone(&self.link) }
    }

    /// Receives until the connection fails.
    pub(crate) async fn receive(&mut self) -> Failure {
        loop {
            if let Err(failure) = self.turn().await {
                self.link.close();
                return failure;
            }
        }
    }

    /// Says good-bye and gives what was received.
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
        let lines = format!("{}NICK {nick}\r\nUSER {nick} 0 * :loadgen\r\n", pass.unwrap_or_default());
        self.link.send(lines.as_bytes());
    }

    /// Waits for bytes and takes in what they say.
    async fn turn(&mut self) -> Result<(), Failure> {
        self.link.readable().await.map_err(|error| Failure::reading(&error))?;
        self.take_in()
    }

    /// One read; all its lines came at the same moment.
    fn take_in(&mut self) -> Result<(), Failure> {
        let mut buffer = [0; 16 * 1024];
        let length = match self.link.read(&mut buffer) {
            Ok(0) => return Err(Failure::closed("the target closed the connection")),
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(Failure::reading(&error)),
        };
        let now = Instant::now();
        let mut lines = std::mem::take(&mut self.lines);
        let taken = lines.feed(&buffer[..length], |line| self.on_line(line, now));
        self.lines = lines;
        taken
    }

    fn on_line(&mut self, line: Option<&[u8]>, now: Instant) -> Result<(), Failure> {
        let Some((line, message)) = line.and_then(|line| Some((line, Message::parse(line)?))) else {
            let failure = Failure::protocol("the target does not speak IRC: it said", line);
            if self.stage == SessionPhase::Joined {
                self.state.failures.count(&failure);
                return Ok(());
            }
            return Err(failure);
        };
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
        if let Some(payload) = Payload::read(text).filter(|payload| payload.run == self.state.run) {
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
        match (self.stage, numeric) {
            (SessionPhase::Registering { .. }, 1) => {
                self.stage = SessionPhase::Joining;
                self.link.send(format!("JOIN {}\r\n", self.channel).as_bytes());
            }
            (SessionPhase::Registering { tries }, 433 | 436 | 437) if tries < MAX_NICK_TRIES => {
                self.stage = SessionPhase::Registering { tries: tries + 1 };
                let suffix = char::from(b'a' + u8::try_from(tries).unwrap_or(0));
                self.nick = format!("{}{}{suffix}", self.state.plan.nick_prefix, self.id);
                self.link.send(format!("NICK {}\r\n", self.nick).as_bytes());
            }
            (SessionPhase::Joining, 366) => self.stage = SessionPhase::Joined,
            // There is no message of the day: that refuses nobody anything.
            (_, 422) => {}
            (SessionPhase::Registering { .. } | SessionPhase::Joining, 400..=599) => {
                return Err(Failure::protocol("the target did not let a client in:", Some(line)));
            }
            (SessionPhase::Joined, 400..=599) => self.state.on_error_reply(self.id, numeric),
            _ => {}
        }
        Ok(())
    }
}
