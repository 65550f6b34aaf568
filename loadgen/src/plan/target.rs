//! The server under test, and its protocol.

use std::str::FromStr;

/// A server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    /// An IRC server.
    Chat {
        /// `HOST:PORT`.
        address: String,
    },
    /// A page of a web server, over HTTP/1.1.
    Web {
        /// `HOST:PORT`.
        address: String,
        /// The `Host` of the request.
        host: String,
        /// Path and query.
        path: String,
    },
}

impl Target {
    /// Returns the address to connect to: `HOST:PORT`.
    pub(crate) fn address(&self) -> &str {
        match self {
            Self::Chat { address } | Self::Web { address, .. } => address,
        }
    }

    /// Returns whether it speaks HTTP.
    pub(crate) const fn is_web(&self) -> bool {
        matches!(self, Self::Web { .. })
    }
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.contains("://") {
            return web(text);
        }
        let (host, port) = text.rsplit_once(':').ok_or("write it as HOST:PORT or http://HOST:PORT/PATH")?;
        if host.is_empty() {
            return Err("the host is missing; write it as HOST:PORT".into());
        }
        match port.parse::<u16>() {
            Ok(1..) => Ok(Self::Chat { address: text.to_owned() }),
            _ => Err(format!("`{port}` is not a port between 1 and 65535")),
        }
    }
}

fn web(text: &str) -> Result<Target, String> {
    let uri: hyper::Uri = text.parse().map_err(|error| format!("it is not a URL: {error}"))?;
    if uri.scheme_str() != Some("http") {
        return Err("only http:// is supported, without TLS".into());
    }
    let authority = uri.authority().filter(|authority| !authority.host().is_empty());
    let authority = authority.ok_or("the host is missing; write it as http://HOST:PORT/PATH")?;
    let port = authority.port_u16().unwrap_or(80);
    Ok(Target::Web {
        address: format!("{}:{port}", authority.host()),
        host: authority.as_str().to_owned(),
        path: uri.path_and_query().map_or_else(|| "/".to_owned(), ToString::to_string),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_a_chat_server_or_a_page() {
        let target: Target = "localhost:6667".parse().expect("a target");
        assert_eq!((target.address(), target.is_web()), ("localhost:6667", false));
        let target: Target = "http://[::1]:8080/a?b=c".parse().expect("a target");
        let (address, host) = ("[::1]:8080".to_owned(), "[::1]:8080".to_owned());
        assert_eq!(target, Target::Web { address, host, path: "/a?b=c".into() });
        let target: Target = "http://example.test".parse().expect("a target");
        assert_eq!(target.address(), "example.test:80");
        for text in
            ["localhost", ":1", "localhost:0", "localhost:x", "https://localhost", "http://", "http://:80"]
        {
            assert!(text.parse::<Target>().is_err(), "{text}");
        }
    }
}
