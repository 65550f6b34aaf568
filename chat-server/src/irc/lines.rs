//! Splits the bytes of a socket into lines and drops lines that are too long.

/// Maximum bytes of a line, including its ending.
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
            return Some(if end > MAX_LINE_BYTES - 2 {
                InputLine::TooLong
            } else {
                InputLine::Whole(line.into())
            });
        }
    }

    /// Keeps an incomplete line for the next read. Reports it and starts to
    /// discard if it is already too long.
    fn check_incomplete_line(&mut self) -> Option<InputLine> {
        if self.is_discarding {
            self.start = self.bytes.len();
            return None;
        }
        if self.bytes.len() - self.start <= MAX_LINE_BYTES - 2 {
            return None;
        }
        self.is_discarding = true;
        self.start = self.bytes.len();
        Some(InputLine::TooLong)
    }
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

    proptest! {
        #[test]
        fn chunk_sizes_make_no_difference(
            bytes in proptest::collection::vec(prop_oneof![Just(b'\n'), Just(b'\r'), any::<u8>()], 0..2000),
            size in 1usize..700,
        ) {
            let chunks: Vec<&[u8]> = bytes.chunks(size).collect();
            prop_assert_eq!(split(&chunks), split(&[&bytes]));
        }
    }
}
