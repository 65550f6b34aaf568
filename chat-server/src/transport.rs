//! How a client is connected.

use std::net::IpAddr;

/// What others on the way can read of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transport {
    /// Plain text over a network.
    Network,
    /// Plain text that does not leave the machine.
    SameMachine,
    Tls,
}

impl Transport {
    /// Returns the transport of a connection without TLS from this address.
    pub(crate) fn plain(from: IpAddr) -> Self {
        if from.to_canonical().is_loopback() { Self::SameMachine } else { Self::Network }
    }

    /// Returns whether nobody on the way can read what the client sends.
    pub(crate) fn is_confidential(self) -> bool {
        self != Self::Network
    }
}
