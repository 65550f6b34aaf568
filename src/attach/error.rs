//! Why a process cannot be read.

use std::fmt;

use crate::error::StartError;

/// Why a process cannot be read.
#[derive(Debug)]
#[non_exhaustive]
pub enum AttachError {
    /// There is no process with this id.
    NotFound {
        /// The id.
        pid: i32,
    },
    /// The watch cannot be started.
    Start(StartError),
}

impl From<StartError> for AttachError {
    fn from(error: StartError) -> Self {
        Self::Start(error)
    }
}

impl fmt::Display for AttachError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start(error) => error.fmt(f),
            Self::NotFound { pid } => write!(f, "there is no process {pid}"),
        }
    }
}

impl std::error::Error for AttachError {}
