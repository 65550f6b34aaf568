//! Bytes of a socket cut into lines, none longer than the protocol allows.

/// The most bytes of a line, its ending included.
pub(crate) const MAX_LINE: usize = 512;

/// One cut.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum InputLine {
    /// A line without its ending; never empty.
    Whole(Box<[u8]>),
    /// A line over the limit, dropped; said once, as soon as it is known.
    TooLong,
}

/// Holds what came in and was not handed out yet.
#[derive(Debug, Default)]
pub(crate) struct LineBuffer {
    bytes: Vec<u8>,
    /// Up to here `bytes` is handed out.
    start: usize,
    /// The rest of an overlong line is being dropped.
    discarding: bool,
}

impl LineBuffer {
    /// Where the next read goes. Call once [`next`](Self::next) has nothing more,
    /// so that what is kept stays below one line.
    pub(crate) fn space(&mut self) -> &mut Vec<u8> {
        self.bytes.drain(..self.start);
        self.start = 0;
        self.bytes.reserve(MAX_LINE);
        &mut self.bytes
    }

    /// The next line, if one is complete. CR, LF and CRLF all end one.
    pub(crate) fn next(&mut self) -> Option<InputLine> {
        loop {
            let rest = &self.bytes[self.start..];
            let Some(end) = rest.iter().position(|&byte| matches!(byte, b'\r' | b'\n')) else {
                return self.incomplete();
            };
            let line = &rest[..end];
            self.start += end + 1;
            if std::mem::take(&mut self.discarding) || line.is_empty() {
                continue;
            }
            return Some(if end > MAX_LINE - 2 { InputLine::TooLong } else { InputLine::Whole(line.into()) });
        }
    }

    fn incomplete(&mut self) -> Option<InputLine> {
        if self.discarding {
            self.start = self.bytes.len();
            return None;
        }
        if self.bytes.len() - self.start <= MAX_LINE - 2 {
            return None;
        }
        self.discarding = true;
        self.start = self.bytes.len();
        Some(InputLine::TooLong)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cut(chunks: &[&[u8]]) -> Vec<InputLine> {
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
    fn every_ending_counts_and_empty_lines_do_not() {
        assert_eq!(cut(&[b"a\r\nb\nc\r\r\n\nd"]), [whole(b"a"), whole(b"b"), whole(b"c")]);
        assert_eq!(cut(&[b"PI", b"NG", b"\r", b"\n"]), [whole(b"PING")]);
    }

    #[test]
    fn an_overlong_line_is_said_once_and_dropped_whole() {
        let long = [b'x'; 600];
        assert_eq!(cut(&[&long, &long, b"tail\r\nnext\r\n"]), [InputLine::TooLong, whole(b"next")]);
        let mut ended = vec![b'x'; 511];
        ended.extend_from_slice(b"\r\nnext\n");
        assert_eq!(cut(&[&ended]), [InputLine::TooLong, whole(b"next")]);
    }

    #[test]
    fn the_longest_line_allowed_passes() {
        let mut line = vec![b'x'; MAX_LINE - 2];
        line.extend_from_slice(b"\r\n");
        assert_eq!(cut(&[&line]), [whole(&[b'x'; MAX_LINE - 2])]);
    }

    proptest! {
        #[test]
        fn how_it_is_chunked_makes_no_difference(
            bytes in proptest::collection::vec(prop_oneof![Just(b'\n'), Just(b'\r'), any::<u8>()], 0..2000),
            size in 1usize..700,
        ) {
            let chunks: Vec<&[u8]> = bytes.chunks(size).collect();
            prop_assert_eq!(cut(&chunks), cut(&[&bytes]));
        }
    }
}
