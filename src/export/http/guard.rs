//! What every request must pass, and what every response carries.

use std::net::IpAddr;

use axum::body::HttpBody as _;
use axum::extract::{Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

/// Nothing may be stored, guessed or embedded; no document needs a resource.
const HEADERS: [(HeaderName, HeaderValue); 4] = [
    (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"),
    ),
    (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
];

/// Which host names a request may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hosts {
    /// Bound to loopback: only clients of this machine, so only `localhost` and
    /// addresses. Any other name is a page in somebody's browser whose name was
    /// made to point here (DNS rebinding).
    Local,
    /// Bound to an address that others reach, by whatever name they have for it.
    Any,
}

/// Refuses what no honest client sends; adds the headers.
pub(crate) async fn guard(State(hosts): State<Hosts>, request: Request, next: Next) -> Response {
    let mut response = if hosts == Hosts::Local && !asks_for_local(request.uri(), request.headers()) {
        refuse(StatusCode::FORBIDDEN, "This host name is not served: use localhost or an IP address.")
    } else if !request.body().is_end_stream() {
        let mut response = refuse(StatusCode::PAYLOAD_TOO_LARGE, "Requests may not have a body.");
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        response
    } else {
        next.run(request).await
    };
    for (name, value) in HEADERS {
        // The page has a policy of its own.
        response.headers_mut().entry(name).or_insert(value);
    }
    response
}

/// A status with one sentence.
pub(crate) fn refuse(status: StatusCode, sentence: &'static str) -> Response {
    (status, format!("{sentence}\n")).into_response()
}

/// Whether every host that the request names is local. A request that names
/// none comes from no browser.
fn asks_for_local(uri: &Uri, headers: &HeaderMap) -> bool {
    let mut named = headers.get_all(header::HOST).iter().map(HeaderValue::as_bytes);
    named.all(is_local) && uri.authority().is_none_or(|authority| is_local(authority.as_str().as_bytes()))
}

fn is_local(host: &[u8]) -> bool {
    let Ok(authority) = Authority::try_from(host) else {
        return false;
    };
    let host = authority.host();
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    !authority.as_str().contains('@')
        && (host.eq_ignore_ascii_case("localhost") || bare.parse::<IpAddr>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_localhost_are_local() {
        for host in
            ["localhost", "LocalHost:9464", "127.0.0.1", "127.0.0.1:9464", "[::1]", "[::1]:9464", "10.1.2.3"]
        {
            assert!(is_local(host.as_bytes()), "{host}");
        }
    }

    #[test]
    fn other_names_are_not() {
        let hosts = [
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "evil@127.0.0.1",
            "",
            "\u{e9}",
        ];
        for host in hosts {
            assert!(!is_local(host.as_bytes()), "{host}");
        }
    }

    #[test]
    fn every_named_host_counts() {
        let mut headers = HeaderMap::new();
        assert!(asks_for_local(&Uri::from_static("/metrics"), &headers));
        headers.append(header::HOST, HeaderValue::from_static("localhost"));
        assert!(asks_for_local(&Uri::from_static("http://127.0.0.1/metrics"), &headers));
        assert!(!asks_for_local(&Uri::from_static("http://evil.example/metrics"), &headers));
        headers.append(header::HOST, HeaderValue::from_static("evil.example"));
        assert!(!asks_for_local(&Uri::from_static("/metrics"), &headers));
    }
}
