//! Recognizes clients that speak another protocol by the first bytes that they
//! send.

/// Bytes after which no protocol is recognized any more.
pub(crate) const MAX_RECOGNIZED_BYTES: usize = 16;

/// The first words of requests. No IRC command has one of these names.
const HTTP_METHODS: [&[u8]; 10] =
    [b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"CONNECT", b"TRACE", b"PATCH", b"PRI"];

/// A protocol that the server does not speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ForeignProtocol {
    /// TLS starts with the type of its record, 22.
    Tls,
    /// Also what a web page can make a browser send: its body may hold IRC
    /// commands.
    Http,
    Ssh,
    /// The PROXY protocol of load balancers.
    Proxy,
    /// Anything else that begins with a control character.
    Binary,
}

impl ForeignProtocol {
    /// Returns the protocol of a connection that starts with `bytes`. Returns
    /// `None` for IRC, and as long as more bytes are necessary.
    pub(crate) fn recognize(bytes: &[u8]) -> Option<Self> {
        let start = bytes.iter().position(|byte| !b"\r\n ".contains(byte))?;
        let bytes = &bytes[start..];
        let has_word = |word: &[u8]| bytes.strip_prefix(word).is_some_and(|rest| rest.starts_with(b" "));
        match bytes {
            [22, ..] => Some(Self::Tls),
            [0..=b' ' | 127, ..] => Some(Self::Binary),
            _ if bytes.starts_with(b"SSH-") => Some(Self::Ssh),
            _ if has_word(b"PROXY") => Some(Self::Proxy),
            _ if HTTP_METHODS.iter().any(|method| has_word(method)) => Some(Self::Http),
            _ => None,
        }
    }

    /// Returns the reason for which the server closes the connection.
    /// `tls_port` is the port at which it serves TLS, if it does.
    pub(crate) fn refusal(self, tls_port: Option<u16>) -> String {
        if let (Self::Tls, Some(port)) = (self, tls_port) {
            return format!("This port is without TLS, connect to port {port} for TLS");
        }
        let reason = match self {
            Self::Tls => "This is an IRC server without TLS, connect without TLS",
            Self::Http => "This is an IRC server, not a web server",
            Self::Ssh => "This is an IRC server, not an SSH server",
            Self::Proxy => "This IRC server does not accept the PROXY protocol",
            Self::Binary => "This is an IRC server, a line must begin with a command",
        };
        reason.to_owned()
    }

    /// Returns lines that the other program understands. They come before the
    /// reason.
    pub(crate) fn preamble(self) -> &'static [&'static str] {
        match self {
            Self::Http => &["HTTP/1.1 400 Bad Request", "Content-Type: text/plain", "Connection: close", ""],
            Self::Tls | Self::Ssh | Self::Proxy | Self::Binary => &[],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tls_client_is_told_the_port_for_tls() {
        assert!(ForeignProtocol::Tls.refusal(Some(6697)).contains("port 6697 for TLS"));
        assert!(ForeignProtocol::Tls.refusal(None).contains("connect without TLS"));
        assert!(!ForeignProtocol::Http.refusal(Some(6697)).contains("6697"));
    }

    #[test]
    fn other_protocols_are_recognized_and_irc_is_not() {
        use ForeignProtocol::{Binary, Http, Proxy, Ssh, Tls};
        for (bytes, expected) in [
            (&b"\x16\x03\x01\x02\x00\x01"[..], Some(Tls)),
            (b"\x16", Some(Tls)),
            (b"\r\nGET / HTTP/1.1\r\n", Some(Http)),
            (b"POST /", Some(Http)),
            (b"PRI * HTTP/2.0", Some(Http)),
            (b"SSH-2.0-OpenSSH_9", Some(Ssh)),
            (b"PROXY TCP4 1.2.3.4", Some(Proxy)),
            (b"\x05\x01\x00", Some(Binary)),
            (b"\0", Some(Binary)),
            (b"GET", None),
            (b"GETTING x", None),
            (b"CAP LS 302", None),
            (b"PASS x", None),
            (b"@time=1 NICK a", None),
            (b":a NICK a", None),
            (b"\xc3\xa4", None),
            (b"\r\n", None),
            (b"", None),
        ] {
            assert_eq!(ForeignProtocol::recognize(bytes), expected, "{bytes:?}");
        }
    }
}
