//! One connection to a web server, and the page that it requests.

use super::answer::Answer;
use super::http1::{ExchangeError, Http1Connection};
use crate::net::{Connector, Stream};
use crate::record::Failure;

/// The page to request, and a connection that is kept alive if the server
/// allows it.
#[derive(Debug)]
pub(crate) struct PageConnection {
    connector: Connector,
    /// The request with its head, as it is sent.
    request: Vec<u8>,
    number: usize,
    connection: Option<Http1Connection<Stream>>,
}

impl PageConnection {
    /// Returns connection `number` for `path` of the server that `connector`
    /// connects to. It is not connected yet.
    pub(crate) fn new(connector: Connector, host: &str, path: &str, number: usize) -> Self {
        let request = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\n\r\n").into_bytes();
        Self { connector, request, number, connection: None }
    }

    /// Sends one request and reads the whole answer. Returns its status.
    pub(crate) async fn get(&mut self) -> Result<u16, Failure> {
        let reused = self.connect().await?;
        let answer = match self.exchange().await {
            // If the server closes the idle connection while a request is sent,
            // that is not a failure; the request is repeated.
            Err(ExchangeError::Unanswered(_)) if reused => {
                self.connection = None;
                self.connect().await?;
                self.exchange().await
            }
            answer => answer,
        };
        if !answer.as_ref().is_ok_and(|answer| answer.keeps_alive) {
            self.connection = None;
        }
        answer.map(|answer| answer.status).map_err(ExchangeError::into_failure)
    }

    /// Closes the connection, because the answer on it arrives too late.
    pub(crate) fn close(&mut self) {
        self.connection = None;
    }

    /// Connects, unless there is a connection that can be reused. Returns
    /// whether it is reused.
    async fn connect(&mut self) -> Result<bool, Failure> {
        if let Some(connection) = &mut self.connection
            && connection.is_usable().await
        {
            return Ok(true);
        }
        let stream = self.connector.connect(self.number).await?;
        self.connection = Some(Http1Connection::new(stream));
        Ok(false)
    }

    async fn exchange(&mut self) -> Result<Answer, ExchangeError> {
        match &mut self.connection {
            Some(connection) => connection.exchange(&self.request).await,
            None => Err(ExchangeError::Unanswered(Failure::closed("the connection is closed"))),
        }
    }
}
