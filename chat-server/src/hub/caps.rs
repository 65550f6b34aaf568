//! CAP: what a client wants beyond RFC 1459.

use super::{ClientId, CommandOutcome, HubState};
use crate::irc::message::Message;
use crate::irc::reply::Replies;

/// What is on offer.
const OFFERED: &[&str] = &["echo-message", "multi-prefix", "server-time"];

/// What a client asked for and got.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Capabilities {
    /// What it says comes back to it, as the others got it.
    pub(super) echo_message: bool,
    /// Names come with all of their sigils.
    pub(super) multi_prefix: bool,
    /// Each line comes with its time.
    pub(super) server_time: bool,
}

impl Capabilities {
    fn slot(&mut self, name: &[u8]) -> Option<&mut bool> {
        match name {
            b"echo-message" => Some(&mut self.echo_message),
            b"multi-prefix" => Some(&mut self.multi_prefix),
            b"server-time" => Some(&mut self.server_time),
            _ => None,
        }
    }

    /// As `wish` has it, such as `a -b`; `None` if it has something that is not on offer: all or nothing.
    fn with(mut self, wish: &[u8]) -> Option<Self> {
        for word in wish.split(|&byte| byte == b' ').filter(|word| !word.is_empty()) {
            let (name, on) = word.strip_prefix(b"-").map_or((word, true), |name| (name, false));
            *self.slot(name)? = on;
        }
        Some(self)
    }

    fn names(mut self) -> Vec<&'static str> {
        OFFERED.iter().copied().filter(|name| self.slot(name.as_bytes()).is_some_and(|on| *on)).collect()
    }
}

impl HubState {
    pub(super) fn cap(
        &mut self,
        id: ClientId,
        message: &Message<'_>,
        replies: &mut Replies,
    ) -> CommandOutcome {
        let Some(client) = self.clients.get_mut(&id) else { return CommandOutcome::Done };
        let nick = client.nick_or_star().to_vec();
        let Some(asked) = message.param(0) else {
            replies.numeric(461, &[b"CAP"], "Not enough parameters");
            return CommandOutcome::Done;
        };
        let word = asked.to_ascii_uppercase();
        if matches!(&word[..], b"LS" | b"REQ") {
            client.negotiating = !client.registered;
        }
        let mut answer =
            |word: &[u8], rest: &[u8]| replies.server_line(&[b"CAP ", &nick, b" ", word, b" :", rest]);
        match &word[..] {
            b"LS" => answer(b"LS", OFFERED.join(" ").as_bytes()),
            b"LIST" => answer(b"LIST", client.capabilities.names().join(" ").as_bytes()),
            b"REQ" => {
                let wish = message.params().get(1).copied().unwrap_or_default();
                match client.capabilities.with(wish) {
                    Some(granted) => {
                        answer(b"ACK", wish);
                        client.capabilities = granted;
                        client.outbox.set_time_tags(granted.server_time);
                        replies.set_time_tags(granted.server_time);
                    }
                    None => answer(b"NAK", wish),
                }
            }
            b"END" => {
                client.negotiating = false;
                return self.register(id, replies);
            }
            _ => replies.numeric(410, &[asked], "Invalid CAP command"),
        }
        CommandOutcome::Done
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_offered_can_be_had_and_given_back() {
        let none = Capabilities::default();
        let all = none.with(OFFERED.join(" ").as_bytes()).expect("all of it is offered");
        assert_eq!(all.names(), OFFERED);
        assert_eq!(
            all.with(b"-server-time  -multi-prefix").map(Capabilities::names),
            Some(vec!["echo-message"])
        );
        assert_eq!(none.with(b"echo-message sasl"), None);
        assert_eq!(none.with(b""), Some(none));
    }
}
