//! Counters that can be read while the run goes on.

use std::sync::atomic::{AtomicU64, Ordering};

/// The run's counters.
#[derive(Debug, Default)]
pub(crate) struct Live {
    /// Connections that have joined their channel.
    pub(crate) joined: AtomicU64,
    /// Those of them that have gone again.
    pub(crate) left: AtomicU64,
    /// Commands whose time has come.
    pub(crate) planned: AtomicU64,
    /// Commands that were sent.
    pub(crate) sent: AtomicU64,
    /// Deliveries that the sent messages should have.
    pub(crate) awaited: AtomicU64,
    /// Deliveries that came.
    pub(crate) delivered: AtomicU64,
}

/// One look at them.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct LiveView {
    /// Connections open in their channels.
    pub(crate) open: u64,
    /// Commands whose time has come.
    pub(crate) planned: u64,
    /// Commands that were sent.
    pub(crate) sent: u64,
    /// Deliveries that the sent messages should have.
    pub(crate) awaited: u64,
    /// Deliveries that came.
    pub(crate) delivered: u64,
}

impl Live {
    /// The counters now.
    pub(crate) fn view(&self) -> LiveView {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        LiveView {
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
