//! The channel messages on disk: an embedded database in one file.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
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

impl HistoryStore {
    /// Opens `history.redb` in `directory`, or creates it. It keeps the newest
    /// `max_lines` lines. Opening repairs the database after a crash.
    pub(crate) fn open(directory: &Path, max_lines: u64) -> anyhow::Result<Self> {
        let path = directory.join("history.redb");
        let open = || -> anyhow::Result<Database> {
            let database = Builder::new().set_cache_size(CACHE_BYTES).create(&path)?;
            let transaction = database.begin_write()?;
            transaction.open_table(LINES)?;
            transaction.open_table(CHANNELS)?;
            transaction.commit()?;
            Ok(database)
        };
        let database = open().with_context(|| {
            format!("`{}` must be a history file that no other server has open", path.display())
        })?;
        Ok(Self { database, max_lines })
    }

    /// Stores all of `lines` or none. They are on disk when it returns.
    pub(crate) fn append(&self, lines: &[(NameKey, StoredMessage)]) -> Result<(), redb::Error> {
        let transaction = self.database.begin_write()?;
        {
            let (mut all_lines, mut channels) =
                (transaction.open_table(LINES)?, transaction.open_table(CHANNELS)?);
            let next_number = all_lines.last()?.map_or(0, |(number, _)| number.value() + 1);
            for (number, (channel, line)) in (next_number..).zip(lines) {
                let value = (unix_milliseconds(line.time), channel.as_bytes(), &*line.nick, &*line.text);
                all_lines.insert(number, value)?;
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
                let time = UNIX_EPOCH + Duration::from_millis(time);
                lines.push(StoredMessage { time, nick: nick.into(), text: text.into() });
            }
        }
        lines.reverse();
        Ok(lines)
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

    #[test]
    fn lines_come_back_in_order_by_channel_and_after_a_restart() {
        let directory = tempfile::tempdir().expect("a directory");
        let store = HistoryStore::open(directory.path(), MAX_STORED_LINES).expect("opened");
        store.append(&[entry("#A", "one"), entry("#b", "other"), entry("#a", "two")]).expect("written");
        drop(store);
        let store = HistoryStore::open(directory.path(), MAX_STORED_LINES).expect("opened again");
        store.append(&[entry("#a", "three")]).expect("written");
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
            store
                .append(&[entry("#a", &format!("a{round}")), entry("#b", &format!("b{round}"))])
                .expect("written");
        }
        assert_eq!(texts(&store, "#a", 10), ["a3"]);
        assert_eq!(texts(&store, "#b", 10), ["b2", "b3"]);
    }

    #[test]
    fn a_store_in_use_or_in_another_format_is_refused() {
        let directory = tempfile::tempdir().expect("a directory");
        let store = HistoryStore::open(directory.path(), MAX_STORED_LINES).expect("opened");
        let error = HistoryStore::open(directory.path(), MAX_STORED_LINES).expect_err("in use");
        assert!(format!("{error:#}").contains("history file that no other server has open"), "{error:#}");
        drop(store);
        std::fs::write(directory.path().join("history.redb"), b"something else").expect("written");
        HistoryStore::open(directory.path(), MAX_STORED_LINES).expect_err("not a store");
    }
}
