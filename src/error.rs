//! The errors of starting a scope.

use std::net::SocketAddr;
use std::{fmt, io};

/// The reason why [`ScopeBuilder::start`](crate::ScopeBuilder::start) failed.
///
/// The `Display` text contains the error of the operating system.
/// [`source`](std::error::Error::source) returns `None`, because code that
/// prints the chain of sources would print that error twice.
#[derive(Debug)]
#[non_exhaustive]
pub enum StartError {
    /// A setting is out of range, or an environment variable is invalid.
    #[non_exhaustive]
    Setting {
        /// The name of the setting or variable.
        name: &'static str,
        /// Its value.
        value: String,
        /// What a valid value is, as a phrase that follows "must be".
        expected: &'static str,
    },
    /// The telemetry address could not be bound. Choose a free port, or port 0
    /// for any free one.
    #[non_exhaustive]
    Bind {
        /// The address.
        address: SocketAddr,
        /// The error of the operating system.
        source: io::Error,
    },
    /// One of loopscope's threads could not be started.
    #[non_exhaustive]
    Thread {
        /// The name of the thread.
        name: &'static str,
        /// The error of the operating system.
        source: io::Error,
    },
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Setting { name, value, expected } => {
                write!(f, "{name} is `{value}`, but must be {expected}")
            }
            Self::Bind { address, source } => {
                write!(
                    f,
                    "cannot serve telemetry on {address}: {source}; choose a free port, or port 0 for any"
                )
            }
            Self::Thread { name, source } => {
                write!(f, "cannot start the thread {name}: {source}")
            }
        }
    }
}

impl std::error::Error for StartError {}
