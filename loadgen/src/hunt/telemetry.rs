//! The client of a server's telemetry.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, bail};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::Request;
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use loopscope::{FINDINGS_SCHEMA, FindingsDocument, STALLS_SCHEMA, StallsDocument};
use serde::de::DeserializeOwned;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long an answer may be.
const MAX_BODY: usize = 64 * 1024 * 1024;

/// Where a server's telemetry is.
#[derive(Debug, Clone)]
pub(crate) struct Telemetry {
    authority: String,
    path: String,
}

impl Telemetry {
    /// From a URL such as `http://127.0.0.1:9464`.
    pub(crate) fn at(url: &str) -> anyhow::Result<Self> {
        let uri: hyper::Uri = url.parse().with_context(|| format!("--telemetry {url} is no URL"))?;
        let (Some("http"), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            bail!("--telemetry {url} is no URL such as http://127.0.0.1:9464");
        };
        let port = authority.port_u16().unwrap_or(80);
        let authority = format!("{}:{port}", authority.host());
        Ok(Self { authority, path: uri.path().trim_end_matches('/').to_owned() })
    }

    /// What was found so far.
    pub(crate) async fn findings(&self) -> anyhow::Result<FindingsDocument> {
        let document: FindingsDocument = self.get("/findings").await?;
        self.check("/findings", &document.schema, FINDINGS_SCHEMA)?;
        Ok(document)
    }

    /// The stalls since `since`.
    pub(crate) async fn stalls(&self, since: SystemTime) -> anyhow::Result<StallsDocument> {
        let seconds = since.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let route = format!("/stalls?since={seconds}");
        let document: StallsDocument = self.get(&route).await?;
        self.check(&route, &document.schema, STALLS_SCHEMA)?;
        Ok(document)
    }

    fn check(&self, route: &str, schema: &str, expected: &str) -> anyhow::Result<()> {
        if schema != expected {
            bail!("{} speaks `{schema}`, not `{expected}`", self.url(route));
        }
        Ok(())
    }

    fn url(&self, route: &str) -> String {
        format!("http://{}{}{route}", self.authority, self.path)
    }

    async fn get<T: DeserializeOwned>(&self, route: &str) -> anyhow::Result<T> {
        let url = self.url(route);
        let body = match timeout(PATIENCE, self.fetch(route)).await {
            Ok(body) => body.with_context(|| format!("the telemetry at {url} cannot be read"))?,
            Err(_elapsed) => bail!("the telemetry at {url} did not answer within {} s", PATIENCE.as_secs()),
        };
        serde_json::from_slice(&body).with_context(|| format!("the telemetry at {url} is not loopscope's"))
    }

    async fn fetch(&self, route: &str) -> anyhow::Result<Bytes> {
        let stream = TcpStream::connect(&self.authority).await?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let connection = tokio::spawn(connection);
        let request = Request::get(format!("{}{route}", self.path))
            .header("host", &self.authority)
            .header("connection", "close")
            .body(Empty::<Bytes>::new())?;
        let response = sender.send_request(request).await?;
        if !response.status().is_success() {
            bail!("the answer is {}", response.status());
        }
        let body = Limited::new(response.into_body(), MAX_BODY).collect().await;
        connection.abort();
        Ok(body.map_err(anyhow::Error::from_boxed)?.to_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_taken_apart_or_refused() {
        let telemetry = Telemetry::at("http://localhost:9464/").expect("a URL");
        assert_eq!(telemetry.url("/findings"), "http://localhost:9464/findings");
        let telemetry = Telemetry::at("http://example.test/scope/").expect("a URL");
        assert_eq!(telemetry.url("/findings"), "http://example.test:80/scope/findings");
        for url in ["127.0.0.1:9464", "https://localhost", "http://", "nonsense", ""] {
            assert!(Telemetry::at(url).is_err(), "{url}");
        }
    }
}
