//! HISTORY: sends members of a channel its earlier messages.
//!
//! The hub only checks the request. The session reads the lines and sends them
//! back with [`Request::History`](super::request::Request::History).

use std::time::SystemTime;

use super::request::{ClientId, CommandOutcome};
use super::state::HubState;
use crate::irc::ctcp::MessageText;
use crate::irc::message::Message;
use crate::irc::names::NameKey;
use crate::irc::reply::Replies;
use crate::services::history_query::{HistoryPage, HistoryRead, LineQuery, Selection};

/// Maximum lines of an answer.
const MAX_LINES: usize = 100;
/// Lines of an answer to a request without a number.
const DEFAULT_LINES: usize = 20;

impl HubState {
    /// `HISTORY #channel [lines]`
    pub(super) fn history(
        &self,
        id: ClientId,
        message: &Message<'_>,
        replies: &mut Replies,
    ) -> CommandOutcome {
        let Some(target) = message.param(0) else {
            replies.need_more_params("HISTORY");
            return CommandOutcome::Done;
        };
        let Some(channel) = self.joined_channel(id, target, replies) else { return CommandOutcome::Done };
        let Some(max_lines) = message.param(1).map_or(Some(DEFAULT_LINES), number) else {
            // IRC has no numeric for this error. A NOTICE is sent instead of
            // the lines.
            let text = b"The number of lines must be 1 or more";
            replies.server_text(&[b"NOTICE ", &channel.name, b" :"], text);
            return CommandOutcome::Done;
        };
        CommandOutcome::ReadHistory(HistoryRead::Notices(LineQuery {
            channel: channel.in_history(),
            selection: Selection::Latest(None),
            max_lines: max_lines.min(MAX_LINES),
        }))
    }

    /// Sends the lines that the session has read. With `server-time`, each has
    /// the time at which it was said.
    pub(super) fn send_history(&self, channel: &NameKey, page: Option<HistoryPage>, replies: &mut Replies) {
        let name = self.channels.get(channel).map_or(channel.as_bytes(), |channel| &channel.name);
        let has_time_tags = replies.has_time_tags();
        let mut notice = |time: SystemTime, head: &[&[u8]], text: &[u8]| {
            if has_time_tags {
                replies.set_time(time);
            }
            replies.server_text(&[&[&b"NOTICE "[..], name, b" :"], head].concat(), text);
        };
        let now = SystemTime::now();
        let unavailable = b"The history is not available now, try again later";
        let Some(HistoryPage { lines, waiting_count, lost_count }) = page else {
            return notice(now, &[], unavailable);
        };
        let mut shown = 0;
        for line in lines.iter().flatten() {
            let (before, after, text): (&[u8], &[u8], _) = match MessageText::parse(&line.text) {
                MessageText::Words(text) if line.is_gap() => (b"", b"", text),
                MessageText::Words(text) => (b"<", b"> ", text),
                MessageText::Action(text) => (b"* ", b" ", text),
                // The server no longer stores CTCP requests. An older store may
                // hold some.
                MessageText::Request => continue,
            };
            let time = humantime::format_rfc3339_millis(line.time).to_string();
            notice(line.time, &[b"[", time.as_bytes(), b"] ", before, line.nick(), after], text);
            shown += usize::from(!line.is_gap());
        }
        for (count, why) in [(waiting_count, "not on disk yet, try again later"), (lost_count, "lost")] {
            if count > 0 {
                notice(now, &[], format!("Newer lines that are {why}: {count}").as_bytes());
            }
        }
        match lines {
            Some(_) => notice(now, &[], format!("End of history, lines: {shown}").as_bytes()),
            None => notice(now, &[], unavailable),
        }
    }
}

fn number(text: &[u8]) -> Option<usize> {
    let digits = std::str::from_utf8(text).ok().filter(|it| it.bytes().all(|byte| byte.is_ascii_digit()))?;
    // A number too large for usize exceeds the maximum of an answer anyway.
    Some(digits.parse().unwrap_or(usize::MAX)).filter(|&lines| lines > 0)
}
