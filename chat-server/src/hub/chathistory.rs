//! CHATHISTORY (IRCv3 `draft/chathistory`): earlier messages for programs.
//!
//! The hub checks the request. The session reads the lines and sends them back
//! with [`Request::History`](super::request::Request::History). Only members
//! can read a channel. Private messages are not stored, because a nick alone
//! does not prove who somebody is.

use std::time::SystemTime;

use super::channel::Channel;
use super::messages::fitting_text;
use super::request::{ClientId, CommandOutcome};
use super::state::HubState;
use crate::irc::ctcp::MessageText;
use crate::irc::message::Message;
use crate::irc::names::NameKey;
use crate::irc::reply::Replies;
use crate::irc::tags::{self, MessageTags, push_tag, time_tag};
use crate::services::history_query::{HistoryPage, HistoryRead, LineQuery, Position, Selection, TargetQuery};
use crate::services::stored_message::StoredMessage;

/// Maximum lines, or targets, of an answer.
pub(super) const MAX_LINES: usize = 100;
/// The kinds of positions that clients can name, the best first.
pub(super) const POSITION_KINDS: &str = "msgid,timestamp";
/// The reference of the batch. All its lines are in one buffer, so one
/// reference is enough.
const BATCH: &[u8] = b"h";
const NAME: &str = "CHATHISTORY";
const UNAVAILABLE: &str = "Messages could not be retrieved";

/// Why a request fails: code, further parameters, text.
type Failure<'a> = (&'static str, Vec<&'a [u8]>, &'static str);

impl HubState {
    /// `CHATHISTORY subcommand [#channel] positions limit`
    pub(super) fn chathistory(
        &self,
        id: ClientId,
        message: &Message<'_>,
        replies: &mut Replies,
    ) -> CommandOutcome {
        let Some((subcommand, params)) = message.params().split_first() else {
            replies.need_more_params(NAME);
            return CommandOutcome::Done;
        };
        match self.parse_chathistory(id, subcommand, params) {
            Ok(read) => CommandOutcome::ReadHistory(read),
            Err((code, params, text)) => {
                replies.fail(NAME, code, &[&[*subcommand], &params[..]].concat(), text);
                CommandOutcome::Done
            }
        }
    }

    fn parse_chathistory<'a>(
        &self,
        id: ClientId,
        subcommand: &[u8],
        params: &[&'a [u8]],
    ) -> Result<HistoryRead, Failure<'a>> {
        let all = ["LATEST", "BEFORE", "AFTER", "AROUND", "BETWEEN", "TARGETS"];
        let subcommand = all.into_iter().find(|name| subcommand.eq_ignore_ascii_case(name.as_bytes()));
        let invalid = |text| ("INVALID_PARAMS", Vec::new(), text);
        let subcommand = subcommand.ok_or(invalid("Unknown command"))?;
        let count = if subcommand == "BETWEEN" { 4 } else { 3 };
        let [first, middle @ .., limit] = params else { return Err(invalid("Insufficient parameters")) };
        if params.len() != count {
            let text = if params.len() < count { "Insufficient parameters" } else { "Too many parameters" };
            return Err(invalid(text));
        }
        let max_lines = parse_limit(limit).ok_or(("INVALID_PARAMS", vec![*limit], "Invalid limit"))?;
        if subcommand == "TARGETS" {
            let time = |param: &'a [u8]| match parse_position(param)? {
                Position::Time(time) => Ok(time),
                Position::Id(_) => Err(("INVALID_PARAMS", vec![param], "TARGETS needs timestamps")),
            };
            let (from, to) = (time(first)?, time(middle[0])?);
            let names = self.clients.get(&id).map(|client| client.channels.iter());
            let channels = names.into_iter().flatten().filter_map(|name| self.channels.get(name));
            let channels = channels.map(Channel::in_history).collect();
            return Ok(HistoryRead::Targets(TargetQuery { channels, from, to, max_targets: max_lines }));
        }
        let channel = self.channels.get(&NameKey::new(first)).filter(|channel| channel.has_member(id));
        let Some(channel) = channel.map(Channel::in_history) else {
            return Err(("INVALID_TARGET", vec![*first], UNAVAILABLE));
        };
        let at = |index: usize| parse_position(middle[index]);
        let selection = match subcommand {
            "LATEST" if middle[0] == b"*" => Selection::Latest(None),
            "LATEST" => Selection::Latest(Some(at(0)?)),
            "BEFORE" => Selection::Before(at(0)?),
            "AFTER" => Selection::After(at(0)?),
            "AROUND" => Selection::Around(at(0)?),
            _ => Selection::Between(at(0)?, at(1)?),
        };
        Ok(HistoryRead::Lines(subcommand, LineQuery { channel, selection, max_lines }))
    }

    /// Sends the lines that the session has read. The lines are the same that
    /// the members received.
    pub(super) fn send_chathistory(
        &self,
        id: ClientId,
        subcommand: &str,
        channel: &NameKey,
        page: Option<HistoryPage>,
        replies: &mut Replies,
    ) {
        let context = [subcommand.as_bytes(), channel.as_bytes()];
        let Some(channel) = self.channels.get(channel).filter(|channel| channel.has_member(id)) else {
            // The client has left it in the meantime.
            return replies.fail(NAME, "INVALID_TARGET", &context, UNAVAILABLE);
        };
        let context = [subcommand.as_bytes(), &channel.name];
        let page = page.unwrap_or(HistoryPage { lines: None, waiting_count: 0, lost_count: 0 });
        for (count, why) in [(page.waiting_count, "not on disk yet"), (page.lost_count, "lost")] {
            if count > 0 {
                let text = format!(":Newer lines that are {why}: {count}");
                let head = [b"WARN CHATHISTORY MESSAGES_MISSING ", context[0], b" ", context[1], b" "];
                replies.server_line(&[&head[..], &[text.as_bytes()]].concat());
            }
        }
        let Some(lines) = page.lines else {
            return replies.fail(NAME, "MESSAGE_ERROR", &context, UNAVAILABLE);
        };
        self.send_batch(id, &[b"chathistory ", &channel.name], replies, |replies, batch| {
            let server = self.identity.name.as_bytes();
            for line in lines {
                send_line(server, &channel.name, line, batch, replies);
            }
        });
    }

    /// Sends the channels that the session has found.
    pub(super) fn send_chathistory_targets(
        &self,
        id: ClientId,
        targets: Option<Vec<(NameKey, SystemTime)>>,
        replies: &mut Replies,
    ) {
        let Some(targets) = targets else {
            return replies.fail(NAME, "MESSAGE_ERROR", &[b"TARGETS", b"*"], UNAVAILABLE);
        };
        self.send_batch(id, &[b"draft/chathistory-targets"], replies, |replies, batch| {
            for (channel, time) in targets {
                let name = self.channels.get(&channel).map_or(channel.as_bytes(), |channel| &channel.name);
                let time = humantime::format_rfc3339_millis(time).to_string();
                let line = [b":", self.identity.name.as_bytes(), b" CHATHISTORY TARGETS ", name, b" "];
                replies.tagged_line(batch, &[&line[..], &[time.as_bytes()]].concat());
            }
        });
    }

    /// Sends lines as a batch. `send` gets the tag of its lines. A client
    /// without `batch` gets only the lines.
    fn send_batch(
        &self,
        id: ClientId,
        kind: &[&[u8]],
        replies: &mut Replies,
        send: impl FnOnce(&mut Replies, &[u8]),
    ) {
        if !self.clients.get(&id).is_some_and(|client| client.capabilities.batch) {
            return send(replies, b"");
        }
        replies.server_line(&[&[b"BATCH +", BATCH, b" "], kind].concat());
        send(replies, &[b"batch=", BATCH].concat());
        replies.server_line(&[b"BATCH -", BATCH]);
    }
}

/// Sends one line of the answer with its tags.
fn send_line(server: &[u8], channel: &[u8], line: StoredMessage, batch: &[u8], replies: &mut Replies) {
    let mut tags = batch.to_vec();
    if line.is_gap() {
        if replies.kinds().time {
            push_tag(&mut tags, &time_tag(line.time));
        }
        return replies.tagged_line(&tags, &[b":", server, b" NOTICE ", channel, b" :", &line.text]);
    }
    if MessageText::parse(&line.text) == MessageText::Request {
        // The server no longer stores CTCP requests. An older store may hold
        // some, and a client could reply to them.
        return;
    }
    let own_tags = MessageTags { time: line.time, id: line.id, client_only: line.tags };
    let own_tags = tags::encode(replies.kinds(), None, Some(&own_tags));
    if !own_tags.is_empty() {
        push_tag(&mut tags, &own_tags);
    }
    let (text, end) = fitting_text(&line.sender, b"PRIVMSG", channel, &line.text);
    replies.tagged_line(&tags, &[b":", &line.sender, b" PRIVMSG ", channel, b" :", text, end]);
}

fn parse_limit(text: &[u8]) -> Option<usize> {
    let digits = std::str::from_utf8(text).ok().filter(|it| it.bytes().all(|byte| byte.is_ascii_digit()))?;
    // A number too large for usize exceeds the maximum of an answer anyway.
    let limit = if digits.is_empty() { 0 } else { digits.parse().unwrap_or(MAX_LINES) };
    (limit > 0).then_some(limit.min(MAX_LINES))
}

/// Reads `timestamp=…` or `msgid=…`.
fn parse_position(param: &[u8]) -> Result<Position, Failure<'_>> {
    let invalid = |text| ("INVALID_PARAMS", vec![param], text);
    let text = std::str::from_utf8(param).map_err(|_| invalid("Invalid position"))?;
    match text.split_once('=') {
        Some(("timestamp", time)) => {
            humantime::parse_rfc3339(time).map(Position::Time).map_err(|_| invalid("Invalid timestamp"))
        }
        Some(("msgid", id)) => {
            id.parse().map(Position::Id).map_err(|_| invalid("This server has no such message id"))
        }
        Some(_) => Err(("INVALID_MSGREFTYPE", vec![param], "Only msgid and timestamp are supported")),
        None => Err(invalid("Invalid position")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_a_number_from_one_and_at_most_the_maximum() {
        for (text, expected) in [
            ("1", Some(1)),
            ("100", Some(100)),
            ("101", Some(100)),
            ("99999999999999999999999", Some(100)),
            ("0", None),
            ("-1", None),
            ("+1", None),
            ("", None),
            ("x", None),
        ] {
            assert_eq!(parse_limit(text.as_bytes()), expected, "{text:?}");
        }
    }

    #[test]
    fn a_position_is_a_time_or_an_id() {
        let id = |text: &str| parse_position(text.as_bytes()).map_err(|(code, ..)| code);
        assert_eq!(id("msgid=17"), Ok(Position::Id(17)));
        assert!(matches!(id("timestamp=2026-11-27T08:00:00.123Z"), Ok(Position::Time(_))));
        for text in ["msgid=", "msgid=x", "timestamp=", "timestamp=now", "*", "", "timestamp"] {
            assert_eq!(id(text), Err("INVALID_PARAMS"), "{text}");
        }
        assert_eq!(id("account=ada"), Err("INVALID_MSGREFTYPE"));
    }
}
