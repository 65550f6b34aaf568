//! The payload of a measured message, as text that any server delivers
//! unchanged: sender, sequence number, due time, and send lag.

use std::io::Write as _;

/// The identity and the times of a measured message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Payload {
    /// The run that sent it; messages of other runs are not counted.
    pub(crate) run: u32,
    /// The number of the sender's connection.
    pub(crate) sender: usize,
    /// Its number among the sender's messages.
    pub(crate) sequence: u64,
    /// When it was due, in nanoseconds since the measurement began.
    pub(crate) due_ns: u64,
    /// The send lag: how much later it was sent, in nanoseconds.
    pub(crate) lag_ns: u64,
}

/// The first word of every payload.
const PAYLOAD_MARK: &[u8] = b"lg2";

impl Payload {
    /// Appends the payload to `line`, padded to `length` bytes.
    pub(crate) fn write(&self, line: &mut Vec<u8>, length: usize) {
        let begin = line.len();
        let Self { run, sender, sequence, due_ns, lag_ns } = self;
        line.extend_from_slice(PAYLOAD_MARK);
        // Writing into a vector cannot fail.
        let _ = write!(line, " {run:x} {sender} {sequence} {due_ns} {lag_ns} ");
        let end = begin + length;
        if line.len() < end {
            line.resize(end, b'.');
        }
    }

    /// Parses the text of a message; `None` if it is not a payload.
    pub(crate) fn parse(text: &[u8]) -> Option<Self> {
        let mut fields = text.split(|&byte| byte == b' ');
        if fields.next() != Some(PAYLOAD_MARK) {
            return None;
        }
        let mut field = || std::str::from_utf8(fields.next()?).ok();
        Some(Self {
            run: u32::from_str_radix(field()?, 16).ok()?,
            sender: field()?.parse().ok()?,
            sequence: field()?.parse().ok()?,
            due_ns: field()?.parse().ok()?,
            lag_ns: field()?.parse().ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_written_payload_parses_to_itself() {
        let payload = Payload {
            run: 0xdead_beef,
            sender: 99_999,
            sequence: u64::MAX,
            due_ns: u64::MAX,
            lag_ns: u64::MAX,
        };
        for length in [0, 80, 400] {
            let mut line = b"PRIVMSG #r :".to_vec();
            let begin = line.len();
            payload.write(&mut line, length);
            assert!(line.len() - begin >= length && line.len() <= 500);
            assert_eq!(Payload::parse(&line[begin..]), Some(payload));
        }
    }

    #[test]
    fn other_texts_are_not_payloads() {
        for text in [
            &b""[..],
            b"hello",
            b"lg2",
            b"lg2 1 2 3 4",
            b"lg2 v w x y z",
            b"lg2 1 2 3 4 \xff",
            b"lg2 1 -2 3 4 5",
        ] {
            assert_eq!(Payload::parse(text), None, "{text:?}");
        }
    }
}
