//! CTCP: requests and actions inside a PRIVMSG, between bytes 0x01.

use crate::irc::truncate::truncate;

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

/// Returns the longest beginning of a message text that fits in `max_bytes`
/// together with the final byte of CTCP, and that byte if it must follow.
/// Clients show an action without its final byte as strange characters.
pub(crate) fn truncate_text(text: &[u8], max_bytes: usize) -> (&[u8], &'static [u8]) {
    if text.len() > max_bytes && text.starts_with(b"\x01") && max_bytes > 0 {
        (truncate(text, max_bytes - 1), b"\x01")
    } else {
        (truncate(text, max_bytes), b"")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_action_that_is_cut_keeps_its_final_byte() {
        for (text, max_bytes, expected) in [
            ("\x01ACTION waves\x01", 14, ("\x01ACTION waves\x01", "")),
            ("\x01ACTION waves\x01", 13, ("\x01ACTION wave", "\x01")),
            ("\x01ACTION \u{e4}\x01", 10, ("\x01ACTION ", "\x01")),
            ("waves", 3, ("wav", "")),
            ("\x01waves", 0, ("", "")),
        ] {
            let expected = (expected.0.as_bytes(), expected.1.as_bytes());
            assert_eq!(truncate_text(text.as_bytes(), max_bytes), expected, "{text:?}");
        }
    }

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
