//! What a client can ask of the history, and the parts of the store that hold
//! the answer.

use std::time::SystemTime;

use crate::irc::names::NameKey;
use crate::services::stored_message::StoredMessage;

/// What a session must read.
#[derive(Debug, Clone)]
pub(crate) enum HistoryRead {
    /// For HISTORY.
    Notices(LineQuery),
    /// For a subcommand of CHATHISTORY, named in the answer.
    Lines(&'static str, LineQuery),
    /// For CHATHISTORY TARGETS.
    Targets(TargetQuery),
}

/// A channel that exists, whose history a member reads.
#[derive(Debug, Clone)]
pub(crate) struct HistoryChannel {
    pub(crate) name: NameKey,
    /// The id of the channel. The ids of its lines are higher, and those of
    /// earlier channels of the same name are lower.
    pub(crate) id: u64,
}

impl HistoryChannel {
    /// Returns whether its members may read a line said under its name.
    pub(super) fn may_read(&self, line: &StoredMessage) -> bool {
        line.private_to.is_none_or(|id| id == self.id)
    }
}

/// Asks for lines of a channel.
#[derive(Debug, Clone)]
pub(crate) struct LineQuery {
    pub(crate) channel: HistoryChannel,
    pub(crate) selection: Selection,
    pub(crate) max_lines: usize,
}

/// Asks which channels have their newest line between two times, which are both
/// excluded.
#[derive(Debug, Clone)]
pub(crate) struct TargetQuery {
    pub(crate) channels: Vec<HistoryChannel>,
    pub(crate) from: SystemTime,
    pub(crate) to: SystemTime,
    /// Counted from `from`.
    pub(crate) max_targets: usize,
}

/// Which lines. None of them includes its positions, except that a line at the
/// position of `Around` is in the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Selection {
    /// The newest lines, only those after a position if there is one.
    Latest(Option<Position>),
    /// The last lines before it.
    Before(Position),
    /// The first lines after it.
    After(Position),
    /// As many lines before it as after it.
    Around(Position),
    /// Lines between two positions, counted from the first, which may be the
    /// newer one.
    Between(Position, Position),
}

/// A place among the lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Position {
    /// The time of a line.
    Time(SystemTime),
    /// The id of a line. There need be no such line any more.
    Id(u64),
}

/// The lines with ids from `start` up to, not including, `end`: the first or
/// the last `max_lines` of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) max_lines: usize,
    pub(super) is_from_end: bool,
}

impl Span {
    /// The newest line.
    pub(super) const NEWEST: Self = Self { start: 0, end: u64::MAX, max_lines: 1, is_from_end: true };
}

/// The answer to a [`HistoryRead`]. `None` instead of lines or targets means
/// that the store cannot be read now.
#[derive(Debug)]
pub(crate) enum HistoryAnswer {
    Notices { channel: NameKey, page: Option<HistoryPage> },
    Lines { subcommand: &'static str, channel: NameKey, page: Option<HistoryPage> },
    Targets(Option<Vec<(NameKey, SystemTime)>>),
}

/// Lines of a channel, and what is missing.
#[derive(Debug)]
pub(crate) struct HistoryPage {
    /// The lines, the oldest first. `None` if the disk cannot be read.
    pub(crate) lines: Option<Vec<StoredMessage>>,
    /// How many newer messages that the channel may read wait for the disk.
    pub(crate) waiting_count: u64,
    /// How many of them are lost.
    pub(crate) lost_count: u64,
}

impl LineQuery {
    /// Returns the spans of ids that hold the answer, in their order.
    /// `first_at` returns the id of the first line at a time or later, and the
    /// id of the first line that is later.
    pub(super) fn spans<E>(
        &self,
        first_at: impl Fn(SystemTime) -> Result<(u64, u64), E>,
    ) -> Result<Vec<Span>, E> {
        // The ids of the first line that is not before, and of the first that
        // is after.
        let limits = |position| match position {
            Position::Id(id) => Ok((id, id.saturating_add(1))),
            Position::Time(time) => first_at(time),
        };
        let max_lines = self.max_lines;
        let span = |start, end, max_lines, is_from_end| Span { start, end, max_lines, is_from_end };
        Ok(match self.selection {
            Selection::Latest(None) => vec![span(0, u64::MAX, max_lines, true)],
            Selection::Latest(Some(after)) => vec![span(limits(after)?.1, u64::MAX, max_lines, true)],
            Selection::Before(position) => vec![span(0, limits(position)?.0, max_lines, true)],
            Selection::After(position) => vec![span(limits(position)?.1, u64::MAX, max_lines, false)],
            Selection::Around(position) => {
                let (middle, before) = (limits(position)?.0, max_lines / 2);
                vec![span(0, middle, before, true), span(middle, u64::MAX, max_lines - before, false)]
            }
            Selection::Between(from, to) => {
                let (from, to) = (limits(from)?, limits(to)?);
                if from.0 <= to.0 {
                    vec![span(from.1, to.0, max_lines, false)]
                } else {
                    vec![span(to.1, from.0, max_lines, true)]
                }
            }
        })
    }
}
