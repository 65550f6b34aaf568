//! Limits on how long the server waits for a client and how much it queues.

use std::time::Duration;

/// The time and memory that the server spends on each client.
///
/// Programs that embed the server can change these limits. Pass them to
/// [`Config::with_client_limits`](crate::Config::with_client_limits).
///
/// # Examples
///
/// ```
/// # use std::time::Duration;
/// use chat_server::ClientLimits;
///
/// let limits = ClientLimits::default().with_ping_after(Duration::from_secs(5));
/// assert_eq!(limits.ping_after, Duration::from_secs(5));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClientLimits {
    /// Time within which a client must complete its TLS handshake; default
    /// 10 s.
    pub handshake_timeout: Duration,
    /// Time within which a client must register; default 60 s.
    pub registration_timeout: Duration,
    /// Time without input after which the server sends a PING; default 90 s.
    pub ping_after: Duration,
    /// Time without input after the PING, after which the server disconnects
    /// the client; default 60 s.
    pub pong_timeout: Duration,
    /// Queue size above which the client counts as slow; default 256 KiB.
    pub soft_queue_bytes: usize,
    /// Time that the queue may stay above `soft_queue_bytes` before the server
    /// disconnects the client; default 10 s.
    pub slow_reader_timeout: Duration,
    /// Queue size above which the server disconnects the client at once;
    /// default 1 MiB.
    pub hard_queue_bytes: usize,
    /// When the server disconnects a client, maximum time to write the rest of
    /// the queue; default 1 s.
    pub close_grace: Duration,
}

impl Default for ClientLimits {
    fn default() -> Self {
        Self {
            handshake_timeout: Duration::from_secs(10),
            registration_timeout: Duration::from_secs(60),
            ping_after: Duration::from_secs(90),
            pong_timeout: Duration::from_secs(60),
            soft_queue_bytes: 256 * 1024,
            slow_reader_timeout: Duration::from_secs(10),
            hard_queue_bytes: 1024 * 1024,
            close_grace: Duration::from_secs(1),
        }
    }
}

impl ClientLimits {
    /// Sets the time within which a client must complete its TLS handshake.
    #[must_use]
    pub const fn with_handshake_timeout(mut self, timeout: Duration) -> Self {
        self.handshake_timeout = timeout;
        self
    }

    /// Sets the time within which a client must register.
    #[must_use]
    pub const fn with_registration_timeout(mut self, timeout: Duration) -> Self {
        self.registration_timeout = timeout;
        self
    }

    /// Sets the time without input after which the server sends a PING.
    #[must_use]
    pub const fn with_ping_after(mut self, silence: Duration) -> Self {
        self.ping_after = silence;
        self
    }

    /// Sets the maximum wait for the answer to a PING.
    #[must_use]
    pub const fn with_pong_timeout(mut self, timeout: Duration) -> Self {
        self.pong_timeout = timeout;
        self
    }

    /// Sets the queue size above which a client counts as slow.
    #[must_use]
    pub const fn with_soft_queue_bytes(mut self, bytes: usize) -> Self {
        self.soft_queue_bytes = bytes;
        self
    }

    /// Sets the time that a client may be slow.
    #[must_use]
    pub const fn with_slow_reader_timeout(mut self, timeout: Duration) -> Self {
        self.slow_reader_timeout = timeout;
        self
    }

    /// Sets the queue size above which the server disconnects a client at once.
    #[must_use]
    pub const fn with_hard_queue_bytes(mut self, bytes: usize) -> Self {
        self.hard_queue_bytes = bytes;
        self
    }

    /// Sets the maximum time to write the rest of the queue when the server
    /// disconnects a client.
    #[must_use]
    pub const fn with_close_grace(mut self, grace: Duration) -> Self {
        self.close_grace = grace;
        self
    }
}
