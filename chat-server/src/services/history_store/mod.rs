//! The channel messages on disk: an embedded database in one file.

use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use redb::{
    Builder, Database, ReadOnlyTable, ReadTransaction, ReadableDatabase as _, ReadableTable as _,
    ReadableTableMetadata as _, TableDefinition, TableError,
};

use crate::irc::names::NameKey;
use crate::services::history_query::{HistoryChannel, LineQuery, Span, TargetQuery};
use crate::services::stored_message::StoredMessage;

type Row<'a> = (u64, &'a [u8], &'a [u8], &'a [u8]);

/// Lines by id: time (milliseconds of Unix time), channel, sender, text. The
/// ids only grow. Older versions numbered the lines from 0 and stored only the
/// sender's nick.
pub(super) const LINES: TableDefinition<'_, u64, Row<'_>> = TableDefinition::new("lines");
/// The ids of each channel's lines, except those in [`PRIVATE`].
const CHANNELS: TableDefinition<'_, (&[u8], u64), ()> = TableDefinition::new("channels");
/// The ids of those lines that were said while their channel was private. An
/// older version does not find these lines, and its own are all public.
const PRIVATE: TableDefinition<'_, (&[u8], u64), ()> = TableDefinition::new("private");
/// The client-only tags of those lines that have some, by id.
const TAGS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("tags");
/// Maximum bytes of a line's tags. Longer ones are not stored, as the tags of a
/// line could be ten times as long as its text.
pub(crate) const MAX_STORED_TAG_BYTES: usize = 512;
/// Maximum stored lines of all channels together. The oldest are removed. Lines
/// of maximum length take about 60 MB, and their tags as much.
pub(crate) const MAX_STORED_LINES: u64 = 100_000;
/// Size of the page cache. The database's default is 1 GB.
const CACHE_BYTES: usize = 8 << 20;

/// The database. Every call waits for the disk, so call it off the event loop.
#[derive(Debug)]
pub(crate) struct HistoryStore {
    pub(super) database: Database,
    max_lines: u64,
}

impl HistoryStore {
    /// Opens `history.redb` in `directory`, or creates it. It keeps the newest
    /// `max_lines` lines. Opening repairs the database after a crash.
    pub(crate) fn open(directory: &Path, max_lines: u64) -> anyhow::Result<Self> {
        let path = directory.join("history.redb");
        let open = || -> Result<Database, redb::Error> {
            let database = Builder::new().set_cache_size(CACHE_BYTES).create(&path)?;
            // A file that has its tables can be opened on a full disk.
            if database.begin_read()?.open_table(CHANNELS).is_err() {
                let transaction = database.begin_write()?;
                transaction.open_table(LINES)?;
                transaction.open_table(CHANNELS)?;
                transaction.commit()?;
            }
            Ok(database)
        };
        let database = open().map_err(|error| {
            let needed = needed_to_open(&error);
            anyhow::Error::from(error).context(format!("`{}` {needed}", path.display()))
        })?;
        Ok(Self { database, max_lines })
    }

    /// Returns the highest id, or 0 if there is no line.
    pub(crate) fn newest_id(&self) -> Result<u64, redb::Error> {
        let all_lines = self.database.begin_read()?.open_table(LINES)?;
        Ok(all_lines.last()?.map_or(0, |(id, _)| id.value()))
    }

    /// Returns whether the store has this line.
    pub(crate) fn has_line(&self, (channel, line): &(NameKey, StoredMessage)) -> Result<bool, redb::Error> {
        let all_lines = self.database.begin_read()?.open_table(LINES)?;
        let stored = all_lines.get(line.id)?;
        Ok(stored.is_some_and(|stored| stored.value() == to_row(channel, line)))
    }

    /// Stores all of `lines` or none. They are on disk when it returns.
    pub(crate) fn append<'a>(
        &self,
        lines: impl IntoIterator<Item = &'a (NameKey, StoredMessage)>,
    ) -> Result<(), redb::Error> {
        let transaction = self.database.begin_write()?;
        {
            let mut all_lines = transaction.open_table(LINES)?;
            let mut channels = transaction.open_table(CHANNELS)?;
            let mut private = transaction.open_table(PRIVATE)?;
            let mut tags = transaction.open_table(TAGS)?;
            for (channel, line) in lines {
                all_lines.insert(line.id, to_row(channel, line))?;
                let index = if line.private_to.is_some() { &mut private } else { &mut channels };
                index.insert((channel.as_bytes(), line.id), ())?;
                if !line.tags.is_empty() && line.tags.len() <= MAX_STORED_TAG_BYTES {
                    tags.insert(line.id, &*line.tags)?;
                }
            }
            while all_lines.len()? > self.max_lines {
                let Some((id, line)) = all_lines.pop_first()? else { break };
                for index in [&mut channels, &mut private] {
                    index.remove((line.value().1, id.value()))?;
                }
                tags.remove(id.value())?;
            }
        }
        // The default durability waits until the disk has the data.
        transaction.commit()?;
        Ok(())
    }

    /// Returns the selected lines, the oldest first.
    pub(crate) fn read(&self, query: &LineQuery) -> Result<Vec<StoredMessage>, redb::Error> {
        let tables = Tables::open(&self.database.begin_read()?)?;
        let spans = query.spans(|time| {
            let milliseconds = unix_milliseconds(time);
            Ok::<_, redb::Error>((
                tables.first_at(milliseconds)?,
                tables.first_at(milliseconds.saturating_add(1))?,
            ))
        })?;
        let mut lines = Vec::new();
        for span in spans {
            tables.read(&query.channel, span, &mut lines)?;
        }
        Ok(lines)
    }

    /// Returns the selected channels and the times of their newest lines, the
    /// oldest first.
    pub(crate) fn targets(&self, query: &TargetQuery) -> Result<Vec<(NameKey, SystemTime)>, redb::Error> {
        let tables = Tables::open(&self.database.begin_read()?)?;
        let (from, to) = (unix_milliseconds(query.from), unix_milliseconds(query.to));
        let is_selected = |time: u64| (from.min(to).saturating_add(1)..from.max(to)).contains(&time);
        let mut newest = Vec::new();
        for channel in &query.channels {
            let Some((id, _)) = tables.ids(channel, Span::NEWEST)?.pop() else { continue };
            let line = tables.lines.get(id)?;
            newest.extend(line.map(|line| (line.value().0, &channel.name)).filter(|it| is_selected(it.0)));
        }
        newest.sort();
        let surplus = newest.len().saturating_sub(query.max_targets);
        if from <= to {
            newest.truncate(query.max_targets);
        } else {
            newest.drain(..surplus);
        }
        Ok(newest.into_iter().map(|(time, name)| (name.clone(), from_milliseconds(time))).collect())
    }
}

/// The tables at one moment.
struct Tables {
    lines: ReadOnlyTable<u64, Row<'static>>,
    channels: Index,
    /// `None` in the file of an older version, and so is `tags`.
    private: Option<Index>,
    tags: Option<ReadOnlyTable<u64, &'static [u8]>>,
}

/// Line ids by channel.
type Index = ReadOnlyTable<(&'static [u8], u64), ()>;

impl Tables {
    fn open(transaction: &ReadTransaction) -> Result<Self, redb::Error> {
        let (lines, channels) = (transaction.open_table(LINES)?, transaction.open_table(CHANNELS)?);
        let private = if_exists(transaction.open_table(PRIVATE))?;
        let tags = if_exists(transaction.open_table(TAGS))?;
        Ok(Self { lines, channels, private, tags })
    }

    /// Returns the id of the first line that has this time or a later one, or
    /// the maximum if there is none.
    ///
    /// Times grow with the ids, except where the clock was set back. There the
    /// result is one of several possible.
    fn first_at(&self, milliseconds: u64) -> Result<u64, redb::Error> {
        let (mut first, mut low, mut high) = (u64::MAX, 0, u64::MAX);
        while low < high {
            let middle = low + (high - low) / 2;
            let line = self.lines.range(middle..high)?.next().transpose()?;
            match line.map(|(id, line)| (id.value(), line.value().0)) {
                Some((id, time)) if time < milliseconds => low = id + 1,
                found => {
                    first = found.map_or(first, |(id, _)| id);
                    high = middle;
                }
            }
        }
        Ok(first)
    }

    /// Returns the ids of a span that members of `channel` may read, the lowest
    /// first, and whether their lines are private.
    fn ids(&self, channel: &HistoryChannel, span: Span) -> Result<Vec<(u64, bool)>, redb::Error> {
        let mut ids = Vec::new();
        // Private lines with lower ids are those of an earlier channel.
        let private = self.private.as_ref().map(|private| (private, span.start.max(channel.id), true));
        for (index, start, is_private) in [(&self.channels, span.start, false)].into_iter().chain(private) {
            if start >= span.end {
                continue;
            }
            let name = channel.name.as_bytes();
            let mut entries = index.range((name, start)..(name, span.end))?;
            for _ in 0..span.max_lines {
                let entry = if span.is_from_end { entries.next_back() } else { entries.next() };
                let Some(entry) = entry else { break };
                ids.push((entry?.0.value().1, is_private));
            }
        }
        ids.sort_unstable();
        if span.is_from_end {
            ids.drain(..ids.len().saturating_sub(span.max_lines));
        } else {
            ids.truncate(span.max_lines);
        }
        Ok(ids)
    }

    /// Appends the lines of a span, the oldest first.
    fn read(
        &self,
        channel: &HistoryChannel,
        span: Span,
        lines: &mut Vec<StoredMessage>,
    ) -> Result<(), redb::Error> {
        for (id, is_private) in self.ids(channel, span)? {
            let Some(line) = self.lines.get(id)? else { continue };
            let (time, _, sender, text) = line.value();
            let tags = self.tags.as_ref().map(|tags| tags.get(id)).transpose()?.flatten();
            lines.push(StoredMessage {
                id,
                time: from_milliseconds(time),
                sender: sender.into(),
                text: text.into(),
                tags: tags.map_or(Box::default(), |tags| tags.value().into()),
                private_to: is_private.then_some(channel.id),
            });
        }
        Ok(())
    }
}

/// Returns `None` for a table that the file of an older version does not have.
fn if_exists<T>(table: Result<T, TableError>) -> Result<Option<T>, TableError> {
    match table {
        Err(TableError::TableDoesNotExist(_)) => Ok(None),
        table => table.map(Some),
    }
}

fn to_row<'a>(channel: &'a NameKey, line: &'a StoredMessage) -> Row<'a> {
    (unix_milliseconds(line.time), channel.as_bytes(), &line.sender, &line.text)
}

/// Returns what the file or its disk needs so that it can be opened.
fn needed_to_open(error: &redb::Error) -> &'static str {
    match error {
        redb::Error::DatabaseAlreadyOpen => "must not be open in another server, choose another --data-dir",
        redb::Error::Io(error) if error.kind() != io::ErrorKind::InvalidData => {
            "must be readable and writable, on a disk with free space"
        }
        _ => "must be a history file of this server",
    }
}

/// Returns the time of a line. The file may hold any number.
fn from_milliseconds(milliseconds: u64) -> SystemTime {
    UNIX_EPOCH.checked_add(Duration::from_millis(milliseconds)).unwrap_or(UNIX_EPOCH)
}

fn unix_milliseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
