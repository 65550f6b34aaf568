//! The program that was the load, as plain data.

use serde::Serialize;

/// A command that ran instead of the generator's own clients.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Program {
    /// The program and its arguments.
    pub(crate) command: Vec<String>,
    /// How long it ran.
    pub(crate) seconds: f64,
    /// What it ended with; null if a signal ended it.
    pub(crate) exit_code: Option<i32>,
}
