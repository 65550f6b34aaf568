//! An HTTP/2 connection, and the streams that share it.

use std::sync::Arc;

use http_body_util::{BodyExt as _, Empty};
use hyper::body::Bytes;
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper::{Request, Uri};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::sync::Mutex;

use crate::net::{Connector, Stream};
use crate::record::Failure;

/// The page to request, and the connection. It is opened again when it breaks.
#[derive(Debug)]
struct Http2Connection {
    connector: Connector,
    uri: Uri,
    number: usize,
    connection: Mutex<Option<SendRequest<Empty<Bytes>>>>,
}

/// One of the streams. Copies share the connection.
#[derive(Debug, Clone)]
pub(crate) struct Http2Stream(Arc<Http2Connection>);

impl Http2Stream {
    /// Returns a stream of connection `number`, which requests `uri`. The
    /// connection is not open yet.
    pub(crate) fn new(connector: Connector, uri: Uri, number: usize) -> Self {
        Self(Arc::new(Http2Connection { connector, uri, number, connection: Mutex::new(None) }))
    }

    /// Sends one request and reads the whole answer. Returns its status.
    pub(super) async fn get(&self) -> Result<u16, Failure> {
        let (sender, reused) = self.sender().await?;
        match self.request(sender).await {
            // The server may close an idle connection at any time. The request
            // was not processed then, and is repeated.
            Err(error) if reused && error.is_canceled() => {
                let (sender, _) = self.sender().await?;
                self.request(sender).await
            }
            answer => answer,
        }
        .map_err(|error| failure(&error))
    }

    /// Returns the connection, and whether it was open before.
    async fn sender(&self) -> Result<(SendRequest<Empty<Bytes>>, bool), Failure> {
        let mut connection = self.0.connection.lock().await;
        if let Some(sender) = connection.as_ref().filter(|sender| !sender.is_closed()) {
            return Ok((sender.clone(), true));
        }
        *connection = None;
        let stream = self.0.connector.connect(self.0.number).await?;
        let is_tls = matches!(stream, Stream::Tls(_));
        if is_tls && !stream.has_negotiated_http2() {
            let text = "the target does not offer HTTP/2 over TLS; use HTTP/1.1, without --http2";
            return Err(Failure::tls(text.to_owned()));
        }
        let io = TokioIo::new(stream);
        let (sender, driver) = handshake(TokioExecutor::new(), io).await.map_err(|error| failure(&error))?;
        // The driver ends with the connection. Its failures reach the requests.
        tokio::spawn(driver);
        *connection = Some(sender.clone());
        Ok((sender, false))
    }

    async fn request(&self, mut sender: SendRequest<Empty<Bytes>>) -> hyper::Result<u16> {
        let mut request = Request::new(Empty::new());
        *request.uri_mut() = self.0.uri.clone();
        let answer = sender.send_request(request).await?;
        let status = answer.status().as_u16();
        let mut body = answer.into_body();
        while let Some(frame) = body.frame().await {
            frame?;
        }
        Ok(status)
    }
}

fn failure(error: &hyper::Error) -> Failure {
    let source = std::error::Error::source(error);
    if let Some(error) = source.and_then(|source| source.downcast_ref::<std::io::Error>()) {
        return Failure::reading(error);
    }
    match source {
        Some(source) => {
            Failure::protocol("the target does not speak HTTP/2:", Some(source.to_string().as_bytes()))
        }
        None => Failure::closed("the target closed the connection"),
    }
}
