//! How late the loop is that receives.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use tokio::sync::mpsc::{self, Receiver, Sender};

use crate::record::histogram;

/// How often the loop is asked.
const PROBE_INTERVAL: Duration = Duration::from_millis(5);

/// How many questions may wait: more than 20 s of them.
const MAX_PENDING_PROBES: usize = 4096;

/// Asks the loop at planned times for an answer, from a thread of its own. A
/// question counts from the time for which it was planned, so that a loop that
/// stands still is late for each that it missed.
#[derive(Debug)]
pub(crate) struct ReceiveLagProbe {
    lag: Arc<Mutex<Histogram<u64>>>,
    is_over: Arc<AtomicBool>,
}

impl ReceiveLagProbe {
    /// Begins; `None` if there can be no thread for it, or there is no loop.
    pub(crate) fn start() -> Option<Self> {
        let (asked, questions) = mpsc::channel(MAX_PENDING_PROBES);
        let probe = Self { lag: Arc::new(Mutex::new(histogram())), is_over: Arc::default() };
        tokio::runtime::Handle::try_current().ok()?.spawn(answer(questions, Arc::clone(&probe.lag)));
        let is_over = Arc::clone(&probe.is_over);
        thread::Builder::new().name("probe".into()).spawn(move || ask(&asked, &is_over)).ok()?;
        Some(probe)
    }

    /// How late the answers were so far, in nanoseconds.
    pub(crate) fn lag(&self) -> Histogram<u64> {
        self.lag.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for ReceiveLagProbe {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
    }
}

fn ask(asked: &Sender<Instant>, is_over: &AtomicBool) {
    let mut due = Instant::now();
    while !is_over.load(Ordering::Relaxed) {
        due += PROBE_INTERVAL;
        thread::sleep(due.saturating_duration_since(Instant::now()));
        if let Err(mpsc::error::TrySendError::Closed(_)) = asked.try_send(due) {
            break;
        }
    }
}

async fn answer(mut questions: Receiver<Instant>, lag: Arc<Mutex<Histogram<u64>>>) {
    while let Some(due) = questions.recv().await {
        let late = u64::try_from(due.elapsed().as_nanos()).unwrap_or(u64::MAX).max(1);
        lag.lock().unwrap_or_else(PoisonError::into_inner).saturating_record(late);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_loop_that_stands_still_is_late_for_every_question_that_it_missed() {
        let probe = ReceiveLagProbe::start().expect("a thread");
        while probe.lag().is_empty() {
            tokio::task::yield_now().await;
        }
        thread::sleep(Duration::from_millis(500));
        while probe.lag().len() < 90 {
            tokio::task::yield_now().await;
        }
        let lag = probe.lag();
        let late = lag.count_between(100_000_000, 500_000_000_000);
        assert!(late >= 70, "{late} of 100 questions waited for more than a fifth of the silence");
    }
}
