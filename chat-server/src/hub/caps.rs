//! Capabilities: what a client may ask for beyond the first protocol.

use super::{ClientId, Next, World};
use crate::{message::Message, reply::Replies};

/// All that is offered, as it is listed.
const OFFERED: &str = "echo-message server-time";

/// One wish of a CAP REQ.
#[derive(Debug, Clone, Copy)]
enum Wish {
    Echo(bool),
    Time(bool),
}

impl Wish {
    fn of(word: &[u8]) -> Option<Self> {
        let (wanted, name) = word.strip_prefix(b"-").map_or((true, word), |name| (false, name));
        match name {
            b"echo-message" => Some(Wish::Echo(wanted)),
            b"server-time" => Some(Wish::Time(wanted)),
            _ => None,
        }
    }
}

impl World {
    pub(super) fn cap(&mut self, id: ClientId, message: &Message<'_>, replies: &mut Replies) -> Next {
        let Some(client) = self.clients.get_mut(&id) else { return Next::Done };
        let nick = client.nick_or_star().to_vec();
        let word = message.param(0).unwrap_or_default().to_ascii_uppercase();
        match &word[..] {
            b"LS" | b"REQ" => client.negotiating = !client.registered,
            _ => {}
        }
        match &word[..] {
            b"LS" => replies.server_line(&[b"CAP ", &nick, b" LS :", OFFERED.as_bytes()]),
            b"LIST" => {
                let on = [(client.echo, "echo-message"), (client.outbox.stamped(), "server-time")];
                let on: Vec<_> = on.into_iter().filter(|it| it.0).map(|it| it.1).collect();
                replies.server_line(&[b"CAP ", &nick, b" LIST :", on.join(" ").as_bytes()]);
            }
            b"REQ" => self.request_caps(id, &nick, message, replies),
            b"END" => {
                client.negotiating = false;
                return self.register(id, replies);
            }
            _ => replies.numeric(410, &[&word], "Invalid CAP command"),
        }
        Next::Done
    }

    /// All wishes are granted, or none.
    fn request_caps(&mut self, id: ClientId, nick: &[u8], message: &Message<'_>, replies: &mut Replies) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        let text = message.params().get(1).copied().unwrap_or_default();
        let words = text.split(|&byte| byte == b' ').filter(|word| !word.is_empty());
        let wishes: Option<Vec<Wish>> = words.map(Wish::of).collect();
        let verdict: &[u8] = if wishes.is_some() { b" ACK :" } else { b" NAK :" };
        replies.server_line(&[b"CAP ", nick, verdict, text]);
        for wish in wishes.unwrap_or_default() {
            match wish {
                Wish::Echo(on) => client.echo = on,
                Wish::Time(on) => {
                    client.outbox.stamp(on);
                    replies.stamp(on);
                }
            }
        }
    }
}
