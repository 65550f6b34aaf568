//! When a writer rests after a write, so that a busy server writes much at a time instead of often.
//!
//! A write to a socket costs ten times what it takes to queue a line, and for ten lines as much as for one.
//! As long as the server keeps up, each line is written when it comes. Once writers get their turn late again
//! and again, each rests after its write: what comes meanwhile goes out together, and there is less to do for
//! all. Only what others say waits so; an answer ends the rest, as somebody may wait for it to ask on.
//!
//! A timer is a little late too, so a writer that rests goes on so for as long as lines come in every rest.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{self, Instant};

/// A turn that comes later than this after its line is late.
const LATE_AFTER: Duration = Duration::from_micros(500);
/// The rest. Nobody who reads notices it.
const PAUSE: Duration = Duration::from_millis(20);

/// What both ends of a queue know of its waiting.
#[derive(Debug)]
pub(crate) struct QueueWait {
    /// When the queue was empty last and got a line, in nanoseconds after `origin`.
    since: AtomicU64,
    origin: Instant,
    /// An answer is in the queue.
    answer: Notify,
}

impl QueueWait {
    pub(crate) fn new() -> Self {
        Self { since: AtomicU64::new(0), origin: Instant::now(), answer: Notify::new() }
    }

    /// The queue was empty and is not any more.
    pub(crate) fn begin(&self) {
        self.since.store(self.origin.elapsed().as_nanos() as u64, Ordering::Relaxed);
    }

    /// The client may wait for what is queued.
    pub(crate) fn end_pause(&self) {
        self.answer.notify_one();
    }

    fn since(&self) -> Instant {
        self.origin + Duration::from_nanos(self.since.load(Ordering::Relaxed))
    }
}

/// The rests of one writer.
#[derive(Debug)]
pub(crate) struct WriteCoalescer {
    /// When the last one was to end.
    until: Instant,
    /// Whether the turn before was late.
    late: bool,
}

impl WriteCoalescer {
    pub(crate) fn new() -> Self {
        Self { until: Instant::now(), late: false }
    }

    /// The writer has its turn: until when it is to rest after it, if at all.
    pub(crate) fn pause_after(&mut self, waiting: &QueueWait) -> Option<Instant> {
        let now = Instant::now();
        // What came during a rest was not kept waiting by others.
        let late = now.saturating_duration_since(waiting.since().max(self.until)) > LATE_AFTER;
        let again = std::mem::replace(&mut self.late, late);
        (late && again).then(|| {
            self.until = now + PAUSE;
            self.until
        })
    }

    /// Rests, unless there is an answer to write.
    pub(crate) async fn pause(until: Instant, waiting: &QueueWait) {
        tokio::select! {
            () = time::sleep_until(until) => {}
            () = waiting.answer.notified() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A line comes, and its writer has its turn so much later.
    async fn turn(coalescer: &mut WriteCoalescer, waiting: &QueueWait, later: Duration) -> Option<Duration> {
        waiting.begin();
        time::advance(later).await;
        coalescer.pause_after(waiting).map(|until| until - Instant::now())
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_late_again_and_again_rests() {
        let (mut coalescer, waiting) = (WriteCoalescer::new(), QueueWait::new());
        let (soon, late) = (LATE_AFTER / 2, LATE_AFTER * 2);
        for (later, rests) in
            [(soon, false), (late, false), (soon, false), (late, false), (late, true), (late, true)]
        {
            assert_eq!(turn(&mut coalescer, &waiting, later).await, rests.then_some(PAUSE));
            time::advance(PAUSE * 2).await;
        }
        // What waited while the writer rested, waited for the rest.
        turn(&mut coalescer, &waiting, late).await.expect("a rest");
        assert_eq!(turn(&mut coalescer, &waiting, PAUSE).await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_ends_the_rest() {
        let (waiting, begun) = (QueueWait::new(), Instant::now());
        WriteCoalescer::pause(begun + PAUSE, &waiting).await;
        assert_eq!(begun.elapsed(), PAUSE);
        let asked = async {
            time::sleep(PAUSE / 4).await;
            waiting.end_pause();
        };
        tokio::join!(WriteCoalescer::pause(Instant::now() + PAUSE, &waiting), asked);
        assert_eq!(begun.elapsed(), PAUSE + PAUSE / 4);
    }
}
