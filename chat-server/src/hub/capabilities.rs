//! The IRCv3 capabilities that the server offers.

use crate::irc::tags::TagKinds;

/// The names of the capabilities.
pub(super) const OFFERED: &[&str] = &[
    "account-notify",
    "account-tag",
    "away-notify",
    "batch",
    "draft/account-registration",
    "draft/chathistory",
    "echo-message",
    "extended-join",
    "labeled-response",
    "message-tags",
    "multi-prefix",
    "sasl",
    "server-time",
    "setname",
    "userhost-in-names",
];

/// The capabilities that a client has requested and received.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Capabilities {
    /// ACCOUNT tells the client when a user in a common channel logs in.
    pub(super) account_notify: bool,
    /// Lines carry the account of the user that they come from.
    pub(super) account_tag: bool,
    /// The client may register accounts. REGISTER works without it, too.
    pub(super) account_registration: bool,
    /// AWAY tells the client when a user in a common channel is away or back.
    pub(super) away_notify: bool,
    /// The lines of one response may come as a batch.
    pub(super) batch: bool,
    /// The client uses CHATHISTORY. The command works without it too.
    pub(super) chathistory: bool,
    /// The client receives its own messages, as others receive them.
    pub(super) echo_message: bool,
    /// JOIN has the account, or `*`, and the real name.
    pub(super) extended_join: bool,
    /// The response to a request that has a label has the same label.
    pub(super) labeled_response: bool,
    /// Messages have ids and the tags of their senders, and TAGMSG exists.
    pub(super) message_tags: bool,
    /// NAMES, WHO and WHOIS show all sigils of a member, not only the highest.
    pub(super) multi_prefix: bool,
    /// The client may log in with AUTHENTICATE.
    pub(super) sasl: bool,
    /// Each line carries its time.
    pub(super) server_time: bool,
    /// SETNAME tells the client when a user in a common channel has another
    /// real name.
    pub(super) setname: bool,
    /// NAMES shows `nick!user@host` instead of the nick.
    pub(super) userhost_in_names: bool,
}

impl Capabilities {
    /// Returns the field of the capability `name` if it is offered.
    fn field_mut(&mut self, name: &[u8]) -> Option<&mut bool> {
        match name {
            b"account-notify" => Some(&mut self.account_notify),
            b"account-tag" => Some(&mut self.account_tag),
            b"draft/account-registration" => Some(&mut self.account_registration),
            b"away-notify" => Some(&mut self.away_notify),
            b"batch" => Some(&mut self.batch),
            b"draft/chathistory" => Some(&mut self.chathistory),
            b"echo-message" => Some(&mut self.echo_message),
            b"extended-join" => Some(&mut self.extended_join),
            b"labeled-response" => Some(&mut self.labeled_response),
            b"message-tags" => Some(&mut self.message_tags),
            b"multi-prefix" => Some(&mut self.multi_prefix),
            b"sasl" => Some(&mut self.sasl),
            b"server-time" => Some(&mut self.server_time),
            b"setname" => Some(&mut self.setname),
            b"userhost-in-names" => Some(&mut self.userhost_in_names),
            _ => None,
        }
    }

    /// Applies a request such as `a -b`. Returns `None` if any of its
    /// capabilities is not offered: a request applies as a whole or not at all.
    pub(super) fn with(mut self, request: &[u8], is_offered: impl Fn(&[u8]) -> bool) -> Option<Self> {
        for word in request.split(|&byte| byte == b' ').filter(|word| !word.is_empty()) {
            let (name, on) = word.strip_prefix(b"-").map_or((word, true), |name| (name, false));
            if on && !is_offered(name) {
                return None;
            }
            *self.field_mut(name)? = on;
        }
        Some(self)
    }

    /// Returns which tags the lines to the client have.
    pub(super) fn tag_kinds(self) -> TagKinds {
        TagKinds { time: self.server_time, message: self.message_tags, account: self.account_tag }
    }

    pub(super) fn names(mut self) -> Vec<&'static str> {
        OFFERED.iter().copied().filter(|name| self.field_mut(name.as_bytes()).is_some_and(|on| *on)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offered_capabilities_can_be_turned_on_and_off() {
        let none = Capabilities::default();
        let all = none.with(OFFERED.join(" ").as_bytes(), |_| true).expect("all of it is offered");
        assert_eq!(all.names(), OFFERED);
        assert_eq!(
            all.with(
                b"-server-time  -multi-prefix -setname -sasl -account-notify -account-tag -batch -draft/chathistory \
                  -labeled-response",
                |_| false
            )
            .map(Capabilities::names),
            Some(vec![
                "away-notify",
                "draft/account-registration",
                "echo-message",
                "extended-join",
                "message-tags",
                "userhost-in-names"
            ])
        );
        assert_eq!(none.with(b"echo-message no-such", |_| true), None);
        assert_eq!(none.with(b"echo-message sasl", |name| name != b"sasl"), None);
        assert_eq!(none.with(b"", |_| true), Some(none));
    }
}
