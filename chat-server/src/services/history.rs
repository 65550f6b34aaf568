//! Injection site `history`: keeps channel messages on disk.
//!
//! The reply to HISTORY shows only lines that are on disk, so these lines
//! survive `kill -9`. The server sends the reply when all messages that came
//! before the request are on disk. Without a request, a line is on disk after
//! [`BATCH_INTERVAL`] plus the time of a commit.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::inject::mistake::Mistake;
use crate::irc::names::NameKey;
use crate::metrics::Metrics;
use crate::services::history_store::{HistoryStore, MAX_STORED_LINES, StoredMessage};

/// Maximum queued requests. Further messages are dropped and counted, as the
/// sender must not wait.
const MAX_QUEUED_REQUESTS: usize = 8192;
/// Time in which messages are collected for one commit.
const BATCH_INTERVAL: Duration = Duration::from_secs(1);
/// Size at which the injected mistake empties its journal.
const MAX_JOURNAL_BYTES: u64 = 16 << 20;

/// A message that was sent to a channel.
#[derive(Debug)]
pub(crate) struct ChannelMessage {
    pub(crate) channel: NameKey,
    pub(crate) nick: Box<[u8]>,
    pub(crate) text: Box<[u8]>,
}

/// A request to the writing task.
#[derive(Debug)]
enum HistoryRequest {
    Append(NameKey, StoredMessage),
    Read { channel: NameKey, max_lines: usize, reply: oneshot::Sender<Vec<StoredMessage>> },
}

/// Keeps channel messages.
#[derive(Debug)]
pub(crate) struct History {
    journal: PathBuf,
    requests_sender: mpsc::Sender<HistoryRequest>,
    metrics: Metrics,
    mistake: Option<Mistake>,
}

impl History {
    /// Opens the store in `directory` and starts the writing task. The task
    /// writes everything and ends after the last `History` is dropped.
    ///
    /// # Errors
    ///
    /// Returns an error if the store is in use or damaged.
    pub(crate) async fn start(
        directory: &Path,
        metrics: Metrics,
        mistake: Option<Mistake>,
    ) -> anyhow::Result<(Self, JoinHandle<()>)> {
        let (owned, journal) = (directory.to_owned(), directory.join("journal.log"));
        let store =
            loopscope::spawn_blocking("history-open", move || HistoryStore::open(&owned, MAX_STORED_LINES))
                .await??;
        let (requests_sender, requests) = mpsc::channel(MAX_QUEUED_REQUESTS);
        let writer = loopscope::spawn("history", commit_batches(Arc::new(store), metrics.clone(), requests));
        Ok((Self { journal, requests_sender, metrics, mistake }, writer))
    }

    /// Queues `message` for the store.
    pub(crate) fn append(&self, message: ChannelMessage) {
        if let Some(duration) = self.mistake.as_ref().and_then(Mistake::decide) {
            wrong(&self.journal, &message, duration).unwrap_or_else(|error| {
                tracing::warn!("cannot write {}: {error}", self.journal.display());
            });
        }
        self.right(message);
    }

    /// Right: queues the message for the writing task. The session does not
    /// wait for the disk.
    fn right(&self, ChannelMessage { channel, nick, text }: ChannelMessage) {
        let line = StoredMessage { time: SystemTime::now(), nick, text };
        if self.requests_sender.try_send(HistoryRequest::Append(channel, line)).is_err() {
            self.metrics.count_history_dropped(1);
        }
    }

    /// Waits until all earlier messages are on disk. Then returns the newest
    /// `max_lines` lines of `channel`. Returns `None` if the queue is full or
    /// the read fails.
    pub(crate) async fn latest(&self, channel: NameKey, max_lines: usize) -> Option<Vec<StoredMessage>> {
        let (reply, lines) = oneshot::channel();
        self.requests_sender.try_send(HistoryRequest::Read { channel, max_lines, reply }).ok()?;
        lines.await.ok()
    }
}

/// Wrong: writes a journal "to be safe", and the worker waits for the disk.
/// Repeats until `duration` has passed, as some disks are fast. Both calls are
/// on one source line because they are one mistake.
#[inline(never)]
fn wrong(journal: &Path, message: &ChannelMessage, duration: Duration) -> io::Result<()> {
    let started = Instant::now();
    let line = [message.channel.as_bytes(), b" <", &message.nick, b"> ", &message.text, b"\n"].concat();
    let mut file = OpenOptions::new().create(true).append(true).open(journal)?;
    if file.metadata()?.len() > MAX_JOURNAL_BYTES {
        file.set_len(0)?;
    }
    loop {
        let (written, synced) = (file.write_all(&line), file.sync_all()); // THE MISTAKE
        written.and(synced)?;
        if started.elapsed() >= duration {
            return Ok(());
        }
    }
}

/// Commits collected requests on a thread for blocking work.
async fn commit_batches(
    store: Arc<HistoryStore>,
    metrics: Metrics,
    mut requests: mpsc::Receiver<HistoryRequest>,
) {
    let mut batch = Vec::new();
    while collect_batch(&mut requests, &mut batch).await {
        let (store, batch) = (store.clone(), std::mem::take(&mut batch));
        let line_count = batch.iter().filter(|request| matches!(request, HistoryRequest::Append(..))).count();
        let committed = loopscope::spawn_blocking("history-commit", move || commit(&store, batch)).await;
        if let Err(error) = committed.map_err(anyhow::Error::from).flatten() {
            metrics.count_history_dropped(line_count as u64);
            tracing::error!("lost {line_count} lines of the history: {error:#}");
        }
    }
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
    let _ = tokio::time::timeout(BATCH_INTERVAL, more).await;
    first_count > 0
}

/// Commits the whole batch and then answers the reads. If the commit fails,
/// reads get no answer.
fn commit(store: &HistoryStore, batch: Vec<HistoryRequest>) -> anyhow::Result<()> {
    let (mut lines, mut reads) = (Vec::new(), Vec::new());
    for request in batch {
        match request {
            HistoryRequest::Append(channel, line) => lines.push((channel, line)),
            HistoryRequest::Read { channel, max_lines, reply } => reads.push((channel, max_lines, reply)),
        }
    }
    if !lines.is_empty() {
        store.append(&lines)?;
    }
    for (channel, max_lines, reply) in reads {
        match store.latest(&channel, max_lines) {
            // The session that asked may have ended.
            Ok(lines) => drop(reply.send(lines)),
            Err(error) => tracing::error!("cannot read the history: {error}"),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inject::flag::Injections;
    use crate::inject::spec::InjectionSite;

    fn entry(text: &str) -> ChannelMessage {
        ChannelMessage {
            channel: NameKey::new(b"#Rust"),
            nick: b"ada"[..].into(),
            text: text.as_bytes().into(),
        }
    }

    #[tokio::test]
    async fn right_and_wrong_keep_the_same_messages() {
        for inject in [&[][..], &["history=1ms@100%"]] {
            let directory = tempfile::tempdir().expect("a directory");
            let mistake =
                Injections::parse(inject.iter().copied()).expect("valid").at(InjectionSite::History);
            let started = History::start(directory.path(), Metrics::default(), mistake).await;
            let (history, writer) = started.expect("opened");
            history.append(entry("one"));
            history.append(entry("two"));
            let kept = history.latest(NameKey::new(b"#RUST"), 10).await.expect("answered");
            let texts: Vec<_> = kept.iter().map(|line| &*line.text).collect();
            assert_eq!(texts, [b"one", b"two"], "{inject:?}");
            drop(history);
            writer.await.expect("ends");
            assert_eq!(directory.path().join("journal.log").exists(), !inject.is_empty());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_read_does_not_wait_for_the_batch_interval() {
        let directory = tempfile::tempdir().expect("a directory");
        let (history, _) = History::start(directory.path(), Metrics::default(), None).await.expect("opened");
        history.append(entry("one"));
        let started = tokio::time::Instant::now();
        assert_eq!(history.latest(NameKey::new(b"#rust"), 1).await.expect("answered").len(), 1);
        assert!(started.elapsed() < BATCH_INTERVAL, "{:?}", started.elapsed());
    }
}
