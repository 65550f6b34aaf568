//! What a measured message carries, as text that any server passes on.

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
}

const MARK: &[u8] = b"lg1";

impl Payload {
    /// Appends it to `line`, filled up to `length` bytes.
    pub(crate) fn write(&self, line: &mut Vec<u8>, length: usize) {
        let begin = line.len();
        let Self { run, sender, sequence, due_ns } = self;
        line.extend_from_slice(MARK);
        // Writing into a vector cannot fail.
        let _ = write!(line, " {run:x} {sender} {sequence} {due_ns} ");
        let end = begin + length;
        if line.len() < end {
            line.resize(end, b'.');
        }
    }

    /// Reads a message's text; `None` if it was not sent by a generator.
    pub(crate) fn read(text: &[u8]) -> Option<Self> {
        let mut fields = text.split(|&byte| byte == b' ');
        if fields.next() != Some(MARK) {
            return None;
        }
        let mut field = || std::str::from_utf8(fields.next()?).ok();
        Some(Self {
            run: u32::from_str_radix(field()?, 16).ok()?,
            sender: field()?.parse().ok()?,
            sequence: field()?.parse().ok()?,
            due_ns: field()?.parse().ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let payload = Payload { run: 0xdead_beef, sender: 99_999, sequence: u64::MAX, due_ns: u64::MAX };
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
        for text in
            [&b""[..], b"hello", b"lg1", b"lg1 1 2 3", b"lg1 x y z w", b"lg1 1 2 3 \xff", b"lg1 1 -2 3 4"]
        {
            assert_eq!(Payload::read(text), None, "{text:?}");
        }
    }
}
