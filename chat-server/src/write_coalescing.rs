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
const LATE: Duration = Duration::from_micros(500);
/// The rest. Nobody who reads notices it.
const REST: Duration = Duration::from_millis(20);

/// What both ends of a queue know of its waiting.
#[derive(Debug)]
pub(crate) struct Waiting {
    /// When the queue was empty last and got a line, in nanoseconds after `origin`.
    since: AtomicU64,
    origin: Instant,
    /// An answer is in the queue.
    answer: Notify,
}

impl Waiting {
    pub(crate) fn new() -> Self {
        Waiting { since: AtomicU64::new(0), origin: Instant::now(), answer: Notify::new() }
    }

    /// The queue was empty and is not any more.
    pub(crate) fn begin(&self) {
        self.since.store(self.origin.elapsed().as_nanos() as u64, Ordering::Relaxed);
    }

    /// The client may wait for what is queued.
    pub(crate) fn hurry(&self) {
        self.answer.notify_one();
    }

    fn since(&self) -> Instant {
        self.origin + Duration::from_nanos(self.since.load(Ordering::Relaxed))
    }
}

/// The rests of one writer.
#[derive(Debug)]
pub(crate) struct Rest {
    /// When the last one was to end.
    until: Instant,
    /// Whether the turn before was late.
    late: bool,
}

impl Rest {
    pub(crate) fn new() -> Self {
        Rest { until: Instant::now(), late: false }
    }

    /// The writer has its turn: until when it is to rest after it, if at all.
    pub(crate) fn after(&mut self, waiting: &Waiting) -> Option<Instant> {
        let now = Instant::now();
        // What came during a rest was not kept waiting by others.
        let late = now.saturating_duration_since(waiting.since().max(self.until)) > LATE;
        let again = std::mem::replace(&mut self.late, late);
        (late && again).then(|| {
            self.until = now + REST;
            self.until
        })
    }

    /// Rests, unless there is an answer to write.
    pub(crate) async fn rest(until: Instant, waiting: &Waiting) {
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
    async fn turn(rest: &mut Rest, waiting: &Waiting, later: Duration) -> Option<Duration> {
        waiting.begin();
        time::advance(later).await;
        rest.after(waiting).map(|until| until - Instant::now())
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_late_again_and_again_rests() {
        let (mut rest, waiting) = (Rest::new(), Waiting::new());
        let (soon, late) = (LATE / 2, LATE * 2);
        for (later, rests) in
            [(soon, false), (late, false), (soon, false), (late, false), (late, true), (late, true)]
        {
            assert_eq!(turn(&mut rest, &waiting, later).await, rests.then_some(REST));
            time::advance(REST * 2).await;
        }
        // What waited while the writer rested, waited for the rest.
        turn(&mut rest, &waiting, late).await.expect("a rest");
        assert_eq!(turn(&mut rest, &waiting, REST).await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_ends_the_rest() {
        let (waiting, begun) = (Waiting::new(), Instant::now());
        Rest::rest(begun + REST, &waiting).await;
        assert_eq!(begun.elapsed(), REST);
        let asked = async {
            time::sleep(REST / 4).await;
            waiting.hurry();
        };
        tokio::join!(Rest::rest(Instant::now() + REST, &waiting), asked);
        assert_eq!(begun.elapsed(), REST + REST / 4);
    }
}
