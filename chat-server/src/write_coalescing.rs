//! Write coalescing: under load, writers pause 20 ms after a write so that more
//! lines share one system call.
//!
//! A write to a socket costs ten times as much as queueing a line, and a write
//! of ten lines costs as much as a write of one. While the server keeps up,
//! each line is written as soon as it arrives. When a writer runs late twice in
//! a row, it pauses after its write. The lines that arrive in the pause go out
//! together, which reduces the work for all. Only messages from other clients
//! wait for the pause. A reply ends it, because the client may be waiting for
//! that reply.
//!
//! The timer that ends a pause fires a little late, so the writer counts as
//! late again if lines arrived in the pause. A writer therefore continues to
//! pause as long as lines arrive in every pause.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{self, Instant};

/// A writer is late if it runs more than this time after the arrival of a line.
const LATE_AFTER: Duration = Duration::from_micros(500);
/// Length of a pause. It is too short for a reader to notice.
const PAUSE: Duration = Duration::from_millis(20);

/// What both ends of a queue share about its waiting time.
#[derive(Debug)]
pub(crate) struct QueueWait {
    /// When a line last arrived in the empty queue, in nanoseconds after
    /// `origin`.
    first_line_nanos: AtomicU64,
    origin: Instant,
    /// Notified when a reply is in the queue.
    reply_queued: Notify,
}

impl QueueWait {
    pub(crate) fn new() -> Self {
        Self { first_line_nanos: AtomicU64::new(0), origin: Instant::now(), reply_queued: Notify::new() }
    }

    /// Records that a line has arrived in the empty queue.
    pub(crate) fn begin(&self) {
        self.first_line_nanos.store(self.origin.elapsed().as_nanos() as u64, Ordering::Relaxed);
    }

    /// Ends the pause of the writer, as the client may be waiting for the
    /// queued line.
    pub(crate) fn end_pause(&self) {
        self.reply_queued.notify_one();
    }

    fn first_line_at(&self) -> Instant {
        self.origin + Duration::from_nanos(self.first_line_nanos.load(Ordering::Relaxed))
    }
}

/// Decides when one writer pauses.
#[derive(Debug)]
pub(crate) struct WriteCoalescer {
    /// When the last pause was due to end.
    pause_ends_at: Instant,
    /// Whether the writer was late the last time.
    was_late: bool,
}

impl WriteCoalescer {
    pub(crate) fn new() -> Self {
        Self { pause_ends_at: Instant::now(), was_late: false }
    }

    /// Called when the writer runs. Returns until when it must pause after its
    /// write, if at all.
    pub(crate) fn pause_after(&mut self, waiting: &QueueWait) -> Option<Instant> {
        let now = Instant::now();
        // The time that a line waits because of a pause is not lateness.
        let is_late =
            now.saturating_duration_since(waiting.first_line_at().max(self.pause_ends_at)) > LATE_AFTER;
        let was_late = std::mem::replace(&mut self.was_late, is_late);
        (is_late && was_late).then(|| {
            self.pause_ends_at = now + PAUSE;
            self.pause_ends_at
        })
    }

    /// Pauses until `until` or until a reply is queued.
    pub(crate) async fn pause(until: Instant, waiting: &QueueWait) {
        tokio::select! {
            () = time::sleep_until(until) => {}
            () = waiting.reply_queued.notified() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Queues a line and lets its writer run after `delay`.
    async fn run_writer(
        coalescer: &mut WriteCoalescer,
        waiting: &QueueWait,
        delay: Duration,
    ) -> Option<Duration> {
        waiting.begin();
        time::advance(delay).await;
        coalescer.pause_after(waiting).map(|until| until - Instant::now())
    }

    #[tokio::test(start_paused = true)]
    async fn a_writer_that_is_late_twice_in_a_row_pauses() {
        let (mut coalescer, waiting) = (WriteCoalescer::new(), QueueWait::new());
        let (soon, late) = (LATE_AFTER / 2, LATE_AFTER * 2);
        for (delay, pauses) in
            [(soon, false), (late, false), (soon, false), (late, false), (late, true), (late, true)]
        {
            assert_eq!(run_writer(&mut coalescer, &waiting, delay).await, pauses.then_some(PAUSE));
            time::advance(PAUSE * 2).await;
        }
        // A line that waited only for the pause does not count as late.
        run_writer(&mut coalescer, &waiting, late).await.expect("a pause");
        assert_eq!(run_writer(&mut coalescer, &waiting, PAUSE).await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_reply_ends_the_pause() {
        let (waiting, started) = (QueueWait::new(), Instant::now());
        WriteCoalescer::pause(started + PAUSE, &waiting).await;
        assert_eq!(started.elapsed(), PAUSE);
        let queue_reply = async {
            time::sleep(PAUSE / 4).await;
            waiting.end_pause();
        };
        tokio::join!(WriteCoalescer::pause(Instant::now() + PAUSE, &waiting), queue_reply);
        assert_eq!(started.elapsed(), PAUSE + PAUSE / 4);
    }
}
