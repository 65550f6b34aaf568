//! Measures how late the receiving event loop is.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use tokio::sync::mpsc::{self, Receiver, Sender};

use crate::record::histogram;

/// Time between two probes of the loop.
const PROBE_INTERVAL: Duration = Duration::from_millis(5);

/// Number of probes that may wait for an answer. At one probe every 5 ms, this
/// is enough for 20 s.
const MAX_PENDING_PROBES: usize = 4096;

/// Sends a probe to the loop at planned times, from a separate thread. The lag
/// of a probe counts from its planned time, so a loop that is blocked is late
/// for every probe that it misses.
#[derive(Debug)]
pub(crate) struct ReceiveLagProbe {
    lag: Arc<Mutex<Histogram<u64>>>,
    is_over: Arc<AtomicBool>,
}

impl ReceiveLagProbe {
    /// Starts probing; `None` if the thread cannot be started, or if the caller
    /// is not on a runtime.
    pub(crate) fn start() -> Option<Self> {
        let (due_times, probes) = mpsc::channel(MAX_PENDING_PROBES);
        let probe = Self { lag: Arc::new(Mutex::new(histogram())), is_over: Arc::default() };
        tokio::runtime::Handle::try_current().ok()?.spawn(answer_probes(probes, Arc::clone(&probe.lag)));
        let is_over = Arc::clone(&probe.is_over);
        thread::Builder::new()
            .name("receive-lag".into())
            .spawn(move || send_probes(&due_times, &is_over))
            .ok()?;
        Some(probe)
    }

    /// Returns the lags of all answers so far, in nanoseconds.
    pub(crate) fn lag(&self) -> Histogram<u64> {
        self.lag.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for ReceiveLagProbe {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
    }
}

fn send_probes(due_times: &Sender<Instant>, is_over: &AtomicBool) {
    let mut due = Instant::now();
    while !is_over.load(Ordering::Relaxed) {
        due += PROBE_INTERVAL;
        thread::sleep(due.saturating_duration_since(Instant::now()));
        if let Err(mpsc::error::TrySendError::Closed(_)) = due_times.try_send(due) {
            break;
        }
    }
}

async fn answer_probes(mut probes: Receiver<Instant>, lag: Arc<Mutex<Histogram<u64>>>) {
    while let Some(due) = probes.recv().await {
        let late = u64::try_from(due.elapsed().as_nanos()).unwrap_or(u64::MAX).max(1);
        lag.lock().unwrap_or_else(PoisonError::into_inner).saturating_record(late);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_blocked_loop_is_late_for_every_probe_that_it_missed() {
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
        assert!(late >= 70, "{late} of 100 probes waited for more than a fifth of the 500 ms");
    }
}
