//! The error of a wrong setting.

use std::fmt;

/// A setting that is wrong: what was given and what would be right.
#[derive(Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// The flag that has the setting's name, such as `--listen`.
    pub(crate) flag: &'static str,
    pub(crate) reason: String,
    /// The path of the configuration file and the line, if the value came from
    /// the file.
    pub(crate) place: Option<String>,
}

impl ConfigError {
    pub(crate) fn new(flag: &'static str, reason: impl Into<String>) -> Self {
        Self { flag, reason: reason.into(), place: None }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Some(place) => write!(f, "{place}: {}: {}", self.flag.trim_start_matches('-'), self.reason),
            None => write!(f, "{}: {}", self.flag, self.reason),
        }
    }
}

impl std::error::Error for ConfigError {}
