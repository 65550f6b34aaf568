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
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tokio::task::JoinHandle;

use crate::inject::mistake::Mistake;
use crate::irc::names::NameKey;
use crate::metrics::Metrics;
use crate::services::history_gaps::LostLines;
use crate::services::history_query::{HistoryAnswer, HistoryRead};
use crate::services::history_reader::{HistoryReader, ReadSlot};
use crate::services::history_store::{HistoryStore, MAX_STORED_LINES};
use crate::services::history_writer::{HistoryRequest, HistoryWriter, MAX_QUEUED_REQUESTS};
use crate::services::message_ids::MessageIds;
use crate::services::stored_message::StoredMessage;

/// Size at which the injected mistake empties its journal.
const MAX_JOURNAL_BYTES: u64 = 16 << 20;

/// A message that was sent to a channel.
#[derive(Debug, Clone)]
pub(crate) struct ChannelMessage {
    pub(crate) channel: NameKey,
    pub(crate) message: StoredMessage,
}

/// The sessions' end: reads channel messages, and makes the mistake.
#[derive(Debug)]
pub(crate) struct History {
    journal: PathBuf,
    reader: HistoryReader,
    mistake: Option<Mistake>,
}

/// The hub's end: takes the messages, in the order in which the hub delivers
/// them. So a client that has received a message finds it in the history.
#[derive(Debug)]
pub(crate) struct HistoryQueue {
    requests_sender: mpsc::Sender<HistoryRequest>,
    lost_lines: Arc<LostLines>,
    metrics: Metrics,
    has_mistake: bool,
}

impl History {
    /// Opens the store in `directory` and starts the writing task. The task
    /// writes everything and ends after both ends are dropped. Also returns the
    /// ids for further messages. `read_mistake` is that of CHATHISTORY.
    ///
    /// # Errors
    ///
    /// Returns an error if the store is in use or damaged.
    pub(crate) async fn start(
        directory: &Path,
        metrics: Metrics,
        mistake: Option<Mistake>,
        read_mistake: Option<Mistake>,
    ) -> anyhow::Result<(Self, HistoryQueue, MessageIds, JoinHandle<()>)> {
        let (owned, journal) = (directory.to_owned(), directory.join("journal.log"));
        let open = move || {
            let store = HistoryStore::open(&owned, MAX_STORED_LINES)?;
            let ids = MessageIds::after(store.newest_id()?);
            anyhow::Ok((store, ids))
        };
        let (store, ids) = loopscope::spawn_blocking("history-open", open).await??;
        let (requests_sender, requests) = mpsc::channel(MAX_QUEUED_REQUESTS);
        let lost_lines = Arc::new(LostLines::default());
        let directory = directory.to_owned();
        let writer = HistoryWriter::new(directory, Some(store), lost_lines.clone(), metrics.clone());
        let writer = loopscope::spawn("history", writer.run(requests));
        let reader = HistoryReader::new(requests_sender.clone(), read_mistake);
        let queue = HistoryQueue { requests_sender, lost_lines, metrics, has_mistake: mistake.is_some() };
        Ok((Self { journal, reader, mistake }, queue, ids, writer))
    }

    /// Makes the mistake for a message that the hub has put into the queue.
    pub(crate) fn maybe_block_append(&self, message: &ChannelMessage) {
        if let Some(duration) = self.mistake.as_ref().and_then(Mistake::decide) {
            wrong(&self.journal, message, duration).unwrap_or_else(|error| {
                tracing::warn!("cannot write {}: {error}", self.journal.display());
            });
        }
    }

    /// Waits until all earlier messages are on disk or the disk has refused
    /// them. Then reads. `slot` belongs to the session.
    pub(crate) async fn read(&self, slot: &ReadSlot, read: HistoryRead) -> HistoryAnswer {
        self.reader.read(slot, read).await
    }
}

impl HistoryQueue {
    /// Right: queues the message for the writing task. Nobody waits for the
    /// disk.
    pub(crate) fn append(&self, ChannelMessage { channel, message }: ChannelMessage) {
        let queued = self.requests_sender.try_send(HistoryRequest::Append(channel, message));
        // The queue is closed only if the writing task has died.
        if let Err(TrySendError::Full(request) | TrySendError::Closed(request)) = queued
            && let HistoryRequest::Append(channel, message) = request
        {
            self.metrics.count_history_dropped(1);
            self.lost_lines.add(channel, &message);
        }
    }

    /// Returns whether the sessions need the messages, for
    /// [`History::maybe_block_append`].
    pub(crate) fn has_mistake(&self) -> bool {
        self.has_mistake
    }

    /// Returns a queue that nobody reads.
    #[cfg(test)]
    pub(crate) fn closed() -> Self {
        let (requests_sender, _) = mpsc::channel(1);
        let (lost_lines, metrics) = Default::default();
        Self { requests_sender, lost_lines, metrics, has_mistake: false }
    }
}

/// Wrong: writes a journal "to be safe", and the worker waits for the disk.
/// Repeats until `duration` has passed, as some disks are fast. Both calls are
/// on one source line because they are one mistake.
#[inline(never)]
fn wrong(journal: &Path, message: &ChannelMessage, duration: Duration) -> io::Result<()> {
    let started = Instant::now();
    let ChannelMessage { channel, message } = message;
    let line = [channel.as_bytes(), b" <", message.nick(), b"> ", &message.text, b"\n"].concat();
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
    use crate::services::history_query::{HistoryChannel, LineQuery, Selection};
    use crate::services::history_writer::BATCH_INTERVAL;
    use std::time::SystemTime;

    fn entry(ids: &MessageIds, text: &str) -> ChannelMessage {
        let (time, sender) = (SystemTime::now(), b"ada!a@h"[..].into());
        let (id, text) = (ids.next(time), text.as_bytes().into());
        let message = StoredMessage { id, time, sender, text, tags: Box::default(), private_to: None };
        ChannelMessage { channel: NameKey::new(b"#Rust"), message }
    }

    async fn newest(history: &History, max_lines: usize) -> Vec<StoredMessage> {
        let channel = HistoryChannel { name: NameKey::new(b"#RUST"), id: 0 };
        let query = LineQuery { channel, selection: Selection::Latest(None), max_lines };
        let HistoryAnswer::Notices { page: Some(page), .. } =
            history.read(&ReadSlot::default(), HistoryRead::Notices(query)).await
        else {
            panic!("the history can be read");
        };
        page.lines.expect("read")
    }

    #[tokio::test]
    async fn right_and_wrong_keep_the_same_messages() {
        for inject in [&[][..], &["history=1ms@100%"]] {
            let directory = tempfile::tempdir().expect("a directory");
            let mistake =
                Injections::parse(inject.iter().copied()).expect("valid").at(InjectionSite::History);
            let started = History::start(directory.path(), Metrics::default(), mistake, None).await;
            let (history, queue, ids, writer) = started.expect("opened");
            for text in ["one", "two"] {
                let message = entry(&ids, text);
                queue.append(message.clone());
                history.maybe_block_append(&message);
            }
            assert_eq!(queue.has_mistake(), !inject.is_empty());
            let kept = newest(&history, 10).await;
            let texts: Vec<_> = kept.iter().map(|line| &*line.text).collect();
            assert_eq!(texts, [b"one", b"two"], "{inject:?}");
            drop((history, queue));
            writer.await.expect("ends");
            assert_eq!(directory.path().join("journal.log").exists(), !inject.is_empty());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_read_does_not_wait_for_the_batch_interval() {
        let directory = tempfile::tempdir().expect("a directory");
        let started = History::start(directory.path(), Metrics::default(), None, None).await;
        let (history, queue, ids, _) = started.expect("opened");
        queue.append(entry(&ids, "one"));
        let started = tokio::time::Instant::now();
        assert_eq!(newest(&history, 1).await.len(), 1);
        assert!(started.elapsed() < BATCH_INTERVAL, "{:?}", started.elapsed());
    }
}
