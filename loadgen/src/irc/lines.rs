//! Divides the bytes from the network into lines.

/// The longest line that is accepted. The protocol allows 512 bytes; the tags
/// of some servers make lines longer. A longer line is dropped and counted.
const MAX_LINE_BYTES: usize = 8 * 1024;

/// Buffers the beginning of a line until its end arrives.
#[derive(Debug, Default)]
pub(crate) struct LineBuffer {
    partial: Vec<u8>,
    is_overlong: bool,
}

impl LineBuffer {
    /// Adds `bytes` and calls `on_line` with each complete line, without its
    /// line end. Empty lines are skipped, as the protocol requires. An overlong
    /// line is passed as `None`, once, when its end arrives.
    pub(crate) fn feed<E>(
        &mut self,
        mut bytes: &[u8],
        mut on_line: impl FnMut(Option<&[u8]>) -> Result<(), E>,
    ) -> Result<(), E> {
        while let Some(end) = bytes.iter().position(|&byte| byte == b'\n') {
            let (line, rest) = (&bytes[..end], &bytes[end + 1..]);
            bytes = rest;
            if self.is_overlong || self.partial.len() + line.len() > MAX_LINE_BYTES {
                self.is_overlong = false;
                self.partial.clear();
                on_line(None)?;
            } else if self.partial.is_empty() {
                pass_line(line, &mut on_line)?;
            } else {
                self.partial.extend_from_slice(line);
                let whole = std::mem::take(&mut self.partial);
                pass_line(&whole, &mut on_line)?;
            }
        }
        if self.partial.len() + bytes.len() > MAX_LINE_BYTES {
            self.is_overlong = true;
            self.partial.clear();
        } else if !self.is_overlong {
            self.partial.extend_from_slice(bytes);
        }
        Ok(())
    }
}

fn pass_line<E>(line: &[u8], on_line: &mut impl FnMut(Option<&[u8]>) -> Result<(), E>) -> Result<(), E> {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if line.is_empty() { Ok(()) } else { on_line(Some(line)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(chunks: &[&[u8]]) -> Vec<Option<Vec<u8>>> {
        let mut buffer = LineBuffer::default();
        let mut lines = Vec::new();
        for chunk in chunks {
            let taken = buffer.feed(chunk, |line| {
                lines.push(line.map(<[u8]>::to_vec));
                Ok::<(), ()>(())
            });
            assert_eq!(taken, Ok(()));
        }
        lines
    }

    #[test]
    fn lines_do_not_depend_on_where_the_chunks_end() {
        let expected = vec![Some(b"PING x".to_vec()), Some(b"A".to_vec()), Some(b"\xff\xfe".to_vec())];
        let text: &[u8] = b"PING x\r\n\r\nA\n\xff\xfe\r\nrest";
        assert_eq!(lines(&[text]), expected);
        let single: Vec<&[u8]> = text.chunks(1).collect();
        assert_eq!(lines(&single), expected);
    }

    #[test]
    fn an_overlong_line_is_dropped_once_and_the_next_line_is_complete() {
        let long = vec![b'x'; MAX_LINE_BYTES + 1];
        assert_eq!(lines(&[&long, &long, b"\nPING\n"]), vec![None, Some(b"PING".to_vec())]);
        let mut at_once = long.clone();
        at_once.extend_from_slice(b"\nPING\n");
        assert_eq!(lines(&[&at_once]), vec![None, Some(b"PING".to_vec())]);
    }
}
