//! What a measured message carries, as text that any server passes on: who
//! sent it, as which, when it was due, and how late the generator was.

use std::io::Write as _;

/// Which message this is: sender, number and due time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Payload {
    /// The run that sent it; messages of other runs are not ours to count.
    pub(crate) run: u32,
    /// The sender's connection.
    pub(crate) sender: usize,
    /// Its number among the sender's messages.
    pub(crate) sequence: u64,
    /// When it was due, in nanoseconds since the measuring began.
    pub(crate) due_ns: u64,
    /// How much later it was sent, in nanoseconds.
    pub(crate) lag_ns: u64,
}

const PAYLOAD_MARK: &[u8] = b"lg2";

impl Payload {
    /// Appends it to `line`, filled up to `length` bytes.
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

    /// Reads a message's text; `None` if it was not sent by a generator.
    pub(crate) fn read(text: &[u8]) -> Option<Self> {
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
    fn what_is_written_is_read() {
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
            assert_eq!(Payload::read(&line[begin..]), Some(payload));
        }
    }

    #[test]
    fn other_texts_are_nobodys() {
        for text in [
            &b""[..],
            b"hello",
            b"lg2",
            b"lg2 1 2 3 4",
            b"lg2 v w x y z",
            b"lg2 1 2 3 4 \xff",
            b"lg2 1 -2 3 4 5",
        ] {
            assert_eq!(Payload::read(text), None, "{text:?}");
        }
    }
}
