//! Encodes lines for clients.

use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use crate::irc::labels::add_label;
use crate::irc::lines::MAX_LINE_BYTES;
use crate::irc::numeric::{
    ERR_CHANOPRIVSNEEDED, ERR_NEEDMOREPARAMS, ERR_NOSUCHCHANNEL, ERR_NOSUCHNICK, ERR_NOTONCHANNEL, Numeric,
    StandardReply,
};
use crate::irc::tags::{self, MessageTags, TagKinds, time_tag};
use crate::irc::truncate::truncate;

/// Maximum bytes of a parameter that is not the last one. Parameters that the
/// server itself chooses are shorter.
const MAX_PARAM_BYTES: usize = 200;

/// Encoded lines, shared by all receivers.
pub(crate) type Buffer = Arc<[u8]>;

/// One or more lines for any number of receivers, with and without tags. Each
/// of these forms is encoded once, and all receivers share its buffer.
#[derive(Debug)]
pub(crate) struct OutputLine {
    plain: Buffer,
    /// The account of the user that the line comes from.
    account: Option<Box<[u8]>>,
    /// The tags that only a message has.
    tags: Option<MessageTags>,
    /// Whether `plain` already has the tags that its receiver wants.
    is_complete: bool,
    /// The forms with tags, by [`TagKinds::bits`] minus 1.
    tagged: [OnceLock<Buffer>; 7],
}

impl OutputLine {
    /// Joins the parts and truncates the line to the maximum length.
    pub(crate) fn new(parts: &[&[u8]]) -> Self {
        let mut bytes = Vec::with_capacity(parts.iter().map(|part| part.len()).sum::<usize>() + 2);
        push_line(&mut bytes, parts);
        Self::from_buffer(bytes.into())
    }

    fn from_buffer(plain: Buffer) -> Self {
        Self { plain, account: None, tags: None, is_complete: false, tagged: Default::default() }
    }

    /// Returns the line with the account of the user that it comes from.
    pub(crate) fn with_account(self, account: Option<&[u8]>) -> Self {
        Self { account: account.map(Into::into), ..self }
    }

    /// The same for a message, which has tags of its own.
    pub(crate) fn with_tags(parts: &[&[u8]], tags: MessageTags) -> Self {
        Self { tags: Some(tags), ..Self::new(parts) }
    }

    /// Returns the line without tags.
    pub(crate) fn plain(&self) -> &Buffer {
        &self.plain
    }

    /// Returns the line with the tags of these kinds. The first call for a line
    /// that is no message sets its time.
    pub(crate) fn with_kinds(&self, kinds: TagKinds) -> &Buffer {
        let kinds = TagKinds {
            time: kinds.time,
            message: kinds.message && self.tags.is_some(),
            account: kinds.account && self.account.is_some(),
        };
        let form = usize::from(kinds.bits()).checked_sub(1).filter(|_| !self.is_complete);
        let Some(form) = form else { return &self.plain };
        self.tagged[form].get_or_init(|| {
            let tags = tags::encode(kinds, self.account.as_deref(), self.tags.as_ref());
            [b"@", &tags[..], b" ", &self.plain].concat().into()
        })
    }
}

/// Appends the parts as one line.
fn push_line(bytes: &mut Vec<u8>, parts: &[&[u8]]) {
    let start = bytes.len();
    parts.iter().for_each(|part| bytes.extend_from_slice(part));
    end_line(bytes, start);
}

/// Ends the line that begins at `start`, truncated to the maximum length.
fn end_line(bytes: &mut Vec<u8>, start: usize) {
    let length = truncate(&bytes[start..], MAX_LINE_BYTES - 2).len();
    bytes.truncate(start + length);
    bytes.extend_from_slice(b"\r\n");
}

/// Returns `param` in a form that is valid before the last parameter.
///
/// Replies repeat parameters of the client. The last parameter of a command may
/// have any bytes. A space would shift all following parameters, and a long
/// parameter would leave no space for the text.
fn as_middle_param(param: &[u8]) -> &[u8] {
    match param.first() {
        None | Some(b':') => b"*",
        Some(_) if param.contains(&b' ') => b"*",
        Some(_) => truncate(param, MAX_PARAM_BYTES),
    }
}

/// The replies to one request, in order. They are sent as one buffer.
#[derive(Debug)]
pub(crate) struct Replies {
    server: Arc<str>,
    target: Box<[u8]>,
    kinds: TagKinds,
    /// The time tag of each line, or empty. Tags do not count towards the
    /// line's length.
    tag: Vec<u8>,
    bytes: Vec<u8>,
    line_count: u64,
    /// The label of the request. The replies get it when they are taken.
    label: Option<Box<[u8]>>,
    /// Lines that are no part of the response and get no label.
    deliveries: Vec<u8>,
}

impl Replies {
    /// Creates empty replies of `server` to a client. `target` is the client's
    /// nick, or `*` if the client has no nick yet.
    pub(crate) fn new(server: Arc<str>, target: &[u8], kinds: TagKinds) -> Self {
        let (tag, bytes, deliveries) = Default::default();
        let mut replies =
            Self { server, target: target.into(), kinds, tag, bytes, line_count: 0, label: None, deliveries };
        replies.set_kinds(kinds);
        replies
    }

    /// Sets the label of the request. From now on, these are the whole response
    /// to it.
    pub(crate) fn set_label(&mut self, label: Option<Box<[u8]>>) {
        self.label = label;
    }

    /// Takes the label. These replies are not the response, or not all of it.
    pub(crate) fn take_label(&mut self) -> Option<Box<[u8]>> {
        self.label.take()
    }

    /// Sets the nick of the client for the following lines.
    pub(crate) fn retarget(&mut self, target: &[u8]) {
        self.target = target.into();
    }

    /// Returns the nick of the client, or `*`.
    pub(crate) fn target(&self) -> &[u8] {
        &self.target
    }

    /// Sets which tags the following lines have.
    pub(crate) fn set_kinds(&mut self, kinds: TagKinds) {
        self.kinds = kinds;
        self.tag = if kinds.time { time_tag(SystemTime::now()) } else { Vec::new() };
    }

    /// Returns which tags the lines have.
    pub(crate) fn kinds(&self) -> TagKinds {
        self.kinds
    }

    /// Sets the time of the following lines, which carry a time tag.
    pub(crate) fn set_time(&mut self, time: SystemTime) {
        self.tag = time_tag(time);
    }

    /// `:server CODE target params :trailing`
    pub(crate) fn numeric(&mut self, numeric: Numeric, params: &[&[u8]], trailing: impl AsRef<[u8]>) {
        self.push_numeric(numeric, params, &[b" :", trailing.as_ref()]);
    }

    /// `:server CODE target params :fixed text`
    pub(crate) fn standard(&mut self, reply: StandardReply, params: &[&[u8]]) {
        self.numeric(reply.numeric, params, reply.text);
    }

    /// The command lacks a parameter.
    pub(crate) fn need_more_params(&mut self, command: &str) {
        self.standard(ERR_NEEDMOREPARAMS, &[command.as_bytes()]);
    }

    /// No registered client has that nick.
    pub(crate) fn no_such_nick(&mut self, nick: &[u8]) {
        self.standard(ERR_NOSUCHNICK, &[nick]);
    }

    /// The channel does not exist, or it is hidden from the client, or `name`
    /// is not a valid channel name.
    pub(crate) fn no_such_channel(&mut self, name: &[u8]) {
        self.standard(ERR_NOSUCHCHANNEL, &[name]);
    }

    /// The client is not a member of the channel.
    pub(crate) fn not_on_channel(&mut self, name: &[u8]) {
        self.standard(ERR_NOTONCHANNEL, &[name]);
    }

    /// The client is not an operator of the channel.
    pub(crate) fn not_channel_operator(&mut self, name: &[u8]) {
        self.standard(ERR_CHANOPRIVSNEEDED, &[name]);
    }

    /// `:server CODE target params`
    pub(crate) fn numeric_params(&mut self, numeric: Numeric, params: &[&[u8]]) {
        self.push_numeric(numeric, params, &[]);
    }

    /// A numeric whose trailing part lists `words`, on as many lines as
    /// necessary.
    pub(crate) fn numeric_words<'a, W: AsRef<[u8]> + ?Sized + 'a>(
        &mut self,
        numeric: Numeric,
        params: &[&[u8]],
        words: impl IntoIterator<Item = &'a W>,
    ) {
        let head =
            self.server.len() + self.target.len() + params.iter().map(|it| it.len() + 1).sum::<usize>();
        let space = MAX_LINE_BYTES.saturating_sub(head + b":  000  :\r\n".len());
        let mut line: Vec<u8> = Vec::with_capacity(MAX_LINE_BYTES);
        for word in words {
            let word = word.as_ref();
            if !line.is_empty() && line.len() + 1 + word.len() > space {
                self.numeric(numeric, params, &line);
                line.clear();
            }
            if !line.is_empty() {
                line.push(b' ');
            }
            line.extend_from_slice(word);
        }
        if !line.is_empty() {
            self.numeric(numeric, params, &line);
        }
    }

    /// Appends any other line.
    pub(crate) fn line(&mut self, parts: &[&[u8]]) {
        self.begin_line(b"");
        push_line(&mut self.bytes, parts);
    }

    /// Appends a line with these tags, without `@`, and no others.
    pub(crate) fn tagged_line(&mut self, tags: &[u8], parts: &[&[u8]]) {
        let own_tag = std::mem::take(&mut self.tag);
        self.begin_line(tags);
        push_line(&mut self.bytes, parts);
        self.tag = own_tag;
    }

    /// Begins a line with the time tag, if the client wants it, and `tags`.
    fn begin_line(&mut self, tags: &[u8]) {
        self.line_count += 1;
        if self.tag.is_empty() && tags.is_empty() {
            return;
        }
        self.bytes.push(b'@');
        self.bytes.extend_from_slice(&self.tag);
        if !tags.is_empty() {
            if !self.tag.is_empty() {
                self.bytes.push(b';');
            }
            self.bytes.extend_from_slice(tags);
        }
        self.bytes.push(b' ');
    }

    /// `:server FAIL command CODE params :text`
    pub(crate) fn fail(&mut self, command: &str, code: &str, params: &[&[u8]], text: &str) {
        let mut parts = vec![b"FAIL ", command.as_bytes(), b" ", code.as_bytes()];
        params.iter().for_each(|param| parts.extend([&b" "[..], as_middle_param(param)]));
        parts.extend([&b" :"[..], text.as_bytes()]);
        self.server_line(&parts);
    }

    /// Returns whether lines carry a time.
    pub(crate) fn has_time_tags(&self) -> bool {
        self.kinds.time
    }

    /// `:server command...`
    pub(crate) fn server_line(&mut self, parts: &[&[u8]]) {
        let server = self.server.clone();
        self.line(&[&[b":", server.as_bytes(), b" "], parts].concat());
    }

    /// `:server command...text`, on as many lines as the text needs. All lines
    /// begin with the same parts.
    pub(crate) fn server_text(&mut self, parts: &[&[u8]], text: &[u8]) {
        let head = self.server.len() + parts.iter().map(|it| it.len()).sum::<usize>();
        // At least one character fits in each line, so that the loop ends.
        let space = MAX_LINE_BYTES.saturating_sub(head + b":  \r\n".len() - 1).max(4);
        let mut rest = text;
        loop {
            let piece = truncate(rest, space);
            self.server_line(&[parts, &[piece]].concat());
            rest = &rest[piece.len()..];
            if rest.is_empty() {
                return;
            }
        }
    }

    /// Appends a line that others receive too.
    pub(crate) fn push_copy(&mut self, line: &OutputLine) {
        self.bytes.extend_from_slice(line.with_kinds(self.kinds));
        self.line_count += 1;
    }

    /// Appends a message to the client itself. It is no reply, so it comes
    /// after a response that has a label.
    pub(crate) fn push_delivery(&mut self, line: &OutputLine) {
        if self.label.is_none() {
            return self.push_copy(line);
        }
        self.deliveries.extend_from_slice(line.with_kinds(self.kinds));
        self.line_count += 1;
    }

    /// Returns the number of bytes collected.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Takes the collected lines and their number. Returns `None` if there are
    /// no lines.
    pub(crate) fn take(&mut self) -> Option<(OutputLine, u64)> {
        let mut bytes = std::mem::take(&mut self.bytes);
        if let Some(label) = self.label.take() {
            bytes = add_label(&bytes, &label, self.server.as_bytes(), &self.tag);
            self.line_count = bytes.iter().filter(|&&byte| byte == b'\n').count() as u64;
        }
        bytes.append(&mut self.deliveries);
        let line = OutputLine { is_complete: true, ..OutputLine::from_buffer(bytes.into()) };
        (!line.plain.is_empty()).then(|| (line, std::mem::take(&mut self.line_count)))
    }

    fn push_numeric(&mut self, numeric: Numeric, params: &[&[u8]], rest: &[&[u8]]) {
        self.begin_line(b"");
        let start = self.bytes.len();
        self.bytes.extend_from_slice(b":");
        self.bytes.extend_from_slice(self.server.as_bytes());
        self.bytes.extend_from_slice(format!(" {:03} ", numeric.0).as_bytes());
        self.bytes.extend_from_slice(&self.target);
        for param in params {
            self.bytes.push(b' ');
            self.bytes.extend_from_slice(as_middle_param(param));
        }
        rest.iter().for_each(|part| self.bytes.extend_from_slice(part));
        end_line(&mut self.bytes, start);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::irc::numeric::{RPL_NAMREPLY, RPL_TOPIC, RPL_UMODEIS, RPL_WELCOME};

    fn text(replies: &mut Replies) -> String {
        String::from_utf8_lossy(replies.take().expect("collected lines").0.plain()).into_owned()
    }

    #[test]
    fn numerics_have_the_form_of_rfc1459() {
        let mut replies = Replies::new("s".into(), b"*", TagKinds::default());
        replies.numeric(RPL_WELCOME, &[], "Welcome");
        replies.retarget(b"ada");
        replies.no_such_nick(b"bob");
        replies.numeric_params(RPL_UMODEIS, &[b"+i"]);
        replies.server_line(&[b"PONG s :x"]);
        assert_eq!(
            text(&mut replies),
            ":s 001 * :Welcome\r\n:s 401 ada bob :No such nick/channel\r\n:s 221 ada +i\r\n:s PONG s :x\r\n"
        );
        assert!(replies.take().is_none());
    }

    #[test]
    fn each_line_has_a_time_tag_if_time_tags_are_on() {
        let mut replies =
            Replies::new("s".into(), b"ada", TagKinds { time: true, message: true, account: false });
        let line = OutputLine::new(&[b":bob PRIVMSG #a :x"]);
        replies.numeric(RPL_TOPIC, &[b"#a"], [b'x'; 600]);
        replies.push_copy(&line);
        replies.server_line(&[b"PONG s :x"]);
        let text = text(&mut replies);
        let (tags, lines): (Vec<_>, Vec<_>) =
            text.split_inclusive("\r\n").filter_map(|line| line.split_once(' ')).unzip();
        assert!(tags.iter().all(|tag| tag.starts_with("@time=") && tag.len() == 30), "{tags:?}");
        assert_eq!(lines[0].len(), MAX_LINE_BYTES);
        assert_eq!(lines[1..], [":bob PRIVMSG #a :x\r\n", ":s PONG s :x\r\n"]);
        assert_eq!(&line.plain()[..], b":bob PRIVMSG #a :x\r\n");
    }

    #[test]
    fn a_long_text_continues_on_further_lines() {
        let mut replies = Replies::new("s".into(), b"ada", TagKinds::default());
        for count in [0, 1, 250, 251, 700] {
            let full_text = "ä".repeat(count);
            replies.server_text(&[b"NOTICE ", b"#a :"], full_text.as_bytes());
            let text = text(&mut replies);
            assert!(text.split_inclusive("\r\n").all(|line| line.len() <= MAX_LINE_BYTES));
            let pieces: Vec<_> = text.lines().filter_map(|it| it.strip_prefix(":s NOTICE #a :")).collect();
            assert_eq!((pieces.concat(), pieces.len()), (full_text, (2 * count).div_ceil(496).max(1)));
        }
        // The loop ends even if the head fills the line.
        replies.server_text(&[&[b'x'; 600]], "äöü".as_bytes());
    }

    #[test]
    fn a_long_word_list_is_split_into_valid_lines_without_losing_a_word() {
        let mut replies = Replies::new("server".into(), b"ada", TagKinds::default());
        let words: Vec<Vec<u8>> = (0..200).map(|number| format!("nick{number}").into_bytes()).collect();
        replies.numeric_words(RPL_NAMREPLY, &[b"=", b"#a"], &words);
        replies.numeric(RPL_TOPIC, &[b"#a"], [b'x'; 600]);
        let text = text(&mut replies);
        assert!(text.split_inclusive("\r\n").all(|line| line.len() <= MAX_LINE_BYTES));
        assert!(text.lines().any(|line| line.len() > MAX_LINE_BYTES - 20));
        let listed: Vec<_> =
            text.lines().filter_map(|it| it.strip_prefix(":server 353 ada = #a :")).collect();
        assert_eq!(listed.join(" ").as_bytes(), words.join(&b' '));
    }
}
