//! The server under test, and its protocol.

use std::str::FromStr;

/// A server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    /// An IRC server.
    Chat {
        /// `HOST:PORT`.
        address: String,
        /// Whether the connections use TLS.
        has_tls: bool,
    },
    /// A page of a web server.
    Web {
        /// `HOST:PORT`.
        address: String,
        /// The `Host` of the request.
        host: String,
        /// Path and query.
        path: String,
        /// Whether the connections use TLS.
        has_tls: bool,
    },
}

impl Target {
    /// Returns the address to connect to: `HOST:PORT`.
    pub(crate) fn address(&self) -> &str {
        match self {
            Self::Chat { address, .. } | Self::Web { address, .. } => address,
        }
    }

    /// Returns the host without the port: a name, or an IP address.
    pub(crate) fn host_name(&self) -> &str {
        let host = self.address().rsplit_once(':').map_or("", |(host, _)| host);
        host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
    }

    /// Returns the whole address of the page; `None` for a chat server.
    pub(crate) fn uri(&self) -> Option<hyper::Uri> {
        let Self::Web { host, path, has_tls, .. } = self else { return None };
        let scheme = if *has_tls { "https" } else { "http" };
        hyper::Uri::builder()
            .scheme(scheme)
            .authority(host.as_str())
            .path_and_query(path.as_str())
            .build()
            .ok()
    }

    /// Returns whether its connections use TLS.
    pub(crate) const fn has_tls(&self) -> bool {
        match self {
            Self::Chat { has_tls, .. } | Self::Web { has_tls, .. } => *has_tls,
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
            return url(text);
        }
        let (host, port) = text.rsplit_once(':').ok_or("write it as HOST:PORT or http://HOST:PORT/PATH")?;
        if host.is_empty() {
            return Err("the host is missing; write it as HOST:PORT".into());
        }
        match port.parse::<u16>() {
            Ok(1..) => Ok(Self::Chat { address: text.to_owned(), has_tls: false }),
            _ => Err(format!("`{port}` is not a port between 1 and 65535")),
        }
    }
}

fn url(text: &str) -> Result<Target, String> {
    let uri: hyper::Uri = text.parse().map_err(|error| format!("it is not a URL: {error}"))?;
    let scheme = uri.scheme_str().unwrap_or_default();
    let (default_port, has_tls) = match scheme {
        "irc" => (6667, false),
        "ircs" => (6697, true),
        "http" => (80, false),
        "https" => (443, true),
        _ => return Err(format!("`{scheme}` is not supported; use irc://, ircs://, http:// or https://")),
    };
    let authority = uri.authority().filter(|authority| !authority.host().is_empty());
    let authority =
        authority.ok_or_else(|| format!("the host is missing; write it as {scheme}://HOST:PORT"))?;
    let address = format!("{}:{}", authority.host(), authority.port_u16().unwrap_or(default_port));
    if scheme.starts_with("irc") {
        if !matches!(uri.path(), "" | "/") {
            return Err("an IRC target has no path, because the load has its own channels".into());
        }
        return Ok(Target::Chat { address, has_tls });
    }
    let host = authority.as_str().to_owned();
    let path = uri.path_and_query().map_or_else(|| "/".to_owned(), ToString::to_string);
    Ok(Target::Web { address, host, path, has_tls })
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
        assert_eq!(target, Target::Web { address, host, path: "/a?b=c".into(), has_tls: false });
        assert_eq!(target.host_name(), "::1");
        let target: Target = "http://example.test".parse().expect("a target");
        assert_eq!(target.address(), "example.test:80");
        for (text, address, has_tls) in [
            ("irc://localhost", "localhost:6667", false),
            ("ircs://localhost/", "localhost:6697", true),
            ("ircs://localhost:7000", "localhost:7000", true),
            ("https://localhost", "localhost:443", true),
        ] {
            let target: Target = text.parse().expect(text);
            assert_eq!((target.address(), target.has_tls()), (address, has_tls), "{text}");
            assert_eq!((target.host_name(), target.is_web()), ("localhost", text.starts_with("http")));
        }
        for text in [
            "localhost",
            ":1",
            "localhost:0",
            "localhost:x",
            "ftp://localhost",
            "http://",
            "http://:80",
            "ircs://localhost/channel",
        ] {
            assert!(text.parse::<Target>().is_err(), "{text}");
        }
    }
}
