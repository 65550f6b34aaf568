//! Failures of connections, by kind.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// Maximum number of bytes of a server's text that a failure quotes.
const MAX_QUOTE_BYTES: usize = 160;

/// The kinds of failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FailureKind {
    /// Nothing listens at the address.
    Refused,
    /// The connection was reset.
    Reset,
    /// The target closed the connection, or reading failed for a reason other
    /// than a reset.
    Closed,
    /// The target did not answer in time.
    Timeout,
    /// The target violated the protocol, or refused the registration of a
    /// client.
    Protocol,
    /// The connection could not be opened for another reason.
    Connect,
    /// The TLS handshake failed.
    Tls,
}

impl FailureKind {
    /// Every kind, in the order in which reports list them.
    pub(crate) const ALL: [Self; 7] =
        [Self::Refused, Self::Reset, Self::Closed, Self::Timeout, Self::Protocol, Self::Connect, Self::Tls];

    /// Returns its name in reports.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Reset => "reset",
            Self::Closed => "closed",
            Self::Timeout => "timeout",
            Self::Protocol => "protocol",
            Self::Connect => "connect",
            Self::Tls => "tls",
        }
    }
}

/// One failure, with a text that fits into a sentence.
#[derive(Debug, Clone)]
pub(crate) struct Failure {
    kind: FailureKind,
    text: String,
}

impl Failure {
    /// Returns the failure of opening a connection.
    pub(crate) fn connecting(error: &io::Error) -> Self {
        let kind = match error.kind() {
            io::ErrorKind::ConnectionRefused => FailureKind::Refused,
            io::ErrorKind::ConnectionReset => FailureKind::Reset,
            io::ErrorKind::TimedOut => FailureKind::Timeout,
            _ => FailureKind::Connect,
        };
        let text = match kind {
            FailureKind::Refused => "the target refuses connections".to_owned(),
            _ => format!("connecting failed: {error}"),
        };
        Self { kind, text }
    }

    /// Returns the failure of reading from a connection.
    pub(crate) fn reading(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => {
                Self { kind: FailureKind::Reset, text: "the target reset the connection".to_owned() }
            }
            _ => Self { kind: FailureKind::Closed, text: format!("the connection failed: {error}") },
        }
    }

    /// Returns the failure of a connection that the target closed.
    pub(crate) fn closed(text: &str) -> Self {
        Self { kind: FailureKind::Closed, text: text.to_owned() }
    }

    /// Returns the failure of a connection that the target closed with the
    /// reason `line`.
    pub(crate) fn closed_with(text: &str, line: &[u8]) -> Self {
        Self { kind: FailureKind::Closed, text: format!("{text}: {}", quote(line)) }
    }

    /// Returns the failure of a connection whose target did not answer in time.
    pub(crate) fn timeout(text: String) -> Self {
        Self { kind: FailureKind::Timeout, text }
    }

    /// Returns the failure of a TLS handshake.
    pub(crate) const fn tls(text: String) -> Self {
        Self { kind: FailureKind::Tls, text }
    }

    /// Returns the failure of a target that violated the protocol with `line`.
    /// `line` is `None` if it was too long to keep.
    pub(crate) fn protocol(text: &str, line: Option<&[u8]>) -> Self {
        let quoted = line.map_or_else(|| "an overlong line".to_owned(), quote);
        Self { kind: FailureKind::Protocol, text: format!("{text} {quoted}") }
    }
}

/// Quotes a line of the server. Control characters are replaced, so the quote
/// is safe to print on a terminal.
fn quote(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(&line[..line.len().min(MAX_QUOTE_BYTES)]);
    let clean: String = text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    format!("`{clean}`")
}

/// Counts of failures, and the text of the first one of each kind.
#[derive(Debug, Default)]
pub(crate) struct Failures {
    counts: [AtomicU64; FailureKind::ALL.len()],
    first: Mutex<[Option<String>; FailureKind::ALL.len()]>,
}

impl Failures {
    /// Counts one failure.
    pub(crate) fn count(&self, failure: &Failure) {
        let index = failure.kind as usize;
        if self.counts[index].fetch_add(1, Ordering::Relaxed) == 0 {
            let mut first = self.first.lock().unwrap_or_else(PoisonError::into_inner);
            first[index].get_or_insert_with(|| failure.text.clone());
        }
    }

    /// Returns the number of failures of `kind`.
    pub(crate) fn count_of(&self, kind: FailureKind) -> u64 {
        self.counts[kind as usize].load(Ordering::Relaxed)
    }

    /// Returns the number of all failures.
    pub(crate) fn total(&self) -> u64 {
        FailureKind::ALL.into_iter().map(|kind| self.count_of(kind)).sum()
    }

    /// Returns the text of the first failure of the most frequent kind.
    pub(crate) fn main_reason(&self) -> Option<String> {
        let kind = FailureKind::ALL.into_iter().max_by_key(|&kind| self.count_of(kind))?;
        self.first.lock().unwrap_or_else(PoisonError::into_inner)[kind as usize].clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_frequent_failure_gives_the_reason() {
        let failures = Failures::default();
        assert_eq!(failures.main_reason(), None);
        failures.count(&Failure::closed("the target closed the connection"));
        let refused = Failure::connecting(&io::ErrorKind::ConnectionRefused.into());
        failures.count(&refused);
        failures.count(&refused);
        assert_eq!((failures.count_of(FailureKind::Refused), failures.total()), (2, 3));
        assert_eq!(failures.main_reason().as_deref(), Some("the target refuses connections"));
    }

    #[test]
    fn a_quoted_line_has_no_control_characters() {
        let failure = Failure::protocol("it sent", Some(b"\x1b[2J\xffhi"));
        assert_eq!(failure.text, "it sent `\u{fffd}[2J\u{fffd}hi`");
        assert!(Failure::protocol("it sent", Some(&[b'x'; 9000])).text.len() < 200);
    }
}
