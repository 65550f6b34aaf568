//! The bounded queue in front of each client, and the task half that empties it.

use std::{
    io::{self, IoSlice},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncWrite, AsyncWriteExt},
    sync::{Notify, mpsc},
    time,
};

use crate::metrics::Metrics;

/// Encoded lines, shared by all who receive them.
pub(crate) type Buffer = Arc<[u8]>;

/// How long a client that is being let go has to take what is queued for it.
const GRACE: Duration = Duration::from_secs(1);
/// Buffers written by one system call at most.
const BATCH: usize = 32;
/// What a queued buffer costs beside its bytes, so that many tiny ones are bounded too.
const OVERHEAD: usize = 64;

/// The sending end, held by the hub alone. Pushing never waits.
#[derive(Debug, Clone)]
pub(crate) struct Outbox {
    queue: mpsc::UnboundedSender<Buffer>,
    level: Arc<Level>,
}

/// The queue was full; the client is too slow.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Full;

/// What both ends see. Bytes are bounded instead of slots: that is what costs memory.
#[derive(Debug)]
struct Level {
    queued: AtomicUsize,
    limit: usize,
    closing: Notify,
}

/// The receiving end, held by the session.
#[derive(Debug)]
pub(crate) struct Queue {
    queue: mpsc::UnboundedReceiver<Buffer>,
    level: Arc<Level>,
}

/// A queue for at most `limit` bytes.
pub(crate) fn bounded(limit: usize) -> (Outbox, Queue) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let level = Arc::new(Level { queued: AtomicUsize::new(0), limit, closing: Notify::new() });
    (Outbox { queue: sender, level: level.clone() }, Queue { queue: receiver, level })
}

impl Outbox {
    /// Queues `buffer`, unless the queue is over its limit.
    pub(crate) fn push(&self, buffer: Buffer) -> Result<(), Full> {
        if self.level.queued.load(Ordering::Relaxed) > self.level.limit {
            return Err(Full);
        }
        self.push_last(buffer);
        Ok(())
    }

    /// Queues `buffer` whatever the level: for the one line that says why it ends.
    pub(crate) fn push_last(&self, buffer: Buffer) {
        self.level.queued.fetch_add(buffer.len() + OVERHEAD, Ordering::Relaxed);
        // A receiver that is gone needs nothing: its session is telling the hub so.
        let _ = self.queue.send(buffer);
    }

    /// Starts the client's last second; what is queued is still written.
    pub(crate) fn close(&self) {
        self.level.closing.notify_one();
    }
}

impl Queue {
    /// Writes what is queued until the hub lets go of its end, or the grace ends.
    pub(crate) async fn drain(
        self,
        socket: &mut (impl AsyncWrite + Unpin),
        metrics: &Metrics,
    ) -> io::Result<()> {
        let level = self.level.clone();
        let grace = async {
            level.closing.notified().await;
            time::sleep(GRACE).await;
        };
        tokio::select! {
            written = self.write_all(socket, metrics) => written,
            () = grace => Err(io::ErrorKind::TimedOut.into()),
        }
    }

    async fn write_all(
        mut self,
        socket: &mut (impl AsyncWrite + Unpin),
        metrics: &Metrics,
    ) -> io::Result<()> {
        let mut batch = Vec::new();
        while self.queue.recv_many(&mut batch, BATCH).await > 0 {
            let bytes = batch.iter().map(|buffer| buffer.len()).sum::<usize>();
            write_batch(socket, &batch).await?;
            self.level.queued.fetch_sub(bytes + OVERHEAD * batch.len(), Ordering::Relaxed);
            metrics.sent(bytes);
            batch.clear();
        }
        Ok(())
    }
}

/// Writes all of `batch` with as few system calls as the socket allows.
async fn write_batch(socket: &mut (impl AsyncWrite + Unpin), batch: &[Buffer]) -> io::Result<()> {
    let mut slices = [IoSlice::new(&[]); BATCH];
    for (slice, buffer) in slices.iter_mut().zip(batch) {
        *slice = IoSlice::new(buffer);
    }
    let mut rest = &mut slices[..batch.len()];
    while !rest.is_empty() {
        let written = socket.write_vectored(rest).await?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        IoSlice::advance_slices(&mut rest, written);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncReadExt;

    fn buffer(bytes: &[u8]) -> Buffer {
        bytes.into()
    }

    #[tokio::test]
    async fn a_full_queue_refuses_and_a_drained_one_accepts() {
        let (outbox, queue) = bounded(100);
        assert_eq!(outbox.push(buffer(&[b'x'; 90])), Ok(()));
        assert_eq!(outbox.push(buffer(b"y")), Err(Full));
        outbox.push_last(buffer(b"z"));
        drop(outbox);
        let mut written = Vec::new();
        queue.drain(&mut written, &Metrics::default()).await.expect("a Vec takes all");
        assert_eq!(written.len(), 91);
        assert_eq!(written.last(), Some(&b'z'));
    }

    #[tokio::test]
    async fn partial_writes_lose_nothing() {
        let (outbox, queue) = bounded(1 << 20);
        let lines: Vec<Vec<u8>> = (0..200).map(|line| format!("line {line}\r\n").into_bytes()).collect();
        lines.iter().for_each(|line| outbox.push(buffer(line)).expect("room"));
        drop(outbox);
        let (mut near, mut far) = tokio::io::duplex(7);
        let write = async move { queue.drain(&mut near, &Metrics::default()).await };
        let mut read = Vec::new();
        let (written, _) = tokio::join!(write, far.read_to_end(&mut read));
        written.expect("the far end reads");
        assert_eq!(read, lines.concat());
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_that_takes_nothing_is_left_after_the_grace() {
        let (outbox, queue) = bounded(10);
        outbox.push(buffer(&[b'x'; 100])).expect("empty");
        outbox.close();
        drop(outbox);
        let (mut near, _far) = tokio::io::duplex(7);
        let ended = queue.drain(&mut near, &Metrics::default()).await;
        assert_eq!(ended.expect_err("nobody reads").kind(), io::ErrorKind::TimedOut);
    }
}
