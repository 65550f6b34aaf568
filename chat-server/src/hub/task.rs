//! The hub's task: takes events and dispatches commands.

use tokio::sync::mpsc;

use super::client::Client;
use super::request::{ClientId, CommandOutcome, HubEvent, LeaveRequest, Request, RequestOutcome};
use super::state::HubState;
use crate::irc::command::Command;
use crate::irc::message::Message;
use crate::irc::numeric::{ERR_INPUTTOOLONG, ERR_NOTREGISTERED};
use crate::irc::reply::Replies;
use crate::irc::tags;
use crate::metrics::Rejection;
use crate::services::history_query::HistoryAnswer;
use crate::services::line_checks::LineChecks;

/// Handles events until all handles are dropped.
///
/// Requests to leave have a separate queue, and `select!` picks between the
/// queues at random. Each QUIT goes to all clients that share an IRC channel
/// with the client. When a thousand clients leave at once, a message of another
/// client must not wait for all these QUITs.
pub(super) async fn run(
    mut events: mpsc::Receiver<HubEvent>,
    mut leaving: mpsc::Receiver<LeaveRequest>,
    mut state: HubState,
) {
    loop {
        tokio::select! {
            event = events.recv() => match event {
                Some(event) => state.handle_event(event).await,
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
    pub(super) async fn handle_event(&mut self, event: HubEvent) {
        match event {
            HubEvent::Connect { id, host, transport, outbox, done } => {
                let client = Client::new(id, host, transport, outbox, !self.identity.needs_password);
                match self.drained_for {
                    Some(reason) => client.send_closing_error(reason.as_bytes()),
                    None => drop(self.clients.insert(id, client)),
                }
                let _ = done.send(());
            }
            HubEvent::Request { id, request, outcome } => {
                let result = self.handle_request(id, request).await;
                // If the session has ended in the meantime, it sends a leave
                // request itself.
                let _ = outcome.send(result);
            }
            HubEvent::Drain { reason } => self.drain(reason).await,
        }
    }

    async fn handle_request(&mut self, id: ClientId, request: Request) -> RequestOutcome {
        let Some(client) = self.clients.get_mut(&id) else { return RequestOutcome::Disconnected };
        let kinds = client.outbox.tag_kinds();
        let mut replies = Replies::new(self.identity.name.clone(), client.nick_or_star(), kinds);
        if request.is_answer_of_session() {
            replies.set_label(client.waiting_label.take());
        }
        let outcome = match request {
            Request::Line(line, checks) => self.handle_line(id, &line, checks, &mut replies).await,
            Request::TooLong => {
                replies.standard(ERR_INPUTTOOLONG, &[]);
                CommandOutcome::Done
            }
            Request::Foreign(protocol) => {
                protocol.preamble().iter().for_each(|line| replies.line(&[line.as_bytes()]));
                self.delivery.count_rejected(Rejection::Protocol);
                CommandOutcome::Disconnect(protocol.refusal(self.identity.tls_port).into())
            }
            Request::RegistrationTimeout if client.is_registered => CommandOutcome::Done,
            Request::RegistrationTimeout => {
                self.delivery.count_rejected(Rejection::Timeout);
                CommandOutcome::Disconnect(b"Registration timed out".to_vec())
            }
            Request::PasswordChecked { is_right } => self.admit(id, is_right, &mut replies),
            Request::Reloaded { sentence } => {
                self.send_reloaded(&sentence, &mut replies);
                CommandOutcome::Done
            }
            Request::LoginChecked { account } => {
                self.end_login(id, account, &mut replies).await;
                CommandOutcome::Done
            }
            Request::AccountRegistered { name, registration } => {
                self.end_account_registration(id, name, registration, &mut replies).await;
                CommandOutcome::Done
            }
            Request::Ping => {
                replies.line(&[b"PING :", self.identity.name.as_bytes()]);
                CommandOutcome::Done
            }
            Request::History(answer) => {
                match *answer {
                    HistoryAnswer::Notices { channel, page } => {
                        self.send_history(&channel, page, &mut replies);
                    }
                    HistoryAnswer::Lines { subcommand, channel, page } => {
                        self.send_chathistory(id, subcommand, &channel, page, &mut replies);
                    }
                    HistoryAnswer::Targets(targets) => {
                        self.send_chathistory_targets(id, targets, &mut replies);
                    }
                }
                CommandOutcome::Done
            }
        };
        if let Some(client) = self.clients.get_mut(&id) {
            match outcome {
                // The response comes, or continues, with the session's answer.
                CommandOutcome::ReadHistory(_)
                | CommandOutcome::CheckPassword(_)
                | CommandOutcome::Reload
                | CommandOutcome::LogIn(_)
                | CommandOutcome::RegisterAccount(_) => client.waiting_label = replies.take_label(),
                // ERROR is not a response.
                CommandOutcome::Disconnect(_) => drop(replies.take_label()),
                CommandOutcome::Done | CommandOutcome::InHistory(_) => {}
            }
            self.delivery.reply(id, &client.outbox, &mut replies);
        }
        match outcome {
            CommandOutcome::Done => RequestOutcome::Done,
            CommandOutcome::InHistory(messages) => RequestOutcome::InHistory(messages),
            CommandOutcome::ReadHistory(read) => RequestOutcome::ReadHistory(Box::new(read)),
            CommandOutcome::CheckPassword(password) => RequestOutcome::CheckPassword(password),
            CommandOutcome::Reload => RequestOutcome::Reload,
            CommandOutcome::LogIn(credentials) => RequestOutcome::LogIn(credentials),
            CommandOutcome::RegisterAccount(credentials) => RequestOutcome::RegisterAccount(credentials),
            CommandOutcome::Disconnect(reason) => {
                self.remove(id, &reason).await;
                RequestOutcome::Disconnected
            }
        }
    }

    async fn handle_line(
        &mut self,
        id: ClientId,
        line: &[u8],
        checks: LineChecks,
        replies: &mut Replies,
    ) -> CommandOutcome {
        let Some(message) = Message::parse(line) else { return CommandOutcome::Done };
        let command = Command::from_word(message.command);
        let client = self.clients.get(&id);
        let is_registered = client.is_some_and(|client| client.is_registered);
        if client.is_some_and(|client| client.capabilities.labeled_response && client.capabilities.batch) {
            replies.set_label(tags::label(message.tags).map(Into::into));
        }
        // irssi sends an empty JOIN first, to find out whether it is connected
        // to a proxy.
        let is_empty_join = command == Command::Join && message.params() == [b""];
        if is_empty_join {
            return CommandOutcome::Done;
        }
        if !is_registered && !command.is_allowed_before_registration() {
            replies.standard(ERR_NOTREGISTERED, &[]);
            return CommandOutcome::Done;
        }
        match command {
            Command::Quit => return self.quit(&message),
            Command::History => return self.history(id, &message, replies),
            Command::Chathistory => return self.chathistory(id, &message, replies),
            Command::Privmsg | Command::Notice | Command::Tagmsg => {
                return self.send_message(id, command, &message, checks, replies).await;
            }
            Command::Cap => return self.cap(id, &message, replies),
            Command::Authenticate => return self.authenticate(id, &message, replies),
            Command::Register => return self.register_account(id, &message, replies),
            Command::Pass => self.pass(id, &message, replies),
            Command::User => return self.user(id, &message, replies),
            Command::Kill => return self.kill(id, &message, replies).await,
            Command::Rehash => return self.rehash(id, replies),
            Command::Nick => return self.nick(id, &message, replies).await,
            Command::Join => self.join(id, &message, replies).await,
            Command::Part => self.part(id, &message, replies).await,
            Command::Topic => self.topic(id, &message, replies).await,
            Command::Mode => self.mode(id, &message, replies).await,
            Command::Kick => self.kick(id, &message, replies).await,
            Command::Names => self.names(id, &message, replies).await,
            Command::Away => self.away(id, &message, replies).await,
            Command::Setname => self.set_name(id, &message, replies).await,
            Command::List => self.list(id, &message, replies).await,
            Command::Who => self.who(id, &message, replies).await,
            _ => self.query(id, command, &message, checks, replies),
        }
        CommandOutcome::Done
    }
}
