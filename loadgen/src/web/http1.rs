//! The client side of one HTTP/1.1 connection. Request and answer take two
//! system calls and two polls of the task that sends: no other task runs the
//! connection.

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf};

use super::answer::{Answer, AnswerReader, Malformed};
use crate::record::Failure;

/// The bytes of one read. They are on the stack, so an idle connection needs no
/// buffer.
const READ_BYTES: usize = 16 * 1024;

/// A connection that is open.
#[derive(Debug)]
pub(super) struct Http1Connection<S> {
    stream: S,
    answers: AnswerReader,
}

/// Why a request has no complete answer.
#[derive(Debug)]
pub(super) enum ExchangeError {
    /// The connection ended before the first byte of the answer. The server may
    /// close an idle connection at any time.
    Unanswered(Failure),
    /// The answer is wrong or cut.
    Failed(Failure),
}

impl ExchangeError {
    /// Returns the failure.
    pub(super) fn into_failure(self) -> Failure {
        match self {
            Self::Unanswered(failure) | Self::Failed(failure) => failure,
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Http1Connection<S> {
    /// Returns the connection over `stream`.
    pub(super) fn new(stream: S) -> Self {
        Self { stream, answers: AnswerReader::default() }
    }

    /// Returns whether the server has neither closed the connection nor sent
    /// what nobody asked for. Without news of the socket, this is no system
    /// call.
    pub(super) async fn is_usable(&mut self) -> bool {
        let mut storage = [MaybeUninit::uninit(); 1];
        let mut buffer = ReadBuf::uninit(&mut storage);
        poll_fn(|context| {
            Poll::Ready(Pin::new(&mut self.stream).poll_read(context, &mut buffer).is_pending())
        })
        .await
    }

    /// Sends `request`, and reads the whole answer.
    pub(super) async fn exchange(&mut self, request: &[u8]) -> Result<Answer, ExchangeError> {
        self.send(request).await.map_err(|error| ExchangeError::Unanswered(Failure::reading(&error)))?;
        poll_fn(|context| self.poll_answer(context)).await
    }

    async fn send(&mut self, request: &[u8]) -> io::Result<()> {
        self.stream.write_all(request).await?;
        self.stream.flush().await
    }

    fn poll_answer(&mut self, context: &mut Context<'_>) -> Poll<Result<Answer, ExchangeError>> {
        let mut storage = [MaybeUninit::uninit(); READ_BYTES];
        loop {
            let mut buffer = ReadBuf::uninit(&mut storage);
            let read = ready!(Pin::new(&mut self.stream).poll_read(context, &mut buffer));
            let bytes = buffer.filled();
            if let Err(error) = read {
                return Poll::Ready(Err(self.cut(Failure::reading(&error))));
            }
            if bytes.is_empty() {
                let cut = |reader: &Self| reader.cut(Failure::closed("the target closed the connection"));
                return Poll::Ready(self.answers.end().ok_or_else(|| cut(self)));
            }
            match self.answers.feed(bytes) {
                Ok(None) => {}
                Ok(Some(answer)) => return Poll::Ready(Ok(answer)),
                Err(error) => return Poll::Ready(Err(ExchangeError::Failed(malformed(error)))),
            }
        }
    }

    fn cut(&self, failure: Failure) -> ExchangeError {
        if self.answers.is_between_answers() {
            ExchangeError::Unanswered(failure)
        } else {
            ExchangeError::Failed(failure)
        }
    }
}

fn malformed(Malformed(reason): Malformed) -> Failure {
    Failure::protocol("the target does not speak HTTP/1.1:", Some(reason.as_bytes()))
}
