//! Requests the page, in the version of HTTP that the plan has.

use super::http2::Http2Stream;
use super::page::PageConnection;
use crate::record::Failure;

/// A connection with HTTP/1.1, or a stream of one with HTTP/2.
#[derive(Debug)]
pub(crate) enum PageSource {
    Http1(PageConnection),
    Http2(Http2Stream),
}

impl PageSource {
    /// Sends one request and reads the whole answer. Returns its status.
    pub(super) async fn get(&mut self) -> Result<u16, Failure> {
        match self {
            Self::Http1(page) => page.get().await,
            Self::Http2(stream) => stream.get().await,
        }
    }

    /// Gives up the request in progress, because its answer arrives too late.
    /// That closes a connection with HTTP/1.1; with HTTP/2 the other streams
    /// need it.
    pub(super) fn close(&mut self) {
        if let Self::Http1(page) = self {
            page.close();
        }
    }

    /// Returns another stream of the same connection; `None` with HTTP/1.1.
    pub(super) fn another_stream(&self) -> Option<Self> {
        match self {
            Self::Http1(_) => None,
            Self::Http2(stream) => Some(Self::Http2(stream.clone())),
        }
    }
}
