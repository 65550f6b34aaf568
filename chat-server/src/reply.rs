//! Lines from the server, encoded.

use std::sync::Arc;

use crate::{lines::MAX_LINE, outbox::Buffer};

/// Appends the parts as one line, cut to what the protocol allows.
fn push_line(bytes: &mut Vec<u8>, parts: &[&[u8]]) {
    let start = bytes.len();
    parts.iter().for_each(|part| bytes.extend_from_slice(part));
    bytes.truncate(start + MAX_LINE - 2);
    bytes.extend_from_slice(b"\r\n");
}

/// One line of its own, for many receivers.
pub(crate) fn encode(parts: &[&[u8]]) -> Buffer {
    let mut bytes = Vec::with_capacity(parts.iter().map(|part| part.len()).sum::<usize>() + 2);
    push_line(&mut bytes, parts);
    bytes.into()
}

/// The answers to one request, in order, sent as one buffer.
#[derive(Debug)]
pub(crate) struct Replies {
    server: Arc<str>,
    target: Box<[u8]>,
    bytes: Vec<u8>,
    lines: u64,
}

impl Replies {
    /// Answers of `server` to the client that is called `target`, `*` before it has a name.
    pub(crate) fn new(server: Arc<str>, target: &[u8]) -> Self {
        Replies { server, target: target.into(), bytes: Vec::new(), lines: 0 }
    }

    /// The client is called `target` from here on.
    pub(crate) fn retarget(&mut self, target: &[u8]) {
        self.target = target.into();
    }

    /// `:server CODE target params :trailing`
    pub(crate) fn numeric(&mut self, code: u16, params: &[&[u8]], trailing: impl AsRef<[u8]>) {
        self.begin(code, params);
        self.end(&[b" :", trailing.as_ref()]);
    }

    /// `:server CODE target params`
    pub(crate) fn numeric_params(&mut self, code: u16, params: &[&[u8]]) {
        self.begin(code, params);
        self.end(&[]);
    }

    /// A numeric whose trailing part lists `words`, on as many lines as they need.
    pub(crate) fn numeric_words<'a>(
        &mut self,
        code: u16,
        params: &[&[u8]],
        words: impl IntoIterator<Item = &'a [u8]>,
    ) {
        let head =
            self.server.len() + self.target.len() + params.iter().map(|it| it.len() + 1).sum::<usize>();
        let room = MAX_LINE.saturating_sub(head + b":  000  :\r\n".len());
        let mut line: Vec<u8> = Vec::with_capacity(MAX_LINE);
        for word in words {
            if !line.is_empty() && line.len() + 1 + word.len() > room {
                self.numeric(code, params, &line);
                line.clear();
            }
            if !line.is_empty() {
                line.push(b' ');
            }
            line.extend_from_slice(word);
        }
        if !line.is_empty() {
            self.numeric(code, params, &line);
        }
    }

    /// Any other line.
    pub(crate) fn line(&mut self, parts: &[&[u8]]) {
        push_line(&mut self.bytes, parts);
        self.lines += 1;
    }

    /// `:server command...`
    pub(crate) fn server_line(&mut self, parts: &[&[u8]]) {
        let server = self.server.clone();
        self.line(&[&[b":", server.as_bytes(), b" "], parts].concat());
    }

    /// A line that others receive too.
    pub(crate) fn copy(&mut self, buffer: &Buffer) {
        self.bytes.extend_from_slice(buffer);
        self.lines += 1;
    }

    /// What was collected and how many lines it is; `None` if there is nothing.
    pub(crate) fn take(&mut self) -> Option<(Buffer, u64)> {
        let bytes = std::mem::take(&mut self.bytes);
        (!bytes.is_empty()).then(|| (bytes.into(), std::mem::take(&mut self.lines)))
    }

    fn begin(&mut self, code: u16, params: &[&[u8]]) {
        self.bytes.extend_from_slice(b":");
        self.bytes.extend_from_slice(self.server.as_bytes());
        self.bytes.extend_from_slice(format!(" {code:03} ").as_bytes());
        self.bytes.extend_from_slice(&self.target);
        for param in params {
            self.bytes.push(b' ');
            self.bytes.extend_from_slice(param);
        }
    }

    fn end(&mut self, parts: &[&[u8]]) {
        parts.iter().for_each(|part| self.bytes.extend_from_slice(part));
        let start = self.bytes.iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1);
        self.bytes.truncate(start + MAX_LINE - 2);
        self.bytes.extend_from_slice(b"\r\n");
        self.lines += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(replies: &mut Replies) -> String {
        String::from_utf8_lossy(&replies.take().expect("something").0).into_owned()
    }

    #[test]
    fn numerics_have_their_form() {
        let mut replies = Replies::new("s".into(), b"*");
        replies.numeric(1, &[], "Welcome");
        replies.retarget(b"ada");
        replies.numeric(401, &[b"bob"], "No such nick");
        replies.numeric_params(221, &[b"+i"]);
        replies.server_line(&[b"PONG s :x"]);
        assert_eq!(
            text(&mut replies),
            ":s 001 * :Welcome\r\n:s 401 ada bob :No such nick\r\n:s 221 ada +i\r\n:s PONG s :x\r\n"
        );
        assert!(replies.take().is_none());
    }

    #[test]
    fn no_line_is_too_long_and_no_word_is_lost() {
        let mut replies = Replies::new("server".into(), b"ada");
        let words: Vec<Vec<u8>> = (0..200).map(|number| format!("nick{number}").into_bytes()).collect();
        replies.numeric_words(353, &[b"=", b"#a"], words.iter().map(Vec::as_slice));
        replies.numeric(332, &[b"#a"], [b'x'; 600]);
        let text = text(&mut replies);
        assert!(text.split_inclusive("\r\n").all(|line| line.len() <= MAX_LINE));
        assert!(text.lines().any(|line| line.len() > MAX_LINE - 20));
        let listed: Vec<_> =
            text.lines().filter_map(|it| it.strip_prefix(":server 353 ada = #a :")).collect();
        assert_eq!(listed.join(" ").as_bytes(), words.join(&b' '));
    }
}
