//! The channel messages on disk: an embedded database in one file.

use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use redb::{
    Builder, Database, ReadableDatabase as _, ReadableTable as _, ReadableTableMetadata as _, TableDefinition,
};

use crate::irc::names::NameKey;

type Row<'a> = (u64, &'a [u8], &'a [u8], &'a [u8]);

/// Lines by number: time (milliseconds of Unix time), channel, nick, text. The
/// numbers only grow.
const LINES: TableDefinition<'_, u64, Row<'_>> = TableDefinition::new("lines");
/// The line numbers of each channel.
const CHANNELS: TableDefinition<'_, (&[u8], u64), ()> = TableDefinition::new("channels");
/// Maximum stored lines of all channels together. The oldest are removed. Lines
/// of maximum length take about 60 MB.
pub(crate) const MAX_STORED_LINES: u64 = 100_000;
/// Size of the page cache. The database's default is 1 GB.
const CACHE_BYTES: usize = 8 << 20;

/// A stored channel message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StoredMessage {
    pub(crate) time: SystemTime,
    pub(crate) nick: Box<[u8]>,
    pub(crate) text: Box<[u8]>,
}

/// The database. Every call waits for the disk, so call it off the event loop.
#[derive(Debug)]
pub(crate) struct HistoryStore {
    database: Database,
    max_lines: u64,
}

impl StoredMessage {
    /// Returns the line that stands in the place of `count` lost messages. It
    /// has no nick.
    pub(crate) fn gap(time: SystemTime, count: u64) -> Self {
        Self { time, nick: Box::default(), text: format!("lost lines: {count}").into_bytes().into() }
    }

    /// Returns whether the line stands for lost messages.
    pub(crate) fn is_gap(&self) -> bool {
        self.nick.is_empty()
    }
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

    /// Returns the number of the next line.
    pub(crate) fn next_number(&self) -> Result<u64, redb::Error> {
        let all_lines = self.database.begin_read()?.open_table(LINES)?;
        Ok(all_lines.last()?.map_or(0, |(number, _)| number.value() + 1))
    }

    /// Returns whether the line with this number is the given one.
    pub(crate) fn has_line(
        &self,
        number: u64,
        (channel, line): &(NameKey, StoredMessage),
    ) -> Result<bool, redb::Error> {
        let all_lines = self.database.begin_read()?.open_table(LINES)?;
        let stored = all_lines.get(number)?;
        Ok(stored.is_some_and(|stored| stored.value() == to_row(channel, line)))
    }

    /// Stores all of `lines` or none, with numbers from `first_number`. They
    /// are on disk when it returns.
    pub(crate) fn append<'a>(
        &self,
        first_number: u64,
        lines: impl IntoIterator<Item = &'a (NameKey, StoredMessage)>,
    ) -> Result<(), redb::Error> {
        let transaction = self.database.begin_write()?;
        {
            let (mut all_lines, mut channels) =
                (transaction.open_table(LINES)?, transaction.open_table(CHANNELS)?);
            for (number, (channel, line)) in (first_number..).zip(lines) {
                all_lines.insert(number, to_row(channel, line))?;
                channels.insert((channel.as_bytes(), number), ())?;
            }
            while all_lines.len()? > self.max_lines {
                let Some((number, line)) = all_lines.pop_first()? else { break };
                channels.remove((line.value().1, number.value()))?;
            }
        }
        // The default durability waits until the disk has the data.
        transaction.commit()?;
        Ok(())
    }

    /// Returns the newest `max_lines` lines of `channel`, the oldest first.
    pub(crate) fn latest(
        &self,
        channel: &NameKey,
        max_lines: usize,
    ) -> Result<Vec<StoredMessage>, redb::Error> {
        let transaction = self.database.begin_read()?;
        let (all_lines, channels) = (transaction.open_table(LINES)?, transaction.open_table(CHANNELS)?);
        let name = channel.as_bytes();
        let mut lines = Vec::new();
        for entry in channels.range((name, 0)..=(name, u64::MAX))?.rev().take(max_lines) {
            let number = entry?.0.value().1;
            if let Some(line) = all_lines.get(number)? {
                let (time, _, nick, text) = line.value();
                // The file may hold any number.
                let time = UNIX_EPOCH.checked_add(Duration::from_millis(time)).unwrap_or(UNIX_EPOCH);
                lines.push(StoredMessage { time, nick: nick.into(), text: text.into() });
            }
        }
        lines.reverse();
        Ok(lines)
    }
}

fn to_row<'a>(channel: &'a NameKey, line: &'a StoredMessage) -> Row<'a> {
    (unix_milliseconds(line.time), channel.as_bytes(), &line.nick, &line.text)
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

fn unix_milliseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(channel: &str, text: &str) -> (NameKey, StoredMessage) {
        let time = UNIX_EPOCH + Duration::from_millis(1_700_000_000_123);
        (
            NameKey::new(channel.as_bytes()),
            StoredMessage { time, nick: b"ada"[..].into(), text: text.as_bytes().into() },
        )
    }

    fn texts(store: &HistoryStore, channel: &str, max_lines: usize) -> Vec<String> {
        let lines = store.latest(&NameKey::new(channel.as_bytes()), max_lines).expect("read");
        lines.into_iter().map(|line| String::from_utf8_lossy(&line.text).into_owned()).collect()
    }

    fn append(store: &HistoryStore, lines: &[(NameKey, StoredMessage)]) {
        store.append(store.next_number().expect("read"), lines).expect("written");
    }

    #[test]
    fn lines_come_back_in_order_by_channel_and_after_a_restart() {
        let directory = tempfile::tempdir().expect("a directory");
        let store = HistoryStore::open(directory.path(), MAX_STORED_LINES).expect("opened");
        append(&store, &[entry("#A", "one"), entry("#b", "other"), entry("#a", "two")]);
        drop(store);
        let store = HistoryStore::open(directory.path(), MAX_STORED_LINES).expect("opened again");
        append(&store, &[entry("#a", "three")]);
        assert_eq!(texts(&store, "#a", 10), ["one", "two", "three"]);
        assert_eq!(texts(&store, "#a", 2), ["two", "three"]);
        assert_eq!(texts(&store, "#b", 10), ["other"]);
        assert!(texts(&store, "#", 10).is_empty());
        assert_eq!(store.latest(&NameKey::new(b"#b"), 1).expect("read"), [entry("#b", "other").1]);
    }

    #[test]
    fn only_the_newest_lines_are_kept() {
        let directory = tempfile::tempdir().expect("a directory");
        let store = HistoryStore::open(directory.path(), 3).expect("opened");
        for round in 0..4 {
            append(&store, &[entry("#a", &format!("a{round}")), entry("#b", &format!("b{round}"))]);
        }
        assert_eq!(texts(&store, "#a", 10), ["a3"]);
        assert_eq!(texts(&store, "#b", 10), ["b2", "b3"]);
    }

    #[test]
    fn a_store_in_use_or_in_another_format_is_refused() {
        let directory = tempfile::tempdir().expect("a directory");
        let store = HistoryStore::open(directory.path(), MAX_STORED_LINES).expect("opened");
        let error = HistoryStore::open(directory.path(), MAX_STORED_LINES).expect_err("in use");
        assert!(format!("{error:#}").contains("must not be open in another server"), "{error:#}");
        drop(store);
        std::fs::write(directory.path().join("history.redb"), b"something else").expect("written");
        let error = HistoryStore::open(directory.path(), MAX_STORED_LINES).expect_err("not a store");
        assert!(format!("{error:#}").contains("must be a history file of this server"), "{error:#}");
    }
}
