//! Parses one line of the protocol. The message borrows the line and keeps
//! bytes as they are.

/// Maximum parameters of a line. The last one takes the rest of the line.
const MAX_PARAMS: usize = 15;

/// A parsed line: `[@tags ][:source ]COMMAND[ params][ :trailing]`.
///
/// The source is skipped: clients may send one, but the server does not use it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Message<'a> {
    /// The command as the client spelled it. It is never empty.
    pub(crate) command: &'a [u8],
    /// The bytes between `@` and the first space. See [`tags`](super::tags).
    pub(crate) tags: &'a [u8],
    params: [&'a [u8]; MAX_PARAMS],
    count: usize,
}

impl<'a> Message<'a> {
    /// Parses a line without its ending. Returns `None` if it holds no command.
    ///
    /// The line ends at the first NUL, CR or LF. Other servers also end a line
    /// at a NUL.
    pub(crate) fn parse(line: &'a [u8]) -> Option<Self> {
        let end = line.iter().position(|&byte| matches!(byte, 0 | b'\r' | b'\n')).unwrap_or(line.len());
        let mut rest = skip_spaces(&line[..end]);
        let mut tags = &b""[..];
        if let Some(tagged) = rest.strip_prefix(b"@") {
            (tags, rest) = split_word(tagged);
        }
        if rest.first() == Some(&b':') {
            rest = split_word(rest).1;
        }
        let (command, mut rest) = split_word(rest);
        if command.is_empty() {
            return None;
        }
        let mut message = Message { command, tags, params: [b""; MAX_PARAMS], count: 0 };
        while !rest.is_empty() {
            let (param, remainder) = match rest.strip_prefix(b":") {
                Some(trailing) => (trailing, &b""[..]),
                None if message.count == MAX_PARAMS - 1 => (rest, &b""[..]),
                None => split_word(rest),
            };
            message.params[message.count] = param;
            message.count += 1;
            rest = remainder;
        }
        Some(message)
    }

    /// Returns all parameters.
    pub(crate) fn params(&self) -> &[&'a [u8]] {
        &self.params[..self.count]
    }

    /// Returns the parameter at `index` unless it is missing or empty.
    pub(crate) fn param(&self, index: usize) -> Option<&'a [u8]> {
        self.params().get(index).copied().filter(|param| !param.is_empty())
    }
}

/// Returns the parts of a comma-separated list, without empty parts.
pub(crate) fn split_commas(param: &[u8]) -> impl Iterator<Item = &[u8]> {
    param.split(|&byte| byte == b',').filter(|part| !part.is_empty())
}

/// Returns the first word, and the rest from the start of the next word.
fn split_word(bytes: &[u8]) -> (&[u8], &[u8]) {
    let end = bytes.iter().position(|&byte| byte == b' ').unwrap_or(bytes.len());
    (&bytes[..end], skip_spaces(&bytes[end..]))
}

fn skip_spaces(bytes: &[u8]) -> &[u8] {
    let start = bytes.iter().position(|&byte| byte != b' ').unwrap_or(bytes.len());
    &bytes[start..]
}

#[cfg(test)]
mod oracle;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parts(line: &str) -> (String, Vec<String>) {
        let message = Message::parse(line.as_bytes()).expect("a command");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (text(message.command), message.params().iter().map(|param| text(param)).collect())
    }

    #[test]
    fn splits_command_parameters_and_trailing() {
        assert_eq!(parts("PRIVMSG #a :hi there"), ("PRIVMSG".into(), vec!["#a".into(), "hi there".into()]));
        assert_eq!(parts("NICK ada"), ("NICK".into(), vec!["ada".into()]));
        assert_eq!(parts("QUIT"), ("QUIT".into(), vec![]));
        assert_eq!(parts("JOIN :"), ("JOIN".into(), vec![String::new()]));
        assert_eq!(parts("TOPIC #a ::)"), ("TOPIC".into(), vec!["#a".into(), ":)".into()]));
    }

    #[test]
    fn separates_tags_and_skips_source_and_extra_spaces() {
        let tags = |line: &'static str| Message::parse(line.as_bytes()).expect("a command").tags;
        assert_eq!(tags("@time=1;+a=b :ada!a@h PRIVMSG #a x"), b"time=1;+a=b");
        assert_eq!(tags("@ PING x"), b"");
        assert_eq!(tags("PING @x"), b"");
        assert_eq!(parts("@time=1 :ada!a@h  PRIVMSG   #a  x "), parts("PRIVMSG #a x"));
        assert_eq!(parts("  NICK  ada  "), parts("NICK ada"));
    }

    #[test]
    fn a_line_without_a_command_is_not_a_message() {
        for line in ["", "   ", ":source", "@tags", "@tags :source", "\0NICK a", "\r\n"] {
            assert_eq!(Message::parse(line.as_bytes()), None, "{line:?}");
        }
    }

    #[test]
    fn the_fifteenth_parameter_takes_the_rest() {
        let (_, params) = parts("X 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 :17");
        assert_eq!(params.len(), MAX_PARAMS);
        assert_eq!(params[14], "15 16 :17");
    }

    #[test]
    fn bytes_that_are_not_utf8_are_kept() {
        let message = Message::parse(b"PRIVMSG #a :\xff\xfe").expect("a command");
        assert_eq!(message.param(1), Some(&b"\xff\xfe"[..]));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(line in proptest::collection::vec(any::<u8>(), 0..600)) {
            if let Some(message) = Message::parse(&line) {
                prop_assert!(!message.command.is_empty());
                prop_assert!(message.params().len() <= MAX_PARAMS);
                prop_assert!(message.params().iter().all(|param| !param.contains(&b'\n')));
            }
        }

        #[test]
        fn parsing_inverts_formatting(
            command in "[A-Za-z0-9]{1,10}",
            middle in proptest::collection::vec("[^ :\r\n\0][^ \r\n\0]{0,8}", 0..14),
            trailing in "[^\r\n\0]{0,40}",
        ) {
            let line = [vec![command.clone()], middle.clone(), vec![format!(":{trailing}")]].concat().join(" ");
            let mut expected = middle;
            expected.push(trailing);
            prop_assert_eq!(parts(&line), (command, expected));
        }
    }
}
