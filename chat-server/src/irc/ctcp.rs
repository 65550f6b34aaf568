//! CTCP: requests and actions inside a PRIVMSG, between bytes 0x01.

/// The kind of a message text.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum MessageText<'a> {
    /// Plain words.
    Words(&'a [u8]),
    /// An action, such as `/me waves`.
    Action(&'a [u8]),
    /// A request to the receiving client, such as VERSION. It is not part of
    /// the conversation.
    Request,
}

impl<'a> MessageText<'a> {
    pub(crate) fn parse(text: &'a [u8]) -> Self {
        let Some(inside) = text.strip_prefix(b"\x01") else { return MessageText::Words(text) };
        // Some clients omit the final byte, and truncation removes it.
        let inside = inside.strip_suffix(b"\x01").unwrap_or(inside);
        let end = inside.iter().position(|&byte| byte == b' ').unwrap_or(inside.len());
        let (command, rest) = inside.split_at(end);
        if command.eq_ignore_ascii_case(b"ACTION") {
            MessageText::Action(rest.strip_prefix(b" ").unwrap_or(rest))
        } else {
            MessageText::Request
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_actions_and_requests_are_distinguished() {
        for (text, expected) in [
            (&b"waves"[..], MessageText::Words(b"waves")),
            (b"", MessageText::Words(b"")),
            (b"a\x01ACTION waves\x01", MessageText::Words(b"a\x01ACTION waves\x01")),
            (b"\x01ACTION waves  back\x01", MessageText::Action(b"waves  back")),
            (b"\x01action waves", MessageText::Action(b"waves")),
            (b"\x01ACTION\x01", MessageText::Action(b"")),
            (b"\x01ACTIONS waves\x01", MessageText::Request),
            (b"\x01VERSION\x01", MessageText::Request),
            (b"\x01\x01", MessageText::Request),
            (b"\x01", MessageText::Request),
        ] {
            assert_eq!(MessageText::parse(text), expected, "{text:?}");
        }
    }
}
