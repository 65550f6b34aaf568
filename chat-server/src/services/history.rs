//! Injection site `history`: keeps channel messages on disk.
//!
//! The reply to HISTORY shows only lines that are on disk, so these lines
//! survive `kill -9`. The server sends the reply when all messages that came
//! before the request are on disk, or says how many are not. Without a request,
//! a line is on disk after a second plus the time of a commit.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::inject::mistake::Mistake;
use crate::irc::names::NameKey;
use crate::metrics::Metrics;
use crate::services::history_gaps::LostLines;
use crate::services::history_store::{HistoryStore, MAX_STORED_LINES, StoredMessage};
use crate::services::history_writer::{HistoryPage, HistoryRequest, HistoryWriter, MAX_QUEUED_REQUESTS};

/// Size at which the injected mistake empties its journal.
const MAX_JOURNAL_BYTES: u64 = 16 << 20;

/// A message that was sent to a channel.
#[derive(Debug)]
pub(crate) struct ChannelMessage {
    pub(crate) channel: NameKey,
    pub(crate) nick: Box<[u8]>,
    pub(crate) text: Box<[u8]>,
}

/// Keeps channel messages.
#[derive(Debug)]
pub(crate) struct History {
    journal: PathBuf,
    requests_sender: mpsc::Sender<HistoryRequest>,
    lost_lines: Arc<LostLines>,
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
        let lost_lines = Arc::new(LostLines::default());
        let writer =
            HistoryWriter::new(directory.to_owned(), Some(store), lost_lines.clone(), metrics.clone());
        let writer = loopscope::spawn("history", writer.run(requests));
        Ok((Self { journal, requests_sender, lost_lines, metrics, mistake }, writer))
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
        if let Err(TrySendError::Full(HistoryRequest::Append(channel, _))) =
            self.requests_sender.try_send(HistoryRequest::Append(channel, line))
        {
            self.metrics.count_history_dropped(1);
            self.lost_lines.add(channel);
        }
    }

    /// Waits until all earlier messages are on disk or the disk has refused
    /// them. Then returns the newest `max_lines` lines of `channel`. Returns
    /// `None` if the queue is full.
    pub(crate) async fn latest(&self, channel: NameKey, max_lines: usize) -> Option<HistoryPage> {
        let (reply, page) = oneshot::channel();
        self.requests_sender.try_send(HistoryRequest::Read { channel, max_lines, reply }).ok()?;
        page.await.ok()
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inject::flag::Injections;
    use crate::inject::spec::InjectionSite;
    use crate::services::history_writer::BATCH_INTERVAL;

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
            let kept = kept.lines.expect("read");
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
        let page = history.latest(NameKey::new(b"#rust"), 1).await.expect("answered");
        assert_eq!(page.lines.expect("read").len(), 1);
        assert!(started.elapsed() < BATCH_INTERVAL, "{:?}", started.elapsed());
    }
}
