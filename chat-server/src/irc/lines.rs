//! Splits the bytes of a socket into lines and drops lines that are too long.

use crate::irc::tags::MAX_CLIENT_TAG_BYTES;

/// Maximum bytes of a line without its tags, including its ending.
pub(crate) const MAX_LINE_BYTES: usize = 512;

/// A received line.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum InputLine {
    /// A line without its ending. It is never empty.
    Whole(Box<[u8]>),
    /// A line over the limit. It is dropped and reported once, as soon as the
    /// limit is exceeded.
    TooLong,
}

/// Holds received bytes until they form lines.
#[derive(Debug, Default)]
pub(crate) struct LineBuffer {
    bytes: Vec<u8>,
    /// The start of the bytes that have not been returned yet.
    start: usize,
    /// Set while the rest of an overlong line is dropped.
    is_discarding: bool,
}

impl LineBuffer {
    /// Returns the buffer for the next read. Call it only when
    /// [`next`](Self::next) has returned `None`, so that the buffer holds less
    /// than one line.
    pub(crate) fn space(&mut self) -> &mut Vec<u8> {
        self.bytes.drain(..self.start);
        self.start = 0;
        if self.bytes.is_empty() && self.bytes.capacity() > 2 * MAX_LINE_BYTES {
            // A line with many tags is rare. An idle connection keeps little
            // memory.
            self.bytes = Vec::new();
        }
        self.bytes.reserve(MAX_LINE_BYTES);
        &mut self.bytes
    }

    /// Returns the bytes that have not been returned as a line.
    pub(crate) fn unread(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    /// Returns the next complete line. CR, LF and CRLF end a line.
    pub(crate) fn next(&mut self) -> Option<InputLine> {
        loop {
            let rest = &self.bytes[self.start..];
            let Some(end) = rest.iter().position(|&byte| matches!(byte, b'\r' | b'\n')) else {
                return self.check_incomplete_line();
            };
            let line = &rest[..end];
            self.start += end + 1;
            if std::mem::take(&mut self.is_discarding) || line.is_empty() {
                continue;
            }
            return Some(if is_too_long(line) { InputLine::TooLong } else { InputLine::Whole(line.into()) });
        }
    }

    /// Keeps an incomplete line for the next read. Reports it and starts to
    /// discard if it is already too long.
    fn check_incomplete_line(&mut self) -> Option<InputLine> {
        if self.is_discarding {
            self.start = self.bytes.len();
            return None;
        }
        if !is_too_long(&self.bytes[self.start..]) {
            return None;
        }
        self.is_discarding = true;
        self.start = self.bytes.len();
        Some(InputLine::TooLong)
    }
}

/// Returns whether a line, or the beginning of one, has too many bytes of tags
/// or too many other bytes.
fn is_too_long(line: &[u8]) -> bool {
    let tag_bytes = match line.first() {
        Some(b'@') => line.iter().position(|&byte| byte == b' ').map_or(line.len(), |space| space + 1),
        _ => 0,
    };
    tag_bytes > MAX_CLIENT_TAG_BYTES || line.len() - tag_bytes > MAX_LINE_BYTES - 2
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn split(chunks: &[&[u8]]) -> Vec<InputLine> {
        let mut buffer = LineBuffer::default();
        let mut lines = Vec::new();
        for chunk in chunks {
            buffer.space().extend_from_slice(chunk);
            lines.extend(std::iter::from_fn(|| buffer.next()));
        }
        lines
    }

    fn whole(line: &[u8]) -> InputLine {
        InputLine::Whole(line.into())
    }

    #[test]
    fn every_ending_ends_a_line_and_empty_lines_are_skipped() {
        assert_eq!(split(&[b"a\r\nb\nc\r\r\n\nd"]), [whole(b"a"), whole(b"b"), whole(b"c")]);
        assert_eq!(split(&[b"PI", b"NG", b"\r", b"\n"]), [whole(b"PING")]);
    }

    #[test]
    fn an_overlong_line_is_reported_once_and_dropped() {
        let long = [b'x'; 600];
        assert_eq!(split(&[&long, &long, b"tail\r\nnext\r\n"]), [InputLine::TooLong, whole(b"next")]);
        let mut complete_line = vec![b'x'; 511];
        complete_line.extend_from_slice(b"\r\nnext\n");
        assert_eq!(split(&[&complete_line]), [InputLine::TooLong, whole(b"next")]);
    }

    #[test]
    fn the_longest_line_allowed_passes() {
        let mut line = vec![b'x'; MAX_LINE_BYTES - 2];
        line.extend_from_slice(b"\r\n");
        assert_eq!(split(&[&line]), [whole(&[b'x'; MAX_LINE_BYTES - 2])]);
    }

    #[test]
    fn tags_have_a_limit_of_their_own() {
        let line = |tag_bytes: usize, bytes: usize| {
            [b"@", &vec![b't'; tag_bytes - 2][..], b" ", &vec![b'x'; bytes], b"\n"].concat()
        };
        for (tag_bytes, bytes, passes) in [
            (MAX_CLIENT_TAG_BYTES, MAX_LINE_BYTES - 2, true),
            (MAX_CLIENT_TAG_BYTES + 1, 1, false),
            (2, MAX_LINE_BYTES - 1, false),
        ] {
            let line = line(tag_bytes, bytes);
            let expected = if passes { whole(&line[..line.len() - 1]) } else { InputLine::TooLong };
            assert_eq!(split(&[&line]), [expected], "{tag_bytes} {bytes}");
        }
        // The buffer gives the memory of a long line back.
        let mut buffer = LineBuffer::default();
        buffer.space().extend_from_slice(&line(MAX_CLIENT_TAG_BYTES, 5));
        assert!(buffer.next().is_some() && buffer.next().is_none());
        assert!(buffer.space().capacity() <= 2 * MAX_LINE_BYTES);
    }

    proptest! {
        #[test]
        fn chunk_sizes_make_no_difference(
            bytes in proptest::collection::vec(prop_oneof![Just(b'\n'), Just(b'\r'), Just(b'@'), any::<u8>()], 0..2000),
            size in 1usize..700,
        ) {
            let chunks: Vec<&[u8]> = bytes.chunks(size).collect();
            prop_assert_eq!(split(&chunks), split(&[&bytes]));
        }
    }
}
