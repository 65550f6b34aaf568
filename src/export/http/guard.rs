//! Checks every request, and adds security headers to every response.

use std::net::IpAddr;

use axum::body::HttpBody as _;
use axum::extract::{Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::Response;

use crate::export::http::response;

/// These headers forbid caches to store a response, browsers to guess its type,
/// other pages to embed or load it, and the document to load anything.
pub(crate) const SECURITY_HEADERS: [(HeaderName, HeaderValue); 5] = [
    (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"),
    ),
    (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("same-origin")),
];

/// The host names that requests may contain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AllowedHosts {
    /// `localhost`, the names under it, and IP addresses. For a server that is
    /// bound to a loopback address: all its clients are on this machine. A
    /// request with another name comes from a web page whose name resolves to
    /// this machine (DNS rebinding).
    Local,
    /// All names. For a server that is bound to another address: its clients on
    /// other machines may use any name for it.
    Any,
}

/// Rejects requests with a host that is not allowed or with a body, and adds
/// the security headers to all responses.
pub(crate) async fn guard(State(allowed): State<AllowedHosts>, request: Request, next: Next) -> Response {
    let is_local_only = allowed == AllowedHosts::Local;
    let mut response = if is_local_only && !names_only_local_hosts(request.uri(), request.headers()) {
        response::error(
            StatusCode::FORBIDDEN,
            "This host name is not allowed: use localhost or an IP address.",
        )
    } else if !request.body().is_end_stream() {
        let mut response = response::error(StatusCode::PAYLOAD_TOO_LARGE, "A request must not have a body.");
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        response
    } else {
        next.run(request).await
    };
    for (name, value) in SECURITY_HEADERS {
        // Some responses have set their own policy.
        response.headers_mut().entry(name).or_insert(value);
    }
    response
}

/// Returns whether all hosts in the request are local. A request without a host
/// is accepted: browsers always send one.
fn names_only_local_hosts(uri: &Uri, headers: &HeaderMap) -> bool {
    let mut hosts = headers.get_all(header::HOST).iter().map(HeaderValue::as_bytes);
    hosts.all(is_local) && uri.authority().is_none_or(|authority| is_local(authority.as_str().as_bytes()))
}

fn is_local(host: &[u8]) -> bool {
    let Ok(authority) = Authority::try_from(host) else {
        return false;
    };
    let host = authority.host();
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    !authority.as_str().contains('@') && (is_localhost_name(host) || bare.parse::<IpAddr>().is_ok())
}

/// Returns whether `host` is `localhost` or a name under it. RFC 6761 reserves
/// these names for the loopback addresses, so no web page can have one that
/// resolves to another machine first. A name may end with the dot of the root.
fn is_localhost_name(host: &str) -> bool {
    let mut labels = host.strip_suffix('.').unwrap_or(host).rsplit('.');
    labels.next().is_some_and(|last| last.eq_ignore_ascii_case("localhost"))
        && labels.all(|label| !label.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_localhost_are_local() {
        for host in [
            "localhost",
            "LocalHost:9464",
            "localhost.",
            "localhost.:9464",
            "chat.localhost",
            "A.Chat.LOCALHOST.:9464",
            "127.0.0.1",
            "127.0.0.1:9464",
            "[::1]",
            "[::1]:9464",
            "10.1.2.3",
        ] {
            assert!(is_local(host.as_bytes()), "{host}");
        }
    }

    #[test]
    fn other_host_names_are_not_local() {
        let hosts = [
            "evil.example",
            "localhost.evil.example",
            "evillocalhost",
            "evil@chat.localhost",
            "localhost..",
            ".localhost",
            "a..localhost",
            ".",
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
    fn all_hosts_in_a_request_are_checked() {
        let mut headers = HeaderMap::new();
        assert!(names_only_local_hosts(&Uri::from_static("/metrics"), &headers));
        headers.append(header::HOST, HeaderValue::from_static("localhost"));
        assert!(names_only_local_hosts(&Uri::from_static("http://127.0.0.1/metrics"), &headers));
        assert!(!names_only_local_hosts(&Uri::from_static("http://evil.example/metrics"), &headers));
        headers.append(header::HOST, HeaderValue::from_static("evil.example"));
        assert!(!names_only_local_hosts(&Uri::from_static("/metrics"), &headers));
    }
}
