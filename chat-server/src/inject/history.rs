//! Site `history`: the log of each channel, one file each.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs::{File, OpenOptions},
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use tokio::{sync::mpsc, task::JoinHandle};

use super::Mistake;
use crate::{metrics::Metrics, names::Key};

/// Entries that may wait to be written; beyond it they are dropped and counted, as no sender may wait.
const BACKLOG: usize = 8192;
/// Entries are gathered this long, so that one `sync_all` of a file serves them all.
const GATHER: Duration = Duration::from_secs(1);

/// Something said in a channel.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) channel: Key,
    pub(crate) nick: Box<[u8]>,
    pub(crate) text: Box<[u8]>,
}

/// Keeps what is said.
#[derive(Debug)]
pub(crate) struct History {
    directory: PathBuf,
    backlog: mpsc::Sender<Entry>,
    metrics: Metrics,
    mistake: Option<Mistake>,
}

impl History {
    /// Starts the task that writes. It ends, with everything written, after the last `History` is dropped.
    pub(crate) fn start(
        directory: &Path,
        metrics: Metrics,
        mistake: Option<Mistake>,
    ) -> (Self, JoinHandle<()>) {
        let (backlog, entries) = mpsc::channel(BACKLOG);
        let writer = loopscope::spawn("history", write_batches(directory.into(), entries));
        (History { directory: directory.into(), backlog, metrics, mistake }, writer)
    }

    /// Logs `entry`.
    pub(crate) fn append(&self, entry: Entry) {
        match self.mistake.as_ref().and_then(Mistake::strikes) {
            Some(duration) => {
                let (path, line) = (path_of(&self.directory, &entry.channel), line_of(&entry));
                wrong(&path, &line, duration).unwrap_or_else(|error| complain(&path, &error));
            }
            None => self.right(entry),
        }
    }

    /// Right: handed to the task that writes, and nobody waits for the disk.
    fn right(&self, entry: Entry) {
        if self.backlog.try_send(entry).is_err() {
            self.metrics.history_dropped();
        }
    }
}

/// Wrong: the worker waits for the disk. (Repeated until `duration` is over, for disks that are fast; both
/// calls stand on one line as they are one mistake.)
#[inline(never)]
fn wrong(path: &Path, line: &[u8], duration: Duration) -> io::Result<()> {
    let started = Instant::now();
    let mut file = OpenOptions::new().create(true).append(true).open(path)?;
    loop {
        let (written, synced) = (file.write_all(line), file.sync_all()); // THE MISTAKE
        written.and(synced)?;
        if started.elapsed() >= duration {
            return Ok(());
        }
    }
}

/// Takes what has gathered and has it written on a thread for such work.
async fn write_batches(directory: Arc<Path>, mut entries: mpsc::Receiver<Entry>) {
    let mut batch = Vec::new();
    while gather(&mut entries, &mut batch).await {
        let (directory, full) = (directory.clone(), std::mem::take(&mut batch));
        let written = loopscope::spawn_blocking("history-write", move || write(&directory, &full));
        if let Err(error) = written.await {
            tracing::error!("a batch of the history is lost: {error}");
        }
    }
}

/// Fills `batch` with what comes within [`GATHER`] of the first entry; `false` if nothing comes any more.
async fn gather(entries: &mut mpsc::Receiver<Entry>, batch: &mut Vec<Entry>) -> bool {
    let first = entries.recv_many(batch, BACKLOG).await;
    let more = async { while batch.len() < BACKLOG && entries.recv_many(batch, BACKLOG).await > 0 {} };
    // Over time or over size, or at the end at once: what there is gets written.
    let _ = tokio::time::timeout(GATHER, more).await;
    first > 0
}

/// Appends a batch, each file opened and synced once.
fn write(directory: &Path, batch: &[Entry]) {
    let mut files: BTreeMap<&Key, Vec<u8>> = BTreeMap::new();
    for entry in batch {
        files.entry(&entry.channel).or_default().extend(line_of(entry));
    }
    for (channel, lines) in files {
        let path = path_of(directory, channel);
        append(&path, &lines).unwrap_or_else(|error| complain(&path, &error));
    }
}

fn append(path: &Path, lines: &[u8]) -> io::Result<()> {
    let mut file: File = OpenOptions::new().create(true).append(true).open(path)?;
    file.write_all(lines)?;
    file.sync_all()
}

fn complain(path: &Path, error: &io::Error) {
    tracing::warn!("the history could not be written to {}: {error}", path.display());
}

fn line_of(entry: &Entry) -> Vec<u8> {
    let time = humantime::format_rfc3339_millis(SystemTime::now()).to_string();
    [time.as_bytes(), b" <", &entry.nick, b"> ", &entry.text, b"\n"].concat()
}

/// `<channel>.log`, with every byte that could mean something to a file system written as `%XX`.
fn path_of(directory: &Path, channel: &Key) -> PathBuf {
    let mut name = String::new();
    for &byte in channel.as_bytes() {
        match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'#' | b'-' | b'_' => name.push(byte.into()),
            _ => write!(name, "%{byte:02X}").expect("a String takes all"),
        }
    }
    directory.join(name + ".log")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(text: &str) -> Entry {
        Entry { channel: Key::new(b"#Rust"), nick: b"ada"[..].into(), text: text.as_bytes().into() }
    }

    #[test]
    fn file_names_are_safe() {
        let path = |channel: &[u8]| path_of(Path::new("d"), &Key::new(channel));
        assert_eq!(path(b"#Rust-2_4"), Path::new("d/#rust-2_4.log"));
        assert_eq!(path(b"#../x\xff"), Path::new("d/#%2E%2E%2Fx%FF.log"));
    }

    #[tokio::test]
    async fn right_and_wrong_keep_the_same() {
        let directory = tempfile::tempdir().expect("a directory");
        let (history, writer) = History::start(directory.path(), Metrics::default(), None);
        history.append(entry("one"));
        drop(history);
        writer.await.expect("ends");
        let path = directory.path().join("#rust.log");
        wrong(&path, &line_of(&entry("two")), Duration::ZERO).expect("written");
        let log = std::fs::read_to_string(path).expect("there");
        let said: Vec<_> =
            log.lines().filter_map(|line| line.split_once(' ')).map(|(_, said)| said).collect();
        assert_eq!(said, ["<ada> one", "<ada> two"]);
    }
}
