//! One connection to a web server, and the page that it requests.

use http_body_util::{BodyExt as _, Empty};
use hyper::Request;
use hyper::body::Bytes;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;

use crate::net::Connector;
use crate::record::Failure;

/// The page to request, and a connection that is kept alive if the server
/// allows it.
#[derive(Debug)]
pub(crate) struct PageConnection {
    connector: Connector,
    host: String,
    path: String,
    number: usize,
    connection: Option<SendRequest<Empty<Bytes>>>,
}

impl PageConnection {
    /// Returns connection `number` for `path` of the server at `address`. It is
    /// not connected yet.
    pub(crate) const fn new(connector: Connector, host: String, path: String, number: usize) -> Self {
        Self { connector, host, path, number, connection: None }
    }

    /// Sends one request and reads the whole answer. Returns its status.
    pub(crate) async fn get(&mut self) -> Result<u16, Failure> {
        let reused = self.connect().await?;
        match self.request().await {
            // The server may close an idle connection at any time. If it does
            // so when a request is sent, that is not a failure; the request is
            // repeated.
            Err(error) if reused && (error.is_canceled() || error.is_incomplete_message()) => {
                self.connection = None;
                self.connect().await?;
                self.request().await
            }
            answer => answer,
        }
        .map_err(|error| {
            self.connection = None;
            failure(&error)
        })
    }

    /// Closes the connection, because the answer on it arrives too late.
    pub(crate) fn close(&mut self) {
        self.connection = None;
    }

    /// Connects, unless there is a connection that can be reused. Returns
    /// whether it is reused.
    async fn connect(&mut self) -> Result<bool, Failure> {
        if let Some(connection) = &mut self.connection
            && connection.ready().await.is_ok()
        {
            return Ok(true);
        }
        let stream = self.connector.connect(self.number).await?;
        let (connection, driver) = handshake(TokioIo::new(stream)).await.map_err(|error| failure(&error))?;
        // The driver ends with the connection. Its failures reach the request.
        tokio::spawn(driver);
        self.connection = Some(connection);
        Ok(false)
    }

    async fn request(&mut self) -> hyper::Result<u16> {
        let request = Request::get(&self.path).header("host", &self.host).body(Empty::new());
        let (Ok(request), Some(connection)) = (request, &mut self.connection) else { return Ok(0) };
        let answer = connection.send_request(request).await?;
        let status = answer.status().as_u16();
        let mut body = answer.into_body();
        while let Some(frame) = body.frame().await {
            frame?;
        }
        Ok(status)
    }
}

fn failure(error: &hyper::Error) -> Failure {
    if error.is_parse() {
        return Failure::protocol("the target does not speak HTTP/1.1:", Some(error.to_string().as_bytes()));
    }
    let source = std::error::Error::source(error);
    match source.and_then(|source| source.downcast_ref::<std::io::Error>()) {
        Some(error) => Failure::reading(error),
        None => Failure::closed("the target closed the connection"),
    }
}
