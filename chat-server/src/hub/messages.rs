//! Talking: PRIVMSG and NOTICE.

use std::time::Instant;

use super::{Checks, ClientId, Next, World, registration::TARGETS};
use crate::{
    command::Command,
    inject::history::Entry,
    message::{Message, list},
    names::{Key, is_channel_like},
    reply::{Line, Replies},
};

/// Something to say and who says it.
struct Speech<'a> {
    id: ClientId,
    prefix: Vec<u8>,
    command: Command,
    text: &'a [u8],
    refused: bool,
    /// The speaker gets it too.
    echo: bool,
}

/// Why it was not delivered.
type Failure = (u16, &'static str);

impl World {
    pub(super) async fn talk(
        &mut self,
        id: ClientId,
        command: Command,
        message: &Message<'_>,
        checks: Checks,
        replies: &mut Replies,
    ) -> Next {
        // A NOTICE is never answered, so that two robots cannot keep each other talking.
        let silent = command == Command::Notice;
        let (targets, text) = match (message.param(0), message.param(1)) {
            (Some(targets), Some(text)) => (targets, text),
            _ if silent => return Next::Done,
            (None, _) => {
                replies.numeric(411, &[], format!("No recipient given ({})", command.name()));
                return Next::Done;
            }
            (Some(_), None) => {
                replies.numeric(412, &[], "No text to send");
                return Next::Done;
            }
        };
        let Some(client) = self.clients.get_mut(&id) else { return Next::Done };
        client.spoke = Instant::now();
        let speech =
            Speech { id, prefix: client.prefix(), command, text, refused: checks.refused, echo: client.echo };
        let mut said = Vec::new();
        for (index, target) in list(targets).enumerate() {
            let failed = match index {
                TARGETS.. => Err((407, "Too many targets")),
                _ if is_channel_like(target) => {
                    self.say_in_channel(&speech, target, &mut said, replies).await
                }
                _ => self.say_to_nick(&speech, target, replies),
            };
            if let (Err((code, text)), false) = (failed, silent) {
                replies.numeric(code, &[target], text);
            }
            if index >= TARGETS {
                break;
            }
        }
        if said.is_empty() { Next::Done } else { Next::Said(said) }
    }

    async fn say_in_channel(
        &mut self,
        speech: &Speech<'_>,
        target: &[u8],
        said: &mut Vec<Entry>,
        replies: &mut Replies,
    ) -> Result<(), Failure> {
        let key = Key::new(target);
        let channel = self.channels.get(&key).ok_or((403, "No such channel"))?;
        if !channel.hears(speech.id, &speech.prefix) {
            return Err((404, "Cannot send to channel"));
        }
        if speech.refused {
            return Err((404, "Cannot send to channel (the word filter refuses it)"));
        }
        let line = speech.line(&channel.name);
        if speech.echo {
            replies.copy(&line);
        }
        self.post.deliver(&channel.members, &line, Some(speech.id)).await;
        if speech.command == Command::Privmsg {
            let nick = speech.prefix.split(|&byte| byte == b'!').next().unwrap_or_default().into();
            said.push(Entry { channel: key, nick, text: speech.text.into() });
        }
        Ok(())
    }

    fn say_to_nick(
        &mut self,
        speech: &Speech<'_>,
        target: &[u8],
        replies: &mut Replies,
    ) -> Result<(), Failure> {
        let found = self.find(target).and_then(|id| Some((id, self.clients.get(&id)?)));
        let (id, client) = found.ok_or((401, "No such nick/channel"))?;
        if speech.refused {
            return Err((404, "Cannot send (the word filter refuses it)"));
        }
        let line = speech.line(client.nick_or_star());
        if speech.echo {
            replies.copy(&line);
        }
        self.post.one(id, &client.outbox, &line, 1);
        if let (Some(away), Command::Privmsg) = (&client.away, speech.command) {
            replies.numeric(301, &[client.nick_or_star()], away);
        }
        Ok(())
    }
}

impl Speech<'_> {
    fn line(&self, target: &[u8]) -> Line {
        Line::new(&[
            b":",
            &self.prefix[..],
            b" ",
            self.command.name().as_bytes(),
            b" ",
            target,
            b" :",
            self.text,
        ])
    }
}
