//! The sockets at which a server accepts clients.

use tokio::net::TcpListener;

/// The sockets of a server: one for plain text and, if wanted, one for TLS.
///
/// [`serve`](crate::serve) takes them, or a `TcpListener` alone.
#[derive(Debug)]
pub struct Listeners {
    pub(crate) plain: TcpListener,
    pub(crate) tls: Option<TcpListener>,
}

impl Listeners {
    /// Adds a socket for TLS. The configuration must have a certificate.
    #[must_use]
    pub fn with_tls(self, tls: TcpListener) -> Self {
        Self { tls: Some(tls), ..self }
    }
}

impl From<TcpListener> for Listeners {
    fn from(plain: TcpListener) -> Self {
        Self { plain, tls: None }
    }
}
