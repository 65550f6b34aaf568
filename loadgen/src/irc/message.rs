//! Parses one line of the protocol.
//!
//! The chat server has its own parser. The two are independent on purpose, so
//! that each one checks the other.

/// The parts of a line that the generator needs: command and parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Message<'a> {
    /// The command: letters, or three digits.
    pub(crate) command: &'a [u8],
    /// The rest of the line, unparsed.
    parameters: &'a [u8],
}

impl<'a> Message<'a> {
    /// Parses a line; `None` if it is not an IRC line.
    pub(crate) fn parse(line: &'a [u8]) -> Option<Self> {
        let mut rest = line;
        for prefix in [b'@', b':'] {
            if rest.first() == Some(&prefix) {
                rest = split_word(rest).1;
            }
        }
        let (command, parameters) = split_word(rest);
        let numeric = command.len() == 3 && command.iter().all(u8::is_ascii_digit);
        let word = !command.is_empty() && command.iter().all(u8::is_ascii_alphabetic);
        (numeric || word).then_some(Self { command, parameters })
    }

    /// Returns the number of a numeric reply.
    pub(crate) fn numeric(&self) -> Option<u16> {
        std::str::from_utf8(self.command).ok()?.parse().ok()
    }

    /// Returns the second parameter, such as the verb of `CAP`.
    pub(crate) fn second(&self) -> &'a [u8] {
        split_word(split_word(self.parameters).1).0
    }

    /// Returns the last parameter: the text after a colon, or the last word.
    pub(crate) fn trailing(&self) -> &'a [u8] {
        let mut rest = self.parameters;
        loop {
            if let Some(trailing) = rest.strip_prefix(b":") {
                return trailing;
            }
            let (word, next) = split_word(rest);
            if next.is_empty() {
                return word;
            }
            rest = next;
        }
    }
}

/// Returns the first word, and the rest after the blanks that follow it.
fn split_word(bytes: &[u8]) -> (&[u8], &[u8]) {
    let end = bytes.iter().position(|&byte| byte == b' ').unwrap_or(bytes.len());
    let (word, rest) = bytes.split_at(end);
    let blanks = rest.iter().take_while(|&&byte| byte == b' ').count();
    (word, &rest[blanks..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_and_last_parameter_are_parsed() {
        let message = Message::parse(b"@time=1 :a!b@c PRIVMSG  #channel :hello : you").expect("a message");
        assert_eq!((message.command, message.trailing()), (&b"PRIVMSG"[..], &b"hello : you"[..]));
        let message = Message::parse(b":server 433 * lg1 :in use").expect("a message");
        assert_eq!((message.numeric(), message.trailing()), (Some(433), &b"in use"[..]));
        let message = Message::parse(b"PING token").expect("a message");
        assert_eq!((message.numeric(), message.trailing()), (None, &b"token"[..]));
        assert_eq!(Message::parse(b"PING").expect("a message").trailing(), b"");
    }

    #[test]
    fn lines_of_other_protocols_are_refused() {
        for line in
            [&b"HTTP/1.1 400 Bad Request"[..], b"SSH-2.0-x", b"-ERR unknown", b"\x16\x03\x01", b":a", b"@"]
        {
            assert_eq!(Message::parse(line), None, "{line:?}");
        }
    }
}
