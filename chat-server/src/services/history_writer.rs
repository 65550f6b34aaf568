//! The task that writes channel messages to the store. It keeps what the disk
//! does not accept and tries again.
//!
//! After an I/O error the database refuses all further work, so the writer
//! closes it and opens it again. The same holds for a panic of the database.
//! Messages wait in memory in the meantime, up to
//! a limit. Messages beyond the limit are lost: the writer counts them for each
//! channel and stores a gap in their place.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::{self, Instant};

use crate::irc::names::NameKey;
use crate::metrics::Metrics;
use crate::services::history_gaps::{Gap, Gaps, LostLines};
use crate::services::history_query::HistoryChannel;
use crate::services::history_store::{HistoryStore, MAX_STORED_LINES};
use crate::services::stored_message::StoredMessage;

/// Maximum queued requests, and maximum requests of one batch.
pub(super) const MAX_QUEUED_REQUESTS: usize = 8192;
/// Maximum messages that wait for the disk after a failed commit. The longest
/// ones take about 10 MB.
const MAX_WAITING_LINES: usize = 8192;
/// Time in which messages are collected for one commit.
pub(super) const BATCH_INTERVAL: Duration = Duration::from_secs(1);
/// Time from a failed commit to the next attempt. It doubles with each failure.
const MIN_RETRY_INTERVAL: Duration = Duration::from_secs(1);
/// An attempt reads the whole file again, so attempts get rare.
const MAX_RETRY_INTERVAL: Duration = Duration::from_secs(16);

/// A request to the writing task.
#[derive(Debug)]
pub(super) enum HistoryRequest {
    Append(NameKey, StoredMessage),
    /// Reply when the disk has accepted or refused all earlier messages.
    Flush {
        channel: Option<HistoryChannel>,
        reply: oneshot::Sender<Flushed>,
    },
    /// This store could not be read: open it again.
    Reopen(Arc<HistoryStore>),
}

/// The reply to a flush.
#[derive(Debug)]
pub(super) struct Flushed {
    /// The store, to be read by the caller. `None` if it is not open.
    pub(super) store: Option<Arc<HistoryStore>>,
    /// How many messages that the channel may read wait for the disk.
    pub(super) waiting_count: u64,
    /// How many of them are lost after those on disk.
    pub(super) lost_count: u64,
}

/// The store and the messages that wait for it.
#[derive(Debug)]
pub(super) struct HistoryWriter {
    directory: PathBuf,
    /// `None` after an I/O error, until the store is open again. Reads hold it
    /// for a moment too, and it cannot be opened again as long as they do.
    store: Option<Arc<HistoryStore>>,
    waiting: Vec<(NameKey, StoredMessage)>,
    /// The commit that failed last. It may be on disk all the same, as the
    /// error or the panic may have come after the write.
    doubtful: Option<Commit>,
    lost_lines: Arc<LostLines>,
    metrics: Metrics,
    /// When to try again after a failure.
    retry_at: Option<Instant>,
    retry_interval: Duration,
}

/// What one commit stores.
#[derive(Debug)]
struct Commit {
    /// How many of the waiting messages it stores.
    line_count: usize,
    gaps: Gaps,
}

impl HistoryWriter {
    pub(super) fn new(
        directory: PathBuf,
        store: Option<HistoryStore>,
        lost_lines: Arc<LostLines>,
        metrics: Metrics,
    ) -> Self {
        Self {
            directory,
            store: store.map(Arc::new),
            waiting: Vec::new(),
            doubtful: None,
            lost_lines,
            metrics,
            retry_at: None,
            retry_interval: MIN_RETRY_INTERVAL,
        }
    }

    /// Handles requests until all senders are dropped. Each batch is handled on
    /// a thread for blocking work.
    pub(super) async fn run(mut self, mut requests: mpsc::Receiver<HistoryRequest>) {
        let mut batch = Vec::new();
        loop {
            let collected = collect_batch(&mut requests, &mut batch);
            let has_more = match self.retry_at {
                Some(at) => time::timeout_at(at, collected).await.unwrap_or(true),
                None => collected.await,
            };
            if !has_more {
                // The last attempt does not wait for its time.
                self.retry_at = None;
            }
            self = self.handle_off_loop(std::mem::take(&mut batch)).await;
            if !has_more {
                if !self.waiting.is_empty() {
                    tracing::error!("lost {} lines of the history at the end", self.waiting.len());
                }
                return;
            }
        }
    }

    async fn handle_off_loop(mut self, batch: Vec<HistoryRequest>) -> Self {
        let (directory, lost_lines, metrics) =
            (self.directory.clone(), self.lost_lines.clone(), self.metrics.clone());
        let appends = batch.iter().filter(|request| matches!(request, HistoryRequest::Append(..))).count();
        let line_count = self.waiting.len() + appends;
        let handle = move || {
            self.handle(batch);
            self
        };
        match loopscope::spawn_blocking("history-commit", handle).await {
            Ok(writer) => writer,
            // The runtime is shutting down.
            Err(error) => {
                metrics.count_history_dropped(line_count as u64);
                tracing::error!("lost {line_count} lines of the history: {error}");
                Self::new(directory, None, lost_lines, metrics)
            }
        }
    }

    /// Commits all messages of the batch and then replies to the flushes.
    fn handle(&mut self, batch: Vec<HistoryRequest>) {
        let mut flushes = Vec::new();
        for request in batch {
            match request {
                HistoryRequest::Append(channel, line) => {
                    if self.waiting.len() >= MAX_WAITING_LINES {
                        // The disk may be back.
                        self.commit_if_due();
                    }
                    if self.waiting.len() < MAX_WAITING_LINES {
                        self.waiting.push((channel, line));
                    } else {
                        self.metrics.count_history_dropped(1);
                        self.lost_lines.add(channel, &line);
                    }
                }
                HistoryRequest::Flush { channel, reply } => flushes.push((channel, reply)),
                HistoryRequest::Reopen(store) => {
                    if self.store.as_ref().is_some_and(|own| Arc::ptr_eq(own, &store)) {
                        self.close();
                        // The next attempt opens it again.
                        self.retry_at.get_or_insert_with(|| Instant::now() + MIN_RETRY_INTERVAL);
                    }
                    drop_quietly(store);
                }
            }
        }
        self.commit_if_due();
        for (channel, reply) in flushes {
            // The session that asked may have ended.
            let _ = reply.send(self.flushed(channel.as_ref()));
        }
    }

    fn commit_if_due(&mut self) {
        if self.retry_at.is_some_and(|at| at > Instant::now()) {
            return;
        }
        match catch_panic(|| self.commit()) {
            Ok(()) => self.end_failure(),
            Err(error) => self.begin_failure(&error),
        }
    }

    /// Opens the store if necessary and stores what waits.
    fn commit(&mut self) -> anyhow::Result<()> {
        let store = match self.store.take() {
            Some(store) => store,
            None => Arc::new(HistoryStore::open(&self.directory, MAX_STORED_LINES)?),
        };
        let store = self.store.insert(store);
        if let (Some(commit), Some(line)) = (&self.doubtful, self.waiting.first())
            && store.has_line(line)?
        {
            self.waiting.drain(..commit.line_count);
            self.lost_lines.remove(&commit.gaps);
        }
        // After an error above, the doubt stays.
        self.doubtful = None;
        let gaps = self.lost_lines.gaps();
        if self.waiting.is_empty() && gaps.is_empty() {
            return Ok(());
        }
        let gap_line = |private_to, gap: &Gap| StoredMessage {
            private_to,
            ..StoredMessage::gap(gap.id, gap.time, gap.count)
        };
        let gap_lines =
            gaps.iter().map(|((name, private_to), gap)| (name.clone(), gap_line(*private_to, gap)));
        let gap_lines: Vec<_> = gap_lines.collect();
        self.doubtful = Some(Commit { line_count: self.waiting.len(), gaps });
        store.append(self.waiting.iter().chain(&gap_lines))?;
        self.waiting.clear();
        if let Some(commit) = self.doubtful.take() {
            self.lost_lines.remove(&commit.gaps);
        }
        Ok(())
    }

    fn begin_failure(&mut self, error: &anyhow::Error) {
        let (wait, lines) = (self.retry_interval, self.waiting.len());
        tracing::error!("cannot write the history, {lines} lines wait, next attempt in {wait:?}: {error:#}");
        self.retry_at = Some(Instant::now() + wait);
        self.retry_interval = (wait * 2).min(MAX_RETRY_INTERVAL);
        // The old database must be closed first, as its file is locked.
        self.close();
        // Without the new lines, the store may still be readable.
        let store = catch_panic(|| HistoryStore::open(&self.directory, MAX_STORED_LINES));
        self.store = store.ok().map(Arc::new);
    }

    fn close(&mut self) {
        drop_quietly(self.store.take());
    }

    fn end_failure(&mut self) {
        if self.retry_at.take().is_some() {
            tracing::info!("the history is written again");
        }
        self.retry_interval = MIN_RETRY_INTERVAL;
    }

    fn flushed(&self, channel: Option<&HistoryChannel>) -> Flushed {
        let is_waiting = |(name, line): &&(NameKey, StoredMessage)| {
            channel.is_some_and(|channel| channel.name == *name && channel.may_read(line))
        };
        Flushed {
            store: self.store.clone(),
            waiting_count: self.waiting.iter().filter(is_waiting).count() as u64,
            lost_count: channel.map_or(0, |channel| self.lost_lines.count_of(channel)),
        }
    }
}

/// Runs work with the database. It may panic if another program has changed its
/// file.
pub(super) fn catch_panic<R>(work: impl FnOnce() -> anyhow::Result<R>) -> anyhow::Result<R> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| anyhow::bail!("the database panicked"))
}

/// Drops a store that has failed before. What it says at its end is no news.
pub(super) fn drop_quietly<T>(store: T) {
    let _ = catch_panic(|| {
        drop(store);
        Ok(())
    });
}

/// Fills `batch` with the requests that arrive within [`BATCH_INTERVAL`] of the
/// first one. Ends early when a flush arrives. Returns `false` when all senders
/// are dropped and no request is left.
async fn collect_batch(
    requests: &mut mpsc::Receiver<HistoryRequest>,
    batch: &mut Vec<HistoryRequest>,
) -> bool {
    let first_count = requests.recv_many(batch, MAX_QUEUED_REQUESTS).await;
    let mut checked_count = 0;
    let more = async {
        while batch.len() < MAX_QUEUED_REQUESTS
            && !batch[checked_count..].iter().any(|it| matches!(it, HistoryRequest::Flush { .. }))
        {
            checked_count = batch.len();
            if requests.recv_many(batch, MAX_QUEUED_REQUESTS - checked_count).await == 0 {
                break;
            }
        }
    };
    // The batch is complete on timeout, at the size limit, on a flush, or when
    // all senders are dropped.
    let _ = time::timeout(BATCH_INTERVAL, more).await;
    first_count > 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::services::history_query::{LineQuery, Selection};
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::SystemTime;

    /// Returns a line with an id above all earlier ones.
    fn line(text: &str) -> (NameKey, StoredMessage) {
        static IDS: AtomicU64 = AtomicU64::new(0);
        let (time, sender) = (SystemTime::now(), b"ada"[..].into());
        let (id, text) = (IDS.fetch_add(1, Ordering::Relaxed), text.as_bytes().into());
        let line = StoredMessage { id, time, sender, text, tags: Box::default(), private_to: None };
        (NameKey::new(b"#a"), line)
    }

    fn channel(id: u64) -> HistoryChannel {
        HistoryChannel { name: NameKey::new(b"#a"), id }
    }

    /// Returns a writer without a store, as after an error.
    fn writer(directory: PathBuf) -> HistoryWriter {
        HistoryWriter::new(directory, None, Arc::default(), Metrics::default())
    }

    fn append(writer: &mut HistoryWriter, texts: impl IntoIterator<Item = impl AsRef<str>>) {
        let lines = texts.into_iter().map(|text| line(text.as_ref()));
        let batch = lines.map(|(channel, line)| HistoryRequest::Append(channel, line)).collect();
        writer.handle(batch);
    }

    /// Returns the newest lines, or `None` if they cannot be read.
    fn lines(writer: &HistoryWriter, max_lines: usize) -> Option<Vec<StoredMessage>> {
        let query = LineQuery { channel: channel(0), selection: Selection::Latest(None), max_lines };
        let store = writer.flushed(None).store?;
        catch_panic(|| Ok(store.read(&query)?)).ok()
    }

    fn texts(writer: &HistoryWriter, max_lines: usize) -> Vec<String> {
        let lines = lines(writer, max_lines).expect("read").into_iter();
        lines.map(|line| String::from_utf8_lossy(&line.text).into_owned()).collect()
    }

    /// Returns how many messages wait for the disk, and how many are lost.
    fn missing(writer: &HistoryWriter) -> (u64, u64) {
        let flushed = writer.flushed(Some(&channel(0)));
        (flushed.waiting_count, flushed.lost_count)
    }

    #[tokio::test]
    async fn lines_beyond_the_limit_are_counted_and_leave_a_gap() {
        let root = tempfile::tempdir().expect("a directory");
        // The store cannot be opened until this directory exists.
        let directory = root.path().join("later");
        let mut writer = writer(directory.clone());
        append(&mut writer, (0..MAX_WAITING_LINES + 3).map(|number| number.to_string()));
        assert_eq!((lines(&writer, 1), missing(&writer)), (None, (MAX_WAITING_LINES as u64, 3)));
        std::fs::create_dir(&directory).expect("created");
        writer.retry_at = None;
        append(&mut writer, ["after"]);
        assert_eq!(texts(&writer, 3), ["8191", "lost lines: 3", "after"]);
        append(&mut writer, ["next"]);
        assert_eq!(texts(&writer, 2), ["after", "next"]);
        assert_eq!(missing(&writer), (0, 0));
    }

    #[tokio::test]
    async fn private_lines_are_counted_only_for_their_channel() {
        let root = tempfile::tempdir().expect("a directory");
        let directory = root.path().join("later");
        let mut writer = writer(directory.clone());
        let private = |id, number: usize| {
            let (name, mut message) = line(&number.to_string());
            message.private_to = Some(id);
            HistoryRequest::Append(name, message)
        };
        writer.handle((0..MAX_WAITING_LINES + 3).map(|number| private(0, number)).collect());
        let counts = |writer: &HistoryWriter, id| {
            let flushed = writer.flushed(Some(&channel(id)));
            (flushed.waiting_count, flushed.lost_count)
        };
        // The second channel was created after the messages.
        assert_eq!(counts(&writer, 0), (MAX_WAITING_LINES as u64, 3));
        assert_eq!(counts(&writer, u64::MAX - 1), (0, 0));
        std::fs::create_dir(&directory).expect("created");
        writer.retry_at = None;
        writer.handle(Vec::new());
        assert_eq!(texts(&writer, 2), ["8191", "lost lines: 3"]);
        let later =
            LineQuery { channel: channel(u64::MAX - 1), selection: Selection::Latest(None), max_lines: 9 };
        let store = writer.flushed(None).store.expect("open");
        assert_eq!(store.read(&later).expect("read"), [], "no gap either");
    }

    /// Returns a file that can be opened but has no table of lines.
    fn file_without_lines() -> Vec<u8> {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let database = redb::Database::create(file.path()).expect("created");
        let transaction = database.begin_write().expect("begun");
        let channels = redb::TableDefinition::<(&[u8], u64), ()>::new("channels");
        transaction.open_table(channels).expect("created");
        transaction.commit().expect("written");
        drop(database);
        std::fs::read(file.path()).expect("read")
    }

    #[tokio::test]
    async fn lines_wait_as_long_as_the_file_is_damaged() {
        for panics in [true, false] {
            let directory = tempfile::tempdir().expect("a directory");
            let path = directory.path().join("history.redb");
            let mut writer = writer(directory.path().to_owned());
            append(&mut writer, ["one"]);
            // The same state as after an error: nobody knows whether the line
            // is on disk.
            let stored = lines(&writer, 1).expect("read").remove(0);
            writer.waiting.push((NameKey::new(b"#a"), stored));
            writer.doubtful = Some(Commit { line_count: 1, gaps: Gaps::new() });
            writer.close();
            let whole = std::fs::read(&path).expect("read");
            let mut damaged = file_without_lines();
            if panics {
                // The database panics if only the header is right.
                damaged = whole.clone();
                damaged[4096..].fill(0xff);
            }
            std::fs::write(&path, damaged).expect("written");
            append(&mut writer, ["two"]);
            assert_eq!((lines(&writer, 1), missing(&writer)), (None, (2, 0)), "{panics}");
            writer.close();
            std::fs::write(&path, whole).expect("written");
            writer.retry_at = None;
            append(&mut writer, ["three"]);
            assert_eq!(texts(&writer, 9), ["one", "two", "three"], "{panics}");
        }
    }

    #[tokio::test]
    async fn a_commit_that_failed_after_its_write_is_not_stored_twice() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut writer = writer(directory.path().to_owned());
        append(&mut writer, ["one", "two"]);
        // The same state as after an error: the lines wait, and nobody knows
        // whether they are on disk.
        let stored = lines(&writer, 2).expect("read").into_iter();
        writer.waiting = stored.map(|line| (NameKey::new(b"#a"), line)).collect();
        writer.doubtful = Some(Commit { line_count: 2, gaps: Gaps::new() });
        append(&mut writer, ["three"]);
        assert_eq!(texts(&writer, 9), ["one", "two", "three"]);
    }
}
