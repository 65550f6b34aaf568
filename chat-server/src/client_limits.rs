//! How long the server waits for a client, and how much it keeps for it.

use std::time::Duration;

use crate::config::Config;

/// How patient the server is with each client, for programs that embed it.
///
/// # Examples
///
/// ```
/// # use std::time::Duration;
/// use chat_server::Patience;
/// let quick = Patience { idle: Duration::from_secs(5), ..Patience::default() };
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// How long it may take to register; 60 s.
    pub register: Duration,
    /// Silence after which it gets a PING; 90 s.
    pub idle: Duration,
    /// Further silence after which it is let go; 60 s.
    pub answer: Duration,
    /// Bytes over which its queue is full; 256 KiB.
    pub queue: usize,
    /// How long its queue may be full until it is let go; 10 s.
    pub slow: Duration,
    /// Bytes of its queue over which it is let go at once; 1 MiB.
    pub longest_queue: usize,
    /// How long it has, once it is let go, to take what is queued for it; 1 s.
    pub grace: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Patience {
            register: Duration::from_secs(60),
            idle: Duration::from_secs(90),
            answer: Duration::from_secs(60),
            queue: 256 * 1024,
            slow: Duration::from_secs(10),
            longest_queue: 1024 * 1024,
            grace: Duration::from_secs(1),
        }
    }
}

impl Config {
    /// The same with another patience than the default one.
    #[must_use]
    pub fn with_patience(mut self, patience: Patience) -> Self {
        self.server.patience = patience;
        self
    }
}
