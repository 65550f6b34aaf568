//! Injection site `chathistory`: reads the history.
//!
//! A read never runs on an event loop and never waits for another one of the
//! same kind for long: at most [`MAX_READS`] run at the same time, each returns
//! a bounded number of lines, and a session waits at most [`READ_TIMEOUT`].

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use redb::{ReadableDatabase as _, ReadableTable as _};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time;

use crate::inject::mistake::Mistake;
use crate::irc::names::NameKey;
use crate::services::history_query::{HistoryAnswer, HistoryChannel, HistoryPage, HistoryRead, LineQuery};
use crate::services::history_store::{HistoryStore, LINES};
use crate::services::history_writer::{Flushed, HistoryRequest, catch_panic, drop_quietly};

/// Maximum reads at the same time. More would only wait for the same disk.
const MAX_READS: usize = 4;
/// Maximum time that a session waits for an answer.
const READ_TIMEOUT: Duration = Duration::from_secs(5);

/// Reads the history for sessions.
#[derive(Debug)]
pub(crate) struct HistoryReader {
    writer: mpsc::Sender<HistoryRequest>,
    permits: Arc<Semaphore>,
    mistake: Option<Mistake>,
}

/// The right of a session to one read at a time. After a timeout, the session
/// handles further lines, and the read may still run.
#[derive(Debug, Default)]
pub(crate) struct ReadSlot(OnceLock<Arc<Semaphore>>);

impl HistoryReader {
    pub(super) fn new(writer: mpsc::Sender<HistoryRequest>, mistake: Option<Mistake>) -> Self {
        Self { writer, permits: Arc::new(Semaphore::new(MAX_READS)), mistake }
    }

    pub(super) async fn read(&self, slot: &ReadSlot, read: HistoryRead) -> HistoryAnswer {
        match read {
            HistoryRead::Notices(query) => {
                let channel = query.channel.name.clone();
                HistoryAnswer::Notices { channel, page: self.page(slot, query, None).await }
            }
            HistoryRead::Lines(subcommand, query) => {
                let channel = query.channel.name.clone();
                let page = self.page(slot, query, self.mistake.as_ref()).await;
                HistoryAnswer::Lines { subcommand, channel, page }
            }
            HistoryRead::Targets(query) => {
                let read = move |store: &HistoryStore| Ok(store.targets(&query)?);
                let targets = self.with_timeout(async {
                    let store = self.flush(None).await?.store?;
                    self.right(slot, store, read).await
                });
                HistoryAnswer::Targets(targets.await)
            }
        }
    }

    async fn page(
        &self,
        slot: &ReadSlot,
        query: LineQuery,
        mistake: Option<&Mistake>,
    ) -> Option<HistoryPage> {
        let page = async {
            let Flushed { store, waiting_count, lost_count } =
                self.flush(Some(query.channel.clone())).await?;
            let page = |lines| HistoryPage { lines, waiting_count, lost_count };
            let Some(store) = store else { return Some(page(None)) };
            if let Some(duration) = mistake.and_then(Mistake::decide) {
                let lines = wrong(&store, &query.channel.name, duration);
                lines.inspect_err(|error| tracing::error!("cannot read the history: {error}")).ok();
            }
            Some(page(self.right(slot, store, move |store| Ok(store.read(&query)?)).await))
        };
        self.with_timeout(page).await
    }

    /// Asks the writer to store all earlier messages. Returns `None` if its
    /// queue is full.
    async fn flush(&self, channel: Option<HistoryChannel>) -> Option<Flushed> {
        let (reply, flushed) = oneshot::channel();
        self.writer.try_send(HistoryRequest::Flush { channel, reply }).ok()?;
        flushed.await.ok()
    }

    /// Right: reads on a thread for blocking work. Returns `None` if the store
    /// cannot be read, or if an earlier read of the session still runs.
    async fn right<R: Send + 'static>(
        &self,
        slot: &ReadSlot,
        store: Arc<HistoryStore>,
        read: impl FnOnce(&HistoryStore) -> anyhow::Result<R> + Send + 'static,
    ) -> Option<R> {
        let own_permit =
            slot.0.get_or_init(|| Arc::new(Semaphore::new(1))).clone().try_acquire_owned().ok()?;
        let permit = self.permits.clone().acquire_owned().await.ok()?;
        let writer = self.writer.clone();
        let read = move || {
            // The permits are free when the read has ended, not when the
            // session stops to wait for it.
            let _permits = (own_permit, permit);
            let result = catch_panic(|| read(&store));
            if let Err(error) = &result {
                tracing::error!("cannot read the history: {error:#}");
                // If the queue is full, the next error reopens the store.
                let _ = writer.try_send(HistoryRequest::Reopen(store));
            } else {
                drop_quietly(store);
            }
            result.ok()
        };
        loopscope::spawn_blocking("history-read", read).await.ok()?
    }

    async fn with_timeout<R>(&self, read: impl Future<Output = Option<R>>) -> Option<R> {
        time::timeout(READ_TIMEOUT, read).await.unwrap_or_else(|_| {
            tracing::warn!("a read of the history takes more than {READ_TIMEOUT:?}");
            None
        })
    }
}

/// Wrong: the worker reads the whole history to count the lines of the channel.
/// Repeats until `duration` has passed, as a short history is read fast.
#[inline(never)]
fn wrong(store: &HistoryStore, channel: &NameKey, duration: Duration) -> Result<usize, redb::Error> {
    let (started, name) = (Instant::now(), channel.as_bytes());
    let all_lines = store.database.begin_read()?.open_table(LINES)?;
    loop {
        let count = all_lines.iter()?.flatten().filter(|line| line.1.value().1 == name).count(); // THE MISTAKE
        if started.elapsed() >= duration {
            return Ok(count);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inject::flag::Injections;
    use crate::inject::spec::InjectionSite;
    use crate::irc::names::NameKey;
    use crate::services::history_query::Selection;
    use crate::services::history_store::MAX_STORED_LINES;
    use crate::services::stored_message::StoredMessage;
    use std::time::SystemTime;

    /// Returns a store with two lines of `#a` and one of `#b`.
    fn store(directory: &tempfile::TempDir) -> Arc<HistoryStore> {
        let store = HistoryStore::open(directory.path(), MAX_STORED_LINES).expect("opened");
        let line = |(id, channel): (u64, &str)| {
            (NameKey::new(channel.as_bytes()), StoredMessage::gap(id, SystemTime::now(), id))
        };
        store.append(&[(1, "#a"), (2, "#b"), (3, "#a")].map(line)).expect("written");
        Arc::new(store)
    }

    fn read() -> HistoryRead {
        let channel = HistoryChannel { name: NameKey::new(b"#a"), id: 0 };
        let selection = Selection::Latest(None);
        HistoryRead::Lines("LATEST", LineQuery { channel, selection, max_lines: 9 })
    }

    /// Returns a reader, and the requests that its writer would get.
    fn reader(inject: &[&str]) -> (HistoryReader, mpsc::Receiver<HistoryRequest>) {
        let (writer, requests) = mpsc::channel(1);
        let injections = Injections::parse(inject.iter().copied()).expect("valid");
        (HistoryReader::new(writer, injections.at(InjectionSite::Chathistory)), requests)
    }

    async fn reply(requests: &mut mpsc::Receiver<HistoryRequest>, store: Option<Arc<HistoryStore>>) {
        let Some(HistoryRequest::Flush { reply, .. }) = requests.recv().await else { panic!("a flush") };
        reply.send(Flushed { store, waiting_count: 0, lost_count: 0 }).expect("a session waits");
    }

    fn line_count(answer: &HistoryAnswer) -> Option<usize> {
        let HistoryAnswer::Lines { page: Some(page), .. } = answer else { return None };
        page.lines.as_ref().map(Vec::len)
    }

    #[tokio::test]
    async fn right_and_wrong_return_the_same_lines() {
        let directory = tempfile::tempdir().expect("a directory");
        let store = store(&directory);
        for inject in [&[][..], &["chathistory=1ms"]] {
            let ((reader, mut requests), slot) = (reader(inject), ReadSlot::default());
            let (answer, ()) =
                tokio::join!(reader.read(&slot, read()), reply(&mut requests, Some(store.clone())));
            assert_eq!(line_count(&answer), Some(2), "{inject:?}");
        }
        let started = Instant::now();
        let count = wrong(&store, &NameKey::new(b"#a"), Duration::from_millis(20)).expect("read");
        assert!(count == 2 && started.elapsed() >= Duration::from_millis(20));
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_waits_for_a_slow_disk_only_for_a_time() {
        let ((reader, _requests), slot) = (reader(&[]), ReadSlot::default());
        assert_eq!(line_count(&reader.read(&slot, read()).await), None);
    }

    #[tokio::test]
    async fn a_session_has_one_read_at_a_time_and_delays_no_other_session() {
        let directory = tempfile::tempdir().expect("a directory");
        let store = store(&directory);
        let (reader, mut requests) = reader(&[]);
        let (slow, other) = (ReadSlot::default(), ReadSlot::default());
        // The session has stopped to wait, and its read still runs.
        let (begin, begun) = oneshot::channel();
        let (end, ended) = std::sync::mpsc::channel::<()>();
        let read_slowly = move |_: &HistoryStore| {
            let _ = begin.send(());
            Ok(ended.recv()?)
        };
        let abandoned = reader.right(&slow, store.clone(), read_slowly);
        tokio::select! {
            _ = abandoned => panic!("it is slow"),
            begun = begun => begun.expect("it runs"),
        }
        for (slot, expected) in [(&slow, None), (&other, Some(2))] {
            let (answer, ()) =
                tokio::join!(reader.read(slot, read()), reply(&mut requests, Some(store.clone())));
            assert_eq!(line_count(&answer), expected);
        }
        end.send(()).expect("it waits");
    }
}
