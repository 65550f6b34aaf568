//! Why a process cannot be read.

use std::fmt;

/// Why a process cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum AttachError {
    /// There is no process with this id.
    NotFound {
        /// The id.
        pid: i32,
    },
}

impl fmt::Display for AttachError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound { pid } => write!(f, "there is no process {pid}"),
        }
    }
}

impl std::error::Error for AttachError {}
