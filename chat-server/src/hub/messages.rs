//! PRIVMSG, NOTICE and TAGMSG.

use std::time::{Instant, SystemTime};

use super::limits::MAX_MESSAGE_TARGETS;
use super::request::{ClientId, CommandOutcome};
use super::state::HubState;
use crate::irc::command::Command;
use crate::irc::ctcp::{MessageText, truncate_text};
use crate::irc::lines::MAX_LINE_BYTES;
use crate::irc::message::{Message, split_commas};
use crate::irc::names::{NameKey, is_channel_like};
use crate::irc::numeric::{
    ERR_CANNOTSENDTOCHAN, ERR_NORECIPIENT, ERR_NOSUCHCHANNEL, ERR_NOSUCHNICK, ERR_NOTEXTTOSEND,
    ERR_TOOMANYTARGETS, ERR_UNKNOWNCOMMAND, RPL_AWAY, StandardReply,
};
use crate::irc::reply::{OutputLine, Replies};
use crate::irc::tags::{MessageTags, client_only};
use crate::services::history::ChannelMessage;
use crate::services::history_store::MAX_STORED_TAG_BYTES;
use crate::services::line_checks::LineChecks;
use crate::services::stored_message::StoredMessage;

/// A message to send and its sender.
struct OutgoingMessage<'a> {
    id: ClientId,
    prefix: Vec<u8>,
    account: Option<Box<[u8]>>,
    command: Command,
    text: &'a [u8],
    /// The tags for clients with `message-tags`.
    tags: Box<[u8]>,
    is_refused: bool,
    /// The sender receives the message too.
    wants_echo: bool,
}

impl HubState {
    pub(super) async fn send_message(
        &mut self,
        id: ClientId,
        command: Command,
        message: &Message<'_>,
        checks: LineChecks,
        replies: &mut Replies,
    ) -> CommandOutcome {
        // A NOTICE never gets a reply, so that two bots cannot answer each
        // other for ever.
        let is_notice = command == Command::Notice;
        let targets = message.param(0).filter(|targets| split_commas(targets).next().is_some());
        let Some(client) = self.clients.get_mut(&id) else { return CommandOutcome::Done };
        let capabilities = client.capabilities;
        let is_tag_message = command == Command::Tagmsg;
        if is_tag_message && !capabilities.message_tags {
            replies.standard(ERR_UNKNOWNCOMMAND, &[message.command]);
            return CommandOutcome::Done;
        }
        let text = if is_tag_message { Some(&b""[..]) } else { message.param(1) };
        let (targets, text) = match (targets, text) {
            (Some(targets), Some(text)) => (targets, text),
            _ if is_notice => return CommandOutcome::Done,
            (None, _) => {
                replies.numeric(ERR_NORECIPIENT, &[], format!("No recipient given ({})", command.name()));
                return CommandOutcome::Done;
            }
            (Some(_), None) => {
                replies.standard(ERR_NOTEXTTOSEND, &[]);
                return CommandOutcome::Done;
            }
        };
        if !is_tag_message {
            client.last_message_at = Instant::now();
        }
        let outgoing = OutgoingMessage {
            id,
            prefix: client.prefix(),
            account: client.account.clone(),
            command,
            text,
            tags: if capabilities.message_tags { client_only(message.tags) } else { Box::default() },
            is_refused: checks.is_refused,
            wants_echo: capabilities.echo_message,
        };
        let (mut in_history, mut seen_targets) = (Vec::new(), Vec::new());
        for target in split_commas(targets) {
            let key = NameKey::new(target);
            // A target that is named twice receives the message once.
            if seen_targets.contains(&key) {
                continue;
            }
            let too_many = seen_targets.len() == MAX_MESSAGE_TARGETS;
            let sent = if too_many {
                Err(ERR_TOOMANYTARGETS)
            } else if is_channel_like(target) {
                self.send_to_channel(&outgoing, &key, &mut in_history, replies).await
            } else {
                self.send_to_nick(&outgoing, &key, replies)
            };
            if let Err(error) = sent
                && !is_notice
            {
                let channel = self.channels.get(&key).filter(|channel| channel.is_visible_to(id));
                replies.standard(error, &[channel.map_or(target, |it| &it.name)]);
            }
            if too_many {
                break;
            }
            seen_targets.push(key);
        }
        if in_history.is_empty() { CommandOutcome::Done } else { CommandOutcome::InHistory(in_history) }
    }

    async fn send_to_channel(
        &mut self,
        outgoing: &OutgoingMessage<'_>,
        key: &NameKey,
        in_history: &mut Vec<ChannelMessage>,
        replies: &mut Replies,
    ) -> Result<(), StandardReply> {
        let channel = self.channels.get(key).ok_or(ERR_NOSUCHCHANNEL)?;
        if !self.clients.get(&outgoing.id).is_some_and(|client| channel.can_speak(client)) {
            let is_visible = channel.is_visible_to(outgoing.id);
            return Err(if is_visible { ERR_CANNOTSENDTOCHAN } else { ERR_NOSUCHCHANNEL });
        }
        if outgoing.is_refused {
            return Err(ERR_CANNOTSENDTOCHAN.with_text("Cannot send to channel (the word filter refuses it)"));
        }
        let (now, id) = self.new_message();
        let line = outgoing.line(id, now, &channel.name, replies);
        // A CTCP request is not part of the conversation, so the history skips
        // it.
        if outgoing.command == Command::Privmsg && MessageText::parse(outgoing.text) != MessageText::Request {
            let (sender, text) = (outgoing.prefix[..].into(), outgoing.text.into());
            // Longer ones are not stored, and would take memory until then.
            let is_stored = outgoing.tags.len() <= MAX_STORED_TAG_BYTES;
            let tags = if is_stored { outgoing.tags.clone() } else { Box::default() };
            let private_to = channel.modes.is_private().then_some(channel.id);
            let message = StoredMessage { id, time: now, sender, text, tags, private_to };
            let message = ChannelMessage { channel: key.clone(), message };
            if self.history.has_mistake() {
                in_history.push(message.clone());
            }
            // First, so that nobody has a message that the history lacks.
            self.history.append(message);
        }
        let receivers = channel.other_members(outgoing.id);
        if outgoing.command == Command::Tagmsg {
            // A client without `message-tags` does not know this command.
            let receivers = receivers.filter(|(_, outbox)| outbox.tag_kinds().message);
            self.delivery.deliver(receivers, &line).await;
        } else {
            self.delivery.deliver(receivers, &line).await;
        }
        Ok(())
    }

    fn send_to_nick(
        &mut self,
        outgoing: &OutgoingMessage<'_>,
        key: &NameKey,
        replies: &mut Replies,
    ) -> Result<(), StandardReply> {
        let id = self.nicks.get(key).copied();
        let client = id.and_then(|id| self.clients.get(&id)).filter(|client| client.is_registered);
        let client = client.ok_or(ERR_NOSUCHNICK)?;
        if outgoing.is_refused {
            return Err(ERR_CANNOTSENDTOCHAN.with_text("Cannot send (the word filter refuses it)"));
        }
        let (now, id) = self.new_message();
        let line = outgoing.line(id, now, client.nick_or_star(), replies);
        if client.id == outgoing.id {
            // In the order of the targets, like the echoes.
            replies.push_delivery(&line);
        } else if outgoing.command != Command::Tagmsg || client.capabilities.message_tags {
            self.delivery.send(client.id, &client.outbox, &line, 1);
        }
        if let (Some(reason), Command::Privmsg) = (&client.away_reason, outgoing.command) {
            replies.numeric(RPL_AWAY, &[client.nick_or_star()], reason);
        }
        Ok(())
    }

    /// Returns the time and the id of a new message.
    fn new_message(&self) -> (SystemTime, u64) {
        let now = SystemTime::now();
        (now, self.ids.next(now))
    }
}

/// Returns the part of a message text that fits in a line with the sender's
/// prefix, and the final byte of CTCP if that must follow.
pub(super) fn fitting_text<'a>(
    prefix: &[u8],
    command: &[u8],
    target: &[u8],
    text: &'a [u8],
) -> (&'a [u8], &'static [u8]) {
    let head = b": ".len() + prefix.len() + command.len() + b" ".len() + target.len() + b" :".len();
    truncate_text(text, (MAX_LINE_BYTES - b"\r\n".len()).saturating_sub(head))
}

impl OutgoingMessage<'_> {
    /// Returns the line for the receivers. The sender receives its echo, and a
    /// NOTICE if the end of the text does not fit. A NOTICE never gets a reply.
    fn line(&self, id: u64, time: SystemTime, target: &[u8], replies: &mut Replies) -> OutputLine {
        let command = self.command.name().as_bytes();
        let (text, end) = fitting_text(&self.prefix, command, target, self.text);
        let tags = MessageTags { time, id, client_only: self.tags.clone() };
        let colon: &[u8] = if self.command == Command::Tagmsg { b"" } else { b" :" };
        let line =
            OutputLine::with_tags(&[b":", &self.prefix, b" ", command, b" ", target, colon, text, end], tags)
                .with_account(self.account.as_deref());
        let (sent, all) = (text.len() + end.len(), self.text.len());
        if self.wants_echo {
            // It shows what the receivers get.
            replies.push_copy(&line);
        } else if sent < all && self.command == Command::Privmsg {
            // Numeric 417 would mean that nobody has received the message.
            let sizes = format!(" was cut: it has {all} bytes, of which {sent} fit");
            let nick = replies.target().to_vec();
            replies.server_line(&[b"NOTICE ", &nick, b" :The message to ", target, sizes.as_bytes()]);
        }
        line
    }
}
