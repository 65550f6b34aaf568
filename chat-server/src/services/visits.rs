//! Injection site `lock`: counts the channels that JOIN and NAMES visit.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread;
use std::time::Duration;

use tokio::sync::mpsc;

use crate::inject::mistake::Mistake;
use crate::irc::names::NameKey;

/// Time from the first counted visit to the report.
const REPORT_INTERVAL: Duration = Duration::from_millis(500);
/// Maximum visits that wait to be counted. Further visits are not counted, as
/// these are only statistics.
const MAX_QUEUED_VISITS: usize = 1024;
/// Maximum channels that are counted between two reports.
const MAX_COUNTED_CHANNELS: usize = 10_000;

type Counts = HashMap<NameKey, u64>;

/// Counts visits of channels.
#[derive(Debug)]
pub(crate) struct VisitCounter {
    visits_sender: mpsc::Sender<NameKey>,
    mistake: Option<(Mistake, Arc<Mutex<Counts>>)>,
}

impl VisitCounter {
    /// Starts the counting task. With the mistake, also starts the thread that
    /// holds the lock.
    pub(crate) fn start(mistake: Option<Mistake>) -> Self {
        let (visits_sender, visits) = mpsc::channel(MAX_QUEUED_VISITS);
        loopscope::spawn("visits", count(visits));
        let mistake = mistake.map(|mistake| {
            let shared = Arc::new(Mutex::new(Counts::new()));
            let (weak, duration) = (Arc::downgrade(&shared), mistake.duration());
            // If the thread does not start, nothing holds the lock.
            let _ = thread::Builder::new()
                .name("visits-report".into())
                .spawn(move || report_under_lock(&weak, duration));
            (mistake, shared)
        });
        Self { visits_sender, mistake }
    }

    /// Counts one visit of `channel`.
    pub(crate) fn count(&self, channel: &[u8]) {
        let channel = NameKey::new(channel);
        match &self.mistake {
            Some((mistake, shared)) if mistake.decide().is_some() => wrong(shared, channel),
            _ => self.right(channel),
        }
    }

    /// Right: sends the visit to the task that owns the counts. Nothing is
    /// shared and nothing waits.
    fn right(&self, channel: NameKey) {
        let _ = self.visits_sender.try_send(channel);
    }
}

/// Wrong: the worker waits for a lock that a slow thread holds.
#[inline(never)]
fn wrong(shared: &Mutex<Counts>, channel: NameKey) {
    let counts = shared.lock(); // THE MISTAKE
    add(&mut counts.unwrap_or_else(PoisonError::into_inner), channel);
}

/// The slow thread. It writes its report while it holds the lock, instead of
/// taking the counts out first.
fn report_under_lock(shared: &Weak<Mutex<Counts>>, duration: Duration) {
    while let Some(shared) = shared.upgrade() {
        let mut counts = shared.lock().unwrap_or_else(PoisonError::into_inner);
        report(&counts);
        thread::sleep(duration);
        counts.clear();
        drop(counts);
        drop(shared);
        thread::sleep(REPORT_INTERVAL);
    }
}

async fn count(mut visits: mpsc::Receiver<NameKey>) {
    let mut counts = Counts::new();
    // Without visits no timer runs: a timer would wake the event loop of an
    // idle server, and loopscope's watchdog with it.
    while let Some(channel) = visits.recv().await {
        add(&mut counts, channel);
        let more = async {
            while let Some(channel) = visits.recv().await {
                add(&mut counts, channel);
            }
        };
        let _ = tokio::time::timeout(REPORT_INTERVAL, more).await;
        report(&std::mem::take(&mut counts));
    }
}

fn add(counts: &mut Counts, channel: NameKey) {
    if counts.len() < MAX_COUNTED_CHANNELS || counts.contains_key(&channel) {
        *counts.entry(channel).or_default() += 1;
    }
}

fn report(counts: &Counts) {
    if let Some((channel, visits)) = counts.iter().max_by_key(|(_, visits)| **visits) {
        let channel = String::from_utf8_lossy(channel.as_bytes());
        tracing::debug!(channels = counts.len(), busiest = %channel, visits, "channels visited");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use std::pin::pin;
    use std::task::Poll;

    #[tokio::test(start_paused = true)]
    async fn no_timer_runs_without_visits() {
        let (sender, visits) = mpsc::channel(1);
        let mut counting = pin!(count(visits));
        let mut poll_count = 0;
        let mut counted = pin!(poll_fn(|context| {
            poll_count += 1;
            let _ = counting.as_mut().poll(context);
            Poll::<()>::Pending
        }));
        sender.send(NameKey::new(b"#a")).await.expect("counts");
        // The visit, and the end of its interval. Each poll of the test itself
        // may add one.
        tokio::time::timeout(REPORT_INTERVAL * 2, counted.as_mut()).await.expect_err("it counts");
        tokio::time::timeout(REPORT_INTERVAL * 1_000, counted.as_mut()).await.expect_err("it counts");
        assert!(poll_count <= 6, "{poll_count} polls");
    }
}
