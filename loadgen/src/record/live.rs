//! Counters that can be read during the run.

use std::sync::atomic::{AtomicU64, Ordering};

/// The run's counters.
#[derive(Debug, Default)]
pub(crate) struct LiveCounters {
    /// Connections that have joined their channel.
    pub(crate) joined: AtomicU64,
    /// Connections that have joined and closed again.
    pub(crate) left: AtomicU64,
    /// Commands that have become due.
    pub(crate) planned: AtomicU64,
    /// Commands that were sent.
    pub(crate) sent: AtomicU64,
    /// Deliveries that should result from the sent messages.
    pub(crate) awaited: AtomicU64,
    /// Deliveries that have arrived.
    pub(crate) delivered: AtomicU64,
}

/// The values of the counters at one time.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct LiveCounts {
    /// Connections that have joined and are open.
    pub(crate) open: u64,
    /// Commands that have become due.
    pub(crate) planned: u64,
    /// Commands that were sent.
    pub(crate) sent: u64,
    /// Deliveries that should result from the sent messages.
    pub(crate) awaited: u64,
    /// Deliveries that have arrived.
    pub(crate) delivered: u64,
}

impl LiveCounters {
    /// Reads the counters.
    pub(crate) fn view(&self) -> LiveCounts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        LiveCounts {
            open: read(&self.joined).saturating_sub(read(&self.left)),
            planned: read(&self.planned),
            sent: read(&self.sent),
            awaited: read(&self.awaited),
            delivered: read(&self.delivered),
        }
    }
}

/// Adds to a counter.
pub(crate) fn count(counter: &AtomicU64, by: u64) {
    counter.fetch_add(by, Ordering::Relaxed);
}
