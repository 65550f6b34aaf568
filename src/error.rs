//! What can go wrong as a scope starts.

use std::net::SocketAddr;
use std::{fmt, io};

/// Why [`Builder::start`](crate::Builder::start) failed.
#[derive(Debug)]
#[non_exhaustive]
pub enum StartError {
    /// A setting is out of range, or an environment variable does not parse.
    Setting {
        /// The setting or variable.
        name: &'static str,
        /// What was given.
        value: String,
        /// What would be right.
        expected: &'static str,
    },
    /// The telemetry address could not be bound. Choose a free port, or port 0
    /// for any free one.
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// A thread of loopscope's own could not be started.
    Thread {
        /// Its name.
        name: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Setting { name, value, expected } => {
                write!(f, "loopscope: {name} is `{value}`, but must be {expected}")
            }
            Self::Bind { address, source } => {
                write!(
                    f,
                    "loopscope: cannot serve telemetry on {address}: {source}; choose a free port, or port 0 for any"
                )
            }
            Self::Thread { name, source } => {
                write!(f, "loopscope: cannot start the thread {name}: {source}")
            }
        }
    }
}

// The messages hold what the system said: as a source, too, it would be printed twice by
// whoever prints the chain.
impl std::error::Error for StartError {}
