//! The connection to one client: closes it if the client does not read, and
//! completes the answers that hyper writes itself.

use std::fmt::Write as _;
use std::io::{self, ErrorKind, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use axum::http::header;
use bytes::{Buf as _, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};

use crate::export::http::guard::SECURITY_HEADERS;
use crate::export::http::memory::DocumentMemory;

/// Limits on the time that a client takes to read a response.
#[derive(Debug, Clone, Copy)]
pub(crate) struct WriteLimits {
    /// How long a client may read nothing.
    pub(crate) stall_timeout: Duration,
    /// How long a client may read one response while other requests wait for
    /// the memory of documents.
    pub(crate) contended_timeout: Duration,
}

/// A stream that fails if the client does not read.
pub(crate) struct ClientStream {
    stream: TcpStream,
    limits: WriteLimits,
    memory: Arc<DocumentMemory>,
    blocked: Option<BlockedWrite>,
    /// Whether everything before has been written.
    is_at_start: bool,
    /// The rest of an answer that replaces one of hyper.
    answer: Bytes,
}

/// A response that the client has not read so far.
struct BlockedWrite {
    since: Instant,
    last_progress: Instant,
    next_check: Pin<Box<Sleep>>,
}

impl ClientStream {
    pub(crate) fn new(stream: TcpStream, limits: WriteLimits, memory: Arc<DocumentMemory>) -> Self {
        Self { stream, limits, memory, blocked: None, is_at_start: true, answer: Bytes::new() }
    }

    /// Returns the result of a write, or an error if the client has been slow
    /// for too long.
    fn limited(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if written.is_ready() {
            self.is_at_start = false;
            if let Some(blocked) = &mut self.blocked {
                blocked.last_progress = Instant::now();
            }
            return written;
        }
        let interval = self.limits.contended_timeout / 4;
        let blocked = self.blocked.get_or_insert_with(|| BlockedWrite::new(interval));
        loop {
            let is_over = blocked.last_progress.elapsed() >= self.limits.stall_timeout
                || (self.memory.is_contended() && blocked.since.elapsed() >= self.limits.contended_timeout);
            if is_over {
                return Poll::Ready(Err(ErrorKind::TimedOut.into()));
            }
            ready!(blocked.next_check.as_mut().poll(context));
            blocked.next_check = Box::pin(sleep(interval));
        }
    }

    fn poll_answer(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.answer.is_empty() {
            let written = Pin::new(&mut self.stream).poll_write(context, &self.answer);
            match ready!(self.limited(context, written))? {
                0 => return Poll::Ready(Err(ErrorKind::WriteZero.into())),
                written => self.answer.advance(written),
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl BlockedWrite {
    fn new(interval: Duration) -> Self {
        let now = Instant::now();
        Self { since: now, last_progress: now, next_check: Box::pin(sleep(interval)) }
    }
}

impl AsyncRead for ClientStream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for ClientStream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(context, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.is_at_start
            && this.answer.is_empty()
            && let [head, ..] = slices
            && let Some(answer) = complete_answer(head)
        {
            this.answer = answer;
        }
        if !this.answer.is_empty() {
            ready!(this.poll_answer(context))?;
            return Poll::Ready(Ok(slices.first().map_or(0, |head| head.len())));
        }
        let written = Pin::new(&mut this.stream).poll_write_vectored(context, slices);
        this.limited(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// hyper flushes after it has written all of its buffer.
    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.blocked = None;
        this.is_at_start = true;
        Pin::new(&mut this.stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}

/// hyper answers a request that it cannot parse itself: with a status alone.
/// Returns that answer with the headers that all responses have, and a
/// sentence. Returns `None` for the answers of the router, which adds both.
fn complete_answer(head: &[u8]) -> Option<Bytes> {
    if !head.starts_with(b"HTTP/1.") || !head.ends_with(b"\r\n\r\n") {
        return None;
    }
    let head = str::from_utf8(head).ok()?.strip_suffix("\r\n\r\n")?;
    let (status_line, headers) = head.split_once("\r\n")?;
    let sentence = match status_line.split(' ').nth(1)? {
        "400" => "This is not a valid HTTP/1.1 request.",
        "414" => "The URI of the request is too long.",
        "431" => "The head of the request is too large.",
        _ => return None,
    };
    let is_of_router = headers
        .split("\r\n")
        .filter_map(|line| line.split_once(':'))
        .any(|(name, _)| name.eq_ignore_ascii_case(header::X_CONTENT_TYPE_OPTIONS.as_str()));
    if is_of_router {
        return None;
    }
    let mut answer = format!("{status_line}\r\n");
    let is_kept = |line: &&str| {
        let name = line.split(':').next().unwrap_or_default();
        ![header::CONTENT_LENGTH, header::CONNECTION]
            .iter()
            .any(|own| name.eq_ignore_ascii_case(own.as_str()))
    };
    for line in headers.split("\r\n").filter(is_kept) {
        let _ = write!(answer, "{line}\r\n");
    }
    for (name, value) in SECURITY_HEADERS {
        let _ = write!(answer, "{name}: {}\r\n", value.to_str().unwrap_or_default());
    }
    let length = sentence.len() + 1;
    let _ = write!(
        answer,
        "content-type: text/plain; charset=utf-8\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{sentence}\n"
    );
    Some(answer.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_answers_of_hyper_are_completed() {
        let of_hyper = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\ndate: now\r\n\r\n";
        let answer = complete_answer(of_hyper).unwrap();
        let (head, body) = str::from_utf8(&answer).unwrap().split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 400 Bad Request\r\ndate: now\r\n"), "{head}");
        assert!(head.contains("\r\ncontent-length: 38\r\n"), "{head}");
        assert_eq!(body.len(), 38, "{body}");
        for other in [
            "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 400 Bad Request\r\nx-content-type-options: nosniff\r\n\r\n",
            "HTTP/1.1 400 Bad Request\r\ncontent-length: 1\r\n\r\nx",
            "",
            "{}",
        ] {
            assert!(complete_answer(other.as_bytes()).is_none(), "{other}");
        }
    }
}
