//! The bounded queue of each client and the writing half of its session.
//!
//! A queue may stay above its soft limit for a while, because a slow connection
//! is no fault. If it stays longer, or exceeds the hard limit, the server
//! disconnects the client. The server never waits for a client and never skips
//! a line: a gap would be worse than a disconnection.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::{Notify, mpsc};
use tokio::time::{self, Instant};

use crate::client_limits::ClientLimits;
use crate::irc::reply::{Buffer, OutputLine};
use crate::irc::tags::TagKinds;
use crate::metrics::Metrics;
use crate::write_coalescing::{QueueWait, WriteCoalescer};

/// Maximum buffers in one system call.
const MAX_BUFFERS_PER_WRITE: usize = 64;
/// The cost of a queued buffer in addition to its bytes. It bounds the number
/// of tiny buffers.
const OVERHEAD_BYTES_PER_BUFFER: usize = 64;

/// The sending end. Only the hub holds it. A push never waits.
#[derive(Debug, Clone)]
pub(crate) struct Outbox {
    queue: mpsc::UnboundedSender<Buffer>,
    level: Arc<QueueLevel>,
}

/// The queue exceeds its hard limit: the client is too slow.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct QueueFull;

/// What both ends share. The limit counts bytes instead of lines, as bytes cost
/// memory.
#[derive(Debug)]
struct QueueLevel {
    queued_bytes: AtomicUsize,
    waiting: QueueWait,
    limits: ClientLimits,
    /// Which tags the client wants; see [`TagKinds::bits`].
    tag_kinds: AtomicU8,
    closing: Notify,
    slow: Notify,
    metrics: Metrics,
}

/// The receiving end. The session holds it.
#[derive(Debug)]
pub(crate) struct SendQueue {
    queue: mpsc::UnboundedReceiver<Buffer>,
    level: Arc<QueueLevel>,
}

/// Notifies the reading half of the session that its client is too slow.
#[derive(Debug)]
pub(crate) struct SlowReader(Arc<QueueLevel>);

/// Creates a queue with these limits.
pub(crate) fn bounded(limits: ClientLimits, metrics: Metrics) -> (Outbox, SendQueue) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let (queued_bytes, tag_kinds) = (AtomicUsize::new(0), AtomicU8::new(0));
    let (closing, slow, waiting) = (Notify::new(), Notify::new(), QueueWait::new());
    let level = QueueLevel { queued_bytes, waiting, limits, tag_kinds, closing, slow, metrics };
    let level = Arc::new(level);
    (Outbox { queue: sender, level: level.clone() }, SendQueue { queue: receiver, level })
}

impl Outbox {
    /// Queues `line` unless the queue exceeds its hard limit.
    pub(crate) fn push(&self, line: &OutputLine) -> Result<(), QueueFull> {
        if self.level.queued_bytes.load(Ordering::Relaxed) > self.level.limits.hard_queue_bytes {
            return Err(QueueFull);
        }
        self.push_last(line);
        Ok(())
    }

    /// Queues `line` even above the hard limit. Use this only for the last line
    /// of a connection, which gives the reason why it is closed.
    pub(crate) fn push_last(&self, line: &OutputLine) {
        let buffer = line.with_kinds(self.tag_kinds());
        let cost = buffer.len() + OVERHEAD_BYTES_PER_BUFFER;
        self.level.add(cost);
        if self.queue.send(buffer.clone()).is_err() {
            // The session has ended and is reporting that to the hub.
            self.level.subtract(cost);
        }
    }

    /// Ends the pause of the writer, because the client may be waiting for the
    /// reply that was queued.
    pub(crate) fn end_write_pause(&self) {
        self.level.waiting.end_pause();
    }

    /// Returns which tags the client wants.
    pub(crate) fn tag_kinds(&self) -> TagKinds {
        TagKinds::from_bits(self.level.tag_kinds.load(Ordering::Relaxed))
    }

    /// Sets which tags further lines have.
    pub(crate) fn set_tag_kinds(&self, kinds: TagKinds) {
        self.level.tag_kinds.store(kinds.bits(), Ordering::Relaxed);
    }

    /// Starts the close grace of the client. Queued lines are still written.
    pub(crate) fn close(&self) {
        self.level.closing.notify_one();
    }
}

impl QueueLevel {
    fn add(&self, bytes: usize) {
        if self.queued_bytes.fetch_add(bytes, Ordering::Relaxed) == 0 {
            self.waiting.begin();
        }
        self.metrics.queue_grew(bytes);
    }

    fn subtract(&self, bytes: usize) {
        self.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.metrics.queue_shrank(bytes);
    }
}

impl SlowReader {
    /// Completes when the queue has been above its soft limit for too long.
    pub(crate) async fn notified(&self) {
        self.0.slow.notified().await;
    }
}

impl SendQueue {
    /// Returns the notification that this client is too slow.
    pub(crate) fn slow_reader(&self) -> SlowReader {
        SlowReader(self.level.clone())
    }

    /// Writes the queue until the hub drops the sending end or the close grace
    /// ends.
    pub(crate) async fn drain(self, socket: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
        let level = self.level.clone();
        let grace = async {
            level.closing.notified().await;
            time::sleep(level.limits.close_grace).await;
        };
        tokio::select! {
            written = self.write_all(socket) => written,
            () = grace => Err(io::ErrorKind::TimedOut.into()),
        }
    }

    async fn write_all(mut self, socket: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
        let mut batch = Vec::new();
        let mut soft_limit = SoftLimitTimer { level: self.level.clone(), since: None };
        let (mut coalescer, mut pause_until, mut has_more) = (WriteCoalescer::new(), None, false);
        while self.queue.recv_many(&mut batch, MAX_BUFFERS_PER_WRITE).await > 0 {
            if !has_more {
                pause_until = coalescer.pause_after(&self.level.waiting);
            }
            has_more = !self.queue.is_empty();
            let bytes = batch.iter().map(|buffer| buffer.len()).sum::<usize>();
            // Buffers that are being written still count as queued, as they use
            // memory.
            let cost =
                BatchCost { bytes: bytes + OVERHEAD_BYTES_PER_BUFFER * batch.len(), level: &self.level };
            write_batch(socket, &batch, &mut soft_limit).await?;
            drop(cost);
            self.level.metrics.count_bytes_out(bytes);
            batch.clear();
            // The pause comes only after the queue is empty. Otherwise the
            // pauses would limit the rate of lines.
            if let Some(until) = pause_until.take_if(|_| !has_more) {
                WriteCoalescer::pause(until, &self.level.waiting).await;
            }
        }
        Ok(())
    }
}

impl Drop for SendQueue {
    fn drop(&mut self) {
        self.queue.close();
        while let Ok(buffer) = self.queue.try_recv() {
            self.level.subtract(buffer.len() + OVERHEAD_BYTES_PER_BUFFER);
        }
    }
}

/// What a batch adds to the level until it is written or dropped.
struct BatchCost<'a> {
    bytes: usize,
    level: &'a QueueLevel,
}

impl Drop for BatchCost<'_> {
    fn drop(&mut self) {
        self.level.subtract(self.bytes);
    }
}

/// How long the queue has been above its soft limit, as seen by its writer.
struct SoftLimitTimer {
    level: Arc<QueueLevel>,
    since: Option<Instant>,
}

impl SoftLimitTimer {
    fn check(&mut self) {
        let limits = self.level.limits;
        if self.level.queued_bytes.load(Ordering::Relaxed) <= limits.soft_queue_bytes {
            self.since = None;
            return;
        }
        if self.since.get_or_insert_with(Instant::now).elapsed() >= limits.slow_reader_timeout {
            self.level.slow.notify_one();
        }
    }
}

/// Writes all of `batch` with as few system calls as the socket allows.
async fn write_batch(
    socket: &mut (impl AsyncWrite + Unpin),
    batch: &[Buffer],
    soft_limit: &mut SoftLimitTimer,
) -> io::Result<()> {
    // What is left of the batch, and how much of its first buffer is written.
    let (mut rest, mut offset) = (batch, 0);
    let check_interval = soft_limit.level.limits.slow_reader_timeout / 4;
    while !rest.is_empty() {
        let write = poll_fn(|context| poll_write(socket, context, rest, offset));
        // The timer costs nothing while the socket accepts the bytes at once.
        let written = match time::timeout(check_interval, write).await {
            Ok(written) => written?,
            Err(_) => {
                soft_limit.check();
                continue;
            }
        };
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        offset += written;
        while let Some(first) = rest.first().filter(|first| first.len() <= offset) {
            offset -= first.len();
            rest = &rest[1..];
        }
    }
    // TLS may have accepted bytes that the socket has not. A flush of TCP does
    // nothing.
    loop {
        match time::timeout(check_interval, socket.flush()).await {
            Ok(flushed) => break flushed?,
            Err(_) => soft_limit.check(),
        }
    }
    soft_limit.check();
    Ok(())
}

/// Writes as much of the buffers as the socket accepts, without the first
/// `offset` bytes. The list of slices is on the stack: as a part of the task,
/// it would take a kilobyte of every session.
fn poll_write(
    socket: &mut (impl AsyncWrite + Unpin),
    context: &mut Context<'_>,
    buffers: &[Buffer],
    offset: usize,
) -> Poll<io::Result<usize>> {
    let mut slices = [IoSlice::new(&[]); MAX_BUFFERS_PER_WRITE];
    for (slice, buffer) in slices.iter_mut().zip(buffers) {
        *slice = IoSlice::new(buffer);
    }
    let mut slices = &mut slices[..buffers.len().min(MAX_BUFFERS_PER_WRITE)];
    IoSlice::advance_slices(&mut slices, offset);
    Pin::new(socket).poll_write_vectored(context, slices)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::io::AsyncReadExt;

    fn line(bytes: &[u8]) -> OutputLine {
        OutputLine::new(&[bytes])
    }

    fn queue(soft: usize, hard: usize) -> (Outbox, SendQueue, Metrics) {
        let metrics = Metrics::default();
        let (outbox, queue) = bounded(
            ClientLimits::default().with_soft_queue_bytes(soft).with_hard_queue_bytes(hard),
            metrics.clone(),
        );
        (outbox, queue, metrics)
    }

    #[tokio::test]
    async fn a_full_queue_refuses_lines_and_drains_completely() {
        let (outbox, queue, metrics) = queue(50, 100);
        assert_eq!(outbox.push(&line(&[b'x'; 90])), Ok(()));
        assert_eq!(outbox.push(&line(b"y")), Err(QueueFull));
        outbox.push_last(&line(b"z"));
        assert_eq!(metrics.queue_bytes(), 92 + 3 + 2 * 64);
        drop(outbox);
        let mut written = Vec::new();
        queue.drain(&mut written).await.expect("a Vec accepts everything");
        assert_eq!(written.len(), 92 + 3);
        assert!(written.ends_with(b"z\r\n"));
        assert_eq!(metrics.queue_bytes(), 0);
    }

    #[tokio::test]
    async fn partial_writes_lose_nothing() {
        let (outbox, queue, _) = queue(1 << 20, 1 << 20);
        let lines: Vec<Vec<u8>> = (0..200).map(|line| format!("line {line}").into_bytes()).collect();
        lines.iter().for_each(|it| outbox.push(&line(it)).expect("space"));
        drop(outbox);
        let (mut near, mut far) = tokio::io::duplex(7);
        let write = async move { queue.drain(&mut near).await };
        let mut read = Vec::new();
        let (written, _) = tokio::join!(write, far.read_to_end(&mut read));
        written.expect("the far end reads");
        assert_eq!(read, [lines.join(&b"\r\n"[..]), b"\r\n".to_vec()].concat());
    }

    #[tokio::test(start_paused = true)]
    async fn lines_queued_during_a_pause_are_written_without_another_pause() {
        let (outbox, queue, _) = queue(1 << 20, 1 << 20);
        let (mut near, mut far) = tokio::io::duplex(1 << 20);
        let writer = tokio::spawn(async move { queue.drain(&mut near).await });
        let push = |lines| (0..lines).for_each(|_| outbox.push(&line(b"x")).expect("space"));
        tokio::task::yield_now().await;
        let started = time::Instant::now();
        // The writer is late for each of these writes. It pauses after a write
        // if it was late for the previous one too, so after the second and the
        // third.
        for lines in [1, 1, 5 * MAX_BUFFERS_PER_WRITE] {
            push(lines);
            time::advance(Duration::from_millis(50)).await;
            let late = started.elapsed();
            far.read_exact(&mut vec![0; 3 * lines]).await.expect("written");
            assert_eq!(started.elapsed(), late, "{lines} lines are written without a pause");
        }
        drop(outbox);
        writer.await.expect("no panic").expect("written");
        assert!(started.elapsed() > Duration::from_millis(150), "the writer paused");
    }

    #[tokio::test(start_paused = true)]
    async fn draining_ends_after_the_close_grace() {
        let (outbox, queue, metrics) = queue(10, 10);
        outbox.push(&line(&[b'x'; 100])).expect("empty");
        outbox.close();
        drop(outbox);
        let (mut near, _far) = tokio::io::duplex(7);
        let result = queue.drain(&mut near).await;
        assert_eq!(result.expect_err("nobody reads").kind(), io::ErrorKind::TimedOut);
        assert_eq!(metrics.queue_bytes(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_queue_that_stays_full_is_reported_after_its_timeout() {
        let (outbox, queue, _) = queue(200, 1 << 20);
        let slow_reader = queue.slow_reader();
        let started = Instant::now();
        let (mut near, mut far) = tokio::io::duplex(7);
        let writer = tokio::spawn(async move { queue.drain(&mut near).await });
        // Below the soft limit a client may take as long as it likes.
        outbox.push(&line(&[b'x'; 100])).expect("space");
        time::timeout(Duration::from_secs(100), slow_reader.notified()).await.expect_err("not full");
        outbox.push(&line(&[b'x'; 100])).expect("space");
        slow_reader.notified().await;
        let time_above_limit = started.elapsed() - Duration::from_secs(100);
        assert!((10..=15).contains(&time_above_limit.as_secs()), "{time_above_limit:?}");
        drop(outbox);
        far.read_to_end(&mut Vec::new()).await.expect("what was queued");
        writer.await.expect("no panic").expect("all written");
    }
}
