//! Injection site `lock`: counts the channels that JOIN and NAMES visit.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread;
use std::time::Duration;

use tokio::sync::mpsc;

use crate::inject::mistake::Mistake;
use crate::irc::names::NameKey;

/// Time between two reports.
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
    let mut period = tokio::time::interval(REPORT_INTERVAL);
    loop {
        tokio::select! {
            visit = visits.recv() => match visit {
                Some(channel) => add(&mut counts, channel),
                None => return,
            },
            _ = period.tick() => report(&std::mem::take(&mut counts)),
        }
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
