//! Reads HTTP/1.1 answers: finds the status and the end of each one, as RFC
//! 9112, section 6, defines it for a client that only sends GET requests.

use std::mem::MaybeUninit;

use httparse::{Header, ParserConfig, Response, Status};

/// Maximum number of bytes of a head, of a line before a chunk, and of the
/// trailers.
const MAX_HEAD_BYTES: usize = 64 * 1024;

/// Maximum number of headers.
const MAX_HEADERS: usize = 128;

/// A complete answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Answer {
    /// Its status code.
    pub(super) status: u16,
    /// Whether the connection may be used for another request.
    pub(super) keeps_alive: bool,
}

/// Why bytes are not an answer of HTTP/1.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed(pub(super) &'static str);

/// What the next bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Part {
    /// The head of the next answer.
    #[default]
    Head,
    /// So many bytes of a body with a length.
    Body { left: u64 },
    /// A line with the size of a chunk.
    ChunkSize,
    /// So many bytes of a chunk.
    Chunk { left: u64 },
    /// The line end after a chunk.
    ChunkEnd,
    /// Lines up to an empty one.
    Trailers,
    /// A body that ends with the connection.
    UntilClose,
}

/// Reads the answers of one connection, one after the other.
#[derive(Debug, Default)]
pub(super) struct AnswerReader {
    /// Bytes of a head or a line whose end has not arrived.
    partial: Vec<u8>,
    part: Part,
    answer: Option<Answer>,
}

impl AnswerReader {
    /// Returns whether no byte of the next answer has arrived.
    pub(super) fn is_between_answers(&self) -> bool {
        self.part == Part::Head && self.answer.is_none() && self.partial.is_empty()
    }

    /// Reads `bytes`. Returns the answer if they complete it. Further bytes
    /// have not been asked for, so the connection cannot be used again.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Result<Option<Answer>, Malformed> {
        if self.partial.is_empty() {
            let (used, answer) = self.read(bytes)?;
            self.partial.extend_from_slice(&bytes[used..]);
            return self.bounded(answer);
        }
        let mut whole = std::mem::take(&mut self.partial);
        whole.extend_from_slice(bytes);
        let (used, answer) = self.read(&whole)?;
        whole.drain(..used);
        self.partial = whole;
        self.bounded(answer)
    }

    /// Returns the answer that the end of the connection completes.
    pub(super) fn end(&mut self) -> Option<Answer> {
        let answer = self.answer.take().filter(|_| self.part == Part::UntilClose)?;
        Some(Answer { keeps_alive: false, ..answer })
    }

    fn bounded(&mut self, answer: Option<Answer>) -> Result<Option<Answer>, Malformed> {
        let has_more = !self.partial.is_empty();
        let Some(answer) = answer else {
            let is_short = self.partial.len() <= MAX_HEAD_BYTES;
            return if is_short { Ok(None) } else { Err(Malformed("a head or a line is too long")) };
        };
        self.partial = Vec::new();
        Ok(Some(Answer { keeps_alive: answer.keeps_alive && !has_more, ..answer }))
    }

    /// Reads `bytes` up to the end of the answer or the beginning of a part
    /// that is incomplete. Returns how many bytes it has used.
    fn read(&mut self, bytes: &[u8]) -> Result<(usize, Option<Answer>), Malformed> {
        let mut used = 0;
        loop {
            let rest = &bytes[used..];
            match self.part {
                Part::Head => match read_head(rest)? {
                    None => return Ok((used, None)),
                    Some((length, None)) => used += length,
                    Some((length, Some((answer, part)))) => {
                        used += length;
                        (self.answer, self.part) = (Some(answer), part);
                    }
                },
                Part::Body { left: 0 } => return Ok((used, self.complete())),
                Part::Body { left } => match taken(rest, left) {
                    0 => return Ok((used, None)),
                    length => {
                        used += length;
                        self.part = Part::Body { left: left - length as u64 };
                    }
                },
                Part::ChunkSize => match httparse::parse_chunk_size(rest) {
                    Err(_) => return Err(Malformed("the size of a chunk is not a number")),
                    Ok(Status::Partial) => return Ok((used, None)),
                    Ok(Status::Complete((length, size))) => {
                        used += length;
                        self.part = if size == 0 { Part::Trailers } else { Part::Chunk { left: size } };
                    }
                },
                Part::Chunk { left: 0 } => self.part = Part::ChunkEnd,
                Part::Chunk { left } => match taken(rest, left) {
                    0 => return Ok((used, None)),
                    length => {
                        used += length;
                        self.part = Part::Chunk { left: left - length as u64 };
                    }
                },
                Part::ChunkEnd => match rest {
                    [b'\r', b'\n', ..] => {
                        used += 2;
                        self.part = Part::ChunkSize;
                    }
                    [] | [b'\r'] => return Ok((used, None)),
                    _ => return Err(Malformed("a chunk is longer than its size")),
                },
                Part::Trailers => match rest.iter().position(|&byte| byte == b'\n') {
                    None => return Ok((used, None)),
                    Some(end) => {
                        used += end + 1;
                        if matches!(&rest[..end], [] | [b'\r']) {
                            return Ok((used, self.complete()));
                        }
                    }
                },
                Part::UntilClose => return Ok((bytes.len(), None)),
            }
        }
    }

    fn complete(&mut self) -> Option<Answer> {
        self.part = Part::Head;
        self.answer.take()
    }
}

/// Returns how many of `bytes` belong to a part with `left` bytes left.
fn taken(bytes: &[u8], left: u64) -> usize {
    usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len())
}

/// What a head says: its length, and the answer with its first part, unless it
/// is an interim answer, which a final one follows.
type Head = (usize, Option<(Answer, Part)>);

/// Reads the head at the beginning of `bytes`; `None` if it is incomplete.
fn read_head(bytes: &[u8]) -> Result<Option<Head>, Malformed> {
    // An empty slice would be incomplete as well.
    if bytes.is_empty() {
        return Ok(None);
    }
    let mut headers = [const { MaybeUninit::uninit() }; MAX_HEADERS];
    let mut head = Response::new(&mut []);
    let parsed = ParserConfig::default().parse_response_with_uninit_headers(&mut head, bytes, &mut headers);
    let length = match parsed {
        Ok(Status::Partial) => return Ok(None),
        Ok(Status::Complete(length)) => length,
        Err(httparse::Error::TooManyHeaders) => return Err(Malformed("it has too many headers")),
        Err(_) => return Err(Malformed("the head of the answer is invalid")),
    };
    let (status, is_1_1) = (head.code.unwrap_or_default(), head.version == Some(1));
    if status == 101 {
        return Err(Malformed("it switches to a protocol that was not asked for"));
    }
    if (100..200).contains(&status) {
        return Ok(Some((length, None)));
    }
    let (part, may_keep_alive) = first_part(status, is_1_1, head.headers)?;
    let keeps_alive = if is_1_1 {
        !has_token(head.headers, "connection", "close")
    } else {
        has_token(head.headers, "connection", "keep-alive")
    };
    let answer = Answer { status, keeps_alive: keeps_alive && may_keep_alive };
    Ok(Some((length, Some((answer, part)))))
}

/// Returns what follows the head, and whether the end of the body is clear
/// enough to use the connection again.
fn first_part(status: u16, is_1_1: bool, headers: &[Header<'_>]) -> Result<(Part, bool), Malformed> {
    if matches!(status, 204 | 304) {
        return Ok((Part::Body { left: 0 }, true));
    }
    let length = content_length(headers)?;
    if let Some(codings) = values(headers, "transfer-encoding").last() {
        let last = codings.rsplit(|&byte| byte == b',').next().unwrap_or_default();
        let is_chunked = last.trim_ascii().eq_ignore_ascii_case(b"chunked");
        let part = if is_chunked { Part::ChunkSize } else { Part::UntilClose };
        return Ok((part, is_1_1 && length.is_none()));
    }
    Ok(length.map_or((Part::UntilClose, false), |left| (Part::Body { left }, true)))
}

/// Returns the length of the body, if a header says it. A list of equal values
/// is one value.
fn content_length(headers: &[Header<'_>]) -> Result<Option<u64>, Malformed> {
    let mut length = None;
    for text in values(headers, "content-length").flat_map(|value| value.split(|&byte| byte == b',')) {
        let text = text.trim_ascii();
        let digits = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
        let value = std::str::from_utf8(text).ok().filter(|_| digits).and_then(|text| text.parse().ok());
        match value {
            Some(value) if length.is_none_or(|length| length == value) => length = Some(value),
            _ => return Err(Malformed("the length of the body is invalid")),
        }
    }
    Ok(length)
}

fn values<'a>(headers: &'a [Header<'a>], name: &'a str) -> impl Iterator<Item = &'a [u8]> {
    headers.iter().filter(move |header| header.name.eq_ignore_ascii_case(name)).map(|header| header.value)
}

fn has_token(headers: &[Header<'_>], name: &str, token: &str) -> bool {
    values(headers, name)
        .flat_map(|value| value.split(|&byte| byte == b','))
        .any(|value| value.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns what `text` is, fed in chunks of each size, then the end.
    #[track_caller]
    fn read(text: &str) -> Result<Option<Answer>, Malformed> {
        let results = [1, 2, 3, 7, usize::MAX].map(|size| {
            let mut reader = AnswerReader::default();
            let mut answer = None;
            for bytes in text.as_bytes().chunks(size.min(text.len()).max(1)) {
                assert_eq!(answer, None, "{text:?} ends too early");
                answer = reader.feed(bytes)?;
            }
            Ok(answer.or_else(|| reader.end()))
        });
        assert!(results.iter().all(|result| *result == results[0]), "{text:?}: {results:?}");
        results[0]
    }

    const fn answer(status: u16, keeps_alive: bool) -> Result<Option<Answer>, Malformed> {
        Ok(Some(Answer { status, keeps_alive }))
    }

    #[test]
    fn the_end_does_not_depend_on_how_the_bytes_arrive() {
        for (text, expected) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", answer(200, true)),
            ("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", answer(200, true)),
            ("HTTP/1.1 200\r\ncontent-length: 2, 2\r\ncontent-length: 2\r\n\r\nok", answer(200, true)),
            ("HTTP/1.1 204 No Content\r\ncontent-length: 5\r\n\r\n", answer(204, true)),
            ("HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\n", answer(304, true)),
            ("HTTP/1.1 503 Busy\r\nconnection: x, Close\r\ncontent-length: 1\r\n\r\n!", answer(503, false)),
            ("HTTP/1.0 200 OK\r\ncontent-length: 1\r\n\r\n!", answer(200, false)),
            ("HTTP/1.0 200 OK\r\nconnection: Keep-Alive\r\ncontent-length: 1\r\n\r\n!", answer(200, true)),
            ("HTTP/1.1 200 OK\r\n\r\nuntil the end", answer(200, false)),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nA;x=y\r\n0123456789\r\n0\r\n\r\n",
                answer(200, true),
            ),
            (
                "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, Chunked\r\n\r\n1\r\n\n\r\n0\r\nx: y\r\nz: 1\r\n\r\n",
                answer(200, true),
            ),
            ("HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\nuntil the end", answer(200, false)),
            (
                "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nlink: x\r\n\r\nHTTP/1.1 404 No\r\ncontent-length: 2\r\n\r\nno",
                answer(404, true),
            ),
            // Both framings together are a sign of request smuggling.
            (
                "HTTP/1.1 200 OK\r\ncontent-length: 9\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
                answer(200, false),
            ),
            (
                "HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
                answer(200, false),
            ),
        ] {
            assert_eq!(read(text), expected, "{text:?}");
        }
    }

    #[test]
    fn an_answer_that_the_connection_cuts_is_none() {
        for text in [
            "",
            "HTTP/1.1 200 OK\r\n",
            "HTTP/1.1 100 Continue\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhell",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nx: y\r\n",
        ] {
            assert_eq!(read(text), Ok(None), "{text:?}");
        }
    }

    #[test]
    fn other_bytes_are_malformed() {
        for text in [
            ":server NOTICE * :who are you\r\n\r\n",
            "SSH-2.0-x\r\n",
            "HTTP/1.1 abc\r\n\r\n",
            "HTTP/1.1 101 Switching\r\nupgrade: x\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: +5\r\n\r\nhello",
            "HTTP/1.1 200 OK\r\ncontent-length: 5, 6\r\n\r\nhello",
            "HTTP/1.1 200 OK\r\ncontent-length: 99999999999999999999\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length:\r\n\r\n",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\n",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nabc",
        ] {
            assert!(read(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn memory_for_a_head_is_bounded() {
        let mut reader = AnswerReader::default();
        let line = format!("x: {}\r\n", "y".repeat(1000));
        assert_eq!(reader.feed(b"HTTP/1.1 200 OK\r\n"), Ok(None));
        let fed = (0..200).find_map(|_| reader.feed(line.as_bytes()).err());
        assert!(fed.is_some(), "{}", reader.partial.len());
    }

    #[test]
    fn bytes_after_the_answer_end_the_use_of_the_connection() {
        let mut reader = AnswerReader::default();
        let two = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".repeat(2);
        assert_eq!(reader.feed(two.as_bytes()), answer(200, false));
        assert!(reader.is_between_answers());
    }
}
