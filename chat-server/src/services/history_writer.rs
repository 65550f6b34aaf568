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
use std::time::{Duration, SystemTime};

use tokio::sync::{mpsc, oneshot};
use tokio::time::{self, Instant};

use crate::irc::names::NameKey;
use crate::metrics::Metrics;
use crate::services::history_gaps::{Gaps, LostLines};
use crate::services::history_store::{HistoryStore, MAX_STORED_LINES, StoredMessage};

/// Maximum queued requests, and maximum requests of one batch.
pub(super) const MAX_QUEUED_REQUESTS: usize = 8192;
/// Maximum messages that wait for the disk after a failed commit. The longest
/// ones take about 5 MB.
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
    Read { channel: NameKey, max_lines: usize, reply: oneshot::Sender<HistoryPage> },
}

/// The reply to a read.
#[derive(Debug)]
pub(crate) struct HistoryPage {
    /// The newest lines on disk, the oldest first. `None` if the disk cannot be
    /// read.
    pub(crate) lines: Option<Vec<StoredMessage>>,
    /// How many newer messages of the channel wait for the disk.
    pub(crate) waiting_count: u64,
    /// How many newer messages of the channel are lost.
    pub(crate) lost_count: u64,
}

/// The store and the messages that wait for it.
#[derive(Debug)]
pub(super) struct HistoryWriter {
    directory: PathBuf,
    /// `None` after an I/O error, until the store is open again.
    store: Option<HistoryStore>,
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
    first_number: u64,
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
            store,
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

    /// Commits all messages of the batch and then answers the reads.
    fn handle(&mut self, batch: Vec<HistoryRequest>) {
        let mut reads = Vec::new();
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
                        self.lost_lines.add(channel);
                    }
                }
                HistoryRequest::Read { channel, max_lines, reply } => {
                    reads.push((channel, max_lines, reply));
                }
            }
        }
        self.commit_if_due();
        for (channel, max_lines, reply) in reads {
            // The session that asked may have ended.
            let _ = reply.send(self.page(&channel, max_lines));
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
            None => HistoryStore::open(&self.directory, MAX_STORED_LINES)?,
        };
        let store = self.store.insert(store);
        if let (Some(commit), Some(line)) = (&self.doubtful, self.waiting.first())
            && store.has_line(commit.first_number, line)?
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
        let first_number = store.next_number()?;
        let gap_lines: Vec<_> = gaps
            .iter()
            .map(|(channel, &count)| (channel.clone(), StoredMessage::gap(SystemTime::now(), count)))
            .collect();
        self.doubtful = Some(Commit { first_number, line_count: self.waiting.len(), gaps });
        store.append(first_number, self.waiting.iter().chain(&gap_lines))?;
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
        self.store = catch_panic(|| HistoryStore::open(&self.directory, MAX_STORED_LINES)).ok();
    }

    fn close(&mut self) {
        let store = self.store.take();
        // It has failed before. What it says at its end is no news.
        let _ = catch_panic(|| {
            drop(store);
            Ok(())
        });
    }

    fn end_failure(&mut self) {
        if self.retry_at.take().is_some() {
            tracing::info!("the history is written again");
        }
        self.retry_interval = MIN_RETRY_INTERVAL;
    }

    fn page(&mut self, channel: &NameKey, max_lines: usize) -> HistoryPage {
        let lines = self.store.as_ref().and_then(|store| {
            let lines = catch_panic(|| Ok(store.latest(channel, max_lines)?));
            lines.inspect_err(|error| tracing::error!("cannot read the history: {error}")).ok()
        });
        if lines.is_none() {
            // The next attempt opens the store again.
            self.close();
            self.retry_at.get_or_insert_with(|| Instant::now() + MIN_RETRY_INTERVAL);
        }
        let waiting_count = self.waiting.iter().filter(|(key, _)| key == channel).count() as u64;
        HistoryPage { lines, waiting_count, lost_count: self.lost_lines.count_of(channel) }
    }
}

/// Runs work with the database. It may panic if another program has changed its
/// file.
fn catch_panic<R>(work: impl FnOnce() -> anyhow::Result<R>) -> anyhow::Result<R> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| anyhow::bail!("the database panicked"))
}

/// Fills `batch` with the requests that arrive within [`BATCH_INTERVAL`] of the
/// first one. Ends early when a read arrives. Returns `false` when all senders
/// are dropped and no request is left.
async fn collect_batch(
    requests: &mut mpsc::Receiver<HistoryRequest>,
    batch: &mut Vec<HistoryRequest>,
) -> bool {
    let first_count = requests.recv_many(batch, MAX_QUEUED_REQUESTS).await;
    let mut checked_count = 0;
    let more = async {
        while batch.len() < MAX_QUEUED_REQUESTS
            && !batch[checked_count..].iter().any(|it| matches!(it, HistoryRequest::Read { .. }))
        {
            checked_count = batch.len();
            if requests.recv_many(batch, MAX_QUEUED_REQUESTS - checked_count).await == 0 {
                break;
            }
        }
    };
    // The batch is complete on timeout, at the size limit, on a read, or when
    // all senders are dropped.
    let _ = time::timeout(BATCH_INTERVAL, more).await;
    first_count > 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn append(text: &str) -> HistoryRequest {
        let line =
            StoredMessage { time: SystemTime::now(), nick: b"ada"[..].into(), text: text.as_bytes().into() };
        HistoryRequest::Append(NameKey::new(b"#a"), line)
    }

    fn writer(directory: PathBuf) -> HistoryWriter {
        HistoryWriter::new(directory, None, Arc::default(), Metrics::default())
    }

    fn texts(writer: &mut HistoryWriter, max_lines: usize) -> Vec<String> {
        let page = writer.page(&NameKey::new(b"#a"), max_lines);
        let lines = page.lines.expect("read").into_iter();
        lines.map(|line| String::from_utf8_lossy(&line.text).into_owned()).collect()
    }

    #[tokio::test]
    async fn lines_beyond_the_limit_are_counted_and_leave_a_gap() {
        let root = tempfile::tempdir().expect("a directory");
        // The store cannot be opened until this directory exists.
        let directory = root.path().join("later");
        let mut writer = writer(directory.clone());
        writer.handle((0..MAX_WAITING_LINES + 3).map(|number| append(&number.to_string())).collect());
        let page = writer.page(&NameKey::new(b"#a"), 1);
        assert_eq!((page.lines, page.waiting_count, page.lost_count), (None, MAX_WAITING_LINES as u64, 3));
        std::fs::create_dir(&directory).expect("created");
        writer.retry_at = None;
        writer.handle(vec![append("after")]);
        assert_eq!(texts(&mut writer, 3), ["8191", "lost lines: 3", "after"]);
        writer.handle(vec![append("next")]);
        assert_eq!(texts(&mut writer, 2), ["after", "next"]);
        let page = writer.page(&NameKey::new(b"#a"), 1);
        assert_eq!((page.waiting_count, page.lost_count), (0, 0));
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
            writer.handle(vec![append("one")]);
            // The same state as after an error: nobody knows whether the line
            // is on disk.
            let stored = writer.page(&NameKey::new(b"#a"), 1).lines.expect("read").remove(0);
            writer.waiting.push((NameKey::new(b"#a"), stored));
            writer.doubtful = Some(Commit { first_number: 0, line_count: 1, gaps: Gaps::new() });
            writer.close();
            let whole = std::fs::read(&path).expect("read");
            let mut damaged = file_without_lines();
            if panics {
                // The database panics if only the header is right.
                damaged = whole.clone();
                damaged[4096..].fill(0xff);
            }
            std::fs::write(&path, damaged).expect("written");
            writer.handle(vec![append("two")]);
            let page = writer.page(&NameKey::new(b"#a"), 1);
            assert_eq!((page.lines, page.waiting_count), (None, 2), "{panics}");
            writer.close();
            std::fs::write(&path, whole).expect("written");
            writer.retry_at = None;
            writer.handle(vec![append("three")]);
            assert_eq!(texts(&mut writer, 9), ["one", "two", "three"], "{panics}");
        }
    }

    #[tokio::test]
    async fn a_commit_that_failed_after_its_write_is_not_stored_twice() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut writer = writer(directory.path().to_owned());
        writer.handle(vec![append("one"), append("two")]);
        // The same state as after an error: the lines wait, and nobody knows
        // whether they are on disk.
        let lines = ["one", "two"].map(append).into_iter().map(|request| match request {
            HistoryRequest::Append(channel, line) => (channel, line),
            HistoryRequest::Read { .. } => unreachable!("only appends"),
        });
        writer.waiting = lines.collect();
        let stored = writer.store.as_ref().expect("open").latest(&NameKey::new(b"#a"), 2).expect("read");
        for ((_, line), stored) in writer.waiting.iter_mut().zip(stored) {
            line.time = stored.time;
        }
        writer.doubtful = Some(Commit { first_number: 0, line_count: 2, gaps: Gaps::new() });
        writer.handle(vec![append("three")]);
        assert_eq!(texts(&mut writer, 9), ["one", "two", "three"]);
    }
}
