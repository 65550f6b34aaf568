//! A client for a server's telemetry.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, bail};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::Request;
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use loopscope::{FINDINGS_SCHEMA, FindingsDocument, STALLS_SCHEMA, StallsDocument};
use serde::de::DeserializeOwned;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::clock::{CLOCK_EXCHANGES, Exchange};
use super::coverage::{TASKS_SCHEMA, TasksDocument};
use crate::unix_time;

/// How long an answer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// The largest answer, in bytes.
const MAX_ANSWER_BYTES: usize = 64 * 1024 * 1024;

/// A request for the stalls since a time far in the future: the shortest answer
/// that contains the time of the server's clock.
const CLOCK_ROUTE: &str = "/stalls?since=18446744073";

/// The address of a server's telemetry.
#[derive(Debug, Clone)]
pub(crate) struct Telemetry {
    authority: String,
    path: String,
}

impl Telemetry {
    /// Parses a URL such as `http://127.0.0.1:9464`, or `HOST:PORT`.
    pub(crate) fn from_url(url: &str) -> anyhow::Result<Self> {
        let is_address =
            !url.contains("://") && url.rsplit_once(':').is_some_and(|(host, _)| !host.is_empty());
        let with_scheme = if is_address { format!("http://{url}") } else { url.to_owned() };
        let uri: hyper::Uri =
            with_scheme.parse().with_context(|| format!("--telemetry {url} is not a URL"))?;
        let (Some("http"), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            bail!("--telemetry {url} is not a URL such as http://127.0.0.1:9464");
        };
        let port = authority.port_u16().unwrap_or(80);
        let authority = format!("{}:{port}", authority.host());
        Ok(Self { authority, path: uri.path().trim_end_matches('/').to_owned() })
    }

    /// Requests the findings so far.
    pub(crate) async fn findings(&self) -> anyhow::Result<FindingsDocument> {
        let document: FindingsDocument = self.get("/findings").await?;
        self.check("/findings", &document.schema, FINDINGS_SCHEMA)?;
        Ok(document)
    }

    /// Requests the stalls since `since`.
    pub(crate) async fn stalls(&self, since: SystemTime) -> anyhow::Result<StallsDocument> {
        let seconds = since.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        let route = format!("/stalls?since={seconds:.3}");
        let document: StallsDocument = self.get(&route).await?;
        self.check(&route, &document.schema, STALLS_SCHEMA)?;
        Ok(document)
    }

    /// Requests the kinds of tasks and how often they were polled; `None` if
    /// the telemetry does not report them.
    pub(crate) async fn tasks(&self) -> Option<TasksDocument> {
        let document: TasksDocument = self.get("/tasks").await.ok()?;
        (document.schema == TASKS_SCHEMA).then_some(document)
    }

    /// Requests the server's time several times. Returns the best exchange.
    pub(crate) async fn time(&self) -> anyhow::Result<Exchange> {
        let mut exchanges = Vec::with_capacity(CLOCK_EXCHANGES);
        for _ in 0..CLOCK_EXCHANGES {
            let (document, sent, answered): (StallsDocument, _, _) = self.get_timed(CLOCK_ROUTE).await?;
            self.check(CLOCK_ROUTE, &document.schema, STALLS_SCHEMA)?;
            exchanges.push(Exchange {
                sent,
                server_unix_ns: unix_time::to_nanos(document.now),
                scope_start_unix_ns: document.scope_start.map(unix_time::to_nanos),
                answered,
            });
        }
        Exchange::best(exchanges).context("the server's time was not requested")
    }

    fn check(&self, route: &str, schema: &str, expected: &str) -> anyhow::Result<()> {
        if schema != expected {
            bail!("{} has the schema `{schema}` instead of `{expected}`", self.url(route));
        }
        Ok(())
    }

    fn url(&self, route: &str) -> String {
        format!("http://{}{}{route}", self.authority, self.path)
    }

    async fn get<T: DeserializeOwned>(&self, route: &str) -> anyhow::Result<T> {
        Ok(self.get_timed(route).await?.0)
    }

    /// Requests `route`. Returns the answer, when the request was sent and when
    /// the answer had arrived.
    async fn get_timed<T: DeserializeOwned>(&self, route: &str) -> anyhow::Result<(T, Instant, Instant)> {
        // Which route comes first is not the user's concern.
        let url = self.url(if route == CLOCK_ROUTE { "" } else { route });
        let (body, sent, answered) = match timeout(ANSWER_TIMEOUT, self.fetch(route)).await {
            Ok(answer) => answer.with_context(|| format!("the telemetry at {url} cannot be read"))?,
            Err(_elapsed) => {
                bail!("the telemetry at {url} did not answer within {} s", ANSWER_TIMEOUT.as_secs())
            }
        };
        let answer = serde_json::from_slice(&body);
        Ok((
            answer.with_context(|| format!("the answer of {url} is not loopscope telemetry"))?,
            sent,
            answered,
        ))
    }

    /// Connects and requests `route`. Returns the answer, when the request was
    /// sent after the connection was open, and when the answer had arrived.
    async fn fetch(&self, route: &str) -> anyhow::Result<(Bytes, Instant, Instant)> {
        let stream = TcpStream::connect(&self.authority).await?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let connection = tokio::spawn(connection);
        let request = Request::get(format!("{}{route}", self.path))
            .header("host", &self.authority)
            .header("connection", "close")
            .body(Empty::<Bytes>::new())?;
        let sent = Instant::now();
        let response = sender.send_request(request).await?;
        if !response.status().is_success() {
            bail!("the answer is {}", response.status());
        }
        let body = Limited::new(response.into_body(), MAX_ANSWER_BYTES).collect().await;
        let answered = Instant::now();
        connection.abort();
        Ok((body.map_err(anyhow::Error::from_boxed)?.to_bytes(), sent, answered))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_parsed_or_refused() {
        let telemetry = Telemetry::from_url("http://localhost:9464/").expect("a URL");
        assert_eq!(telemetry.url("/findings"), "http://localhost:9464/findings");
        let telemetry = Telemetry::from_url("http://example.test/scope/").expect("a URL");
        assert_eq!(telemetry.url("/findings"), "http://example.test:80/scope/findings");
        let telemetry = Telemetry::from_url("127.0.0.1:9464").expect("an address");
        assert_eq!(telemetry.url(""), "http://127.0.0.1:9464");
        for url in ["127.0.0.1", ":9464", "https://localhost", "http://", "nonsense", ""] {
            assert!(Telemetry::from_url(url).is_err(), "{url}");
        }
    }
}
