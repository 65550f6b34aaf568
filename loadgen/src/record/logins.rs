//! Logins over time: how long connections take until they are ready.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hdrhistogram::Histogram;

use super::latency::histogram;
use super::timeline::Bins;
use crate::plan::nanoseconds;

/// How a login of a storm ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LoginOutcome {
    /// The connection is ready.
    Ready,
    /// The target refused it, or did not answer in time.
    Failed,
    /// The run ended before.
    Unfinished,
}

/// The logins of one bin of the run.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct LoginBin {
    /// Logins that were due in the bin.
    pub(crate) due: u64,
    /// The longest of them, in nanoseconds.
    pub(crate) longest_ns: u64,
}

/// The logins after the connections of a storm were dropped.
#[derive(Debug)]
pub(crate) struct StormRecord {
    /// Number of storms.
    pub(crate) storms: u64,
    /// Logins that were due. One that is not over when the next storm begins
    /// goes on; then it is due again once, for the newest storm.
    pub(crate) due: u64,
    /// Those of them that ended with a connection that is ready.
    pub(crate) ready: u64,
    /// Those of them that failed.
    pub(crate) failed: u64,
    /// Those of them that the end of the run interrupted.
    pub(crate) unfinished: u64,
    /// From the due time to the end of the login. A login that fails or is
    /// interrupted is a censored sample.
    pub(crate) latency: Histogram<u64>,
    /// From the due time to the begin of the connection.
    pub(crate) start_lag: Histogram<u64>,
    /// By bin of the run.
    pub(crate) timeline: Vec<LoginBin>,
}

/// Records logins. They are rare, so one lock is enough.
#[derive(Debug)]
pub(crate) struct LoginRecorder {
    bins: Bins,
    first: Mutex<Histogram<u64>>,
    handshake: Mutex<Histogram<u64>>,
    storms: Mutex<StormRecord>,
}

impl LoginRecorder {
    /// Returns a recorder for a run with this duration.
    pub(crate) fn new(duration: Duration) -> Self {
        let bins = Bins::new(duration);
        let storms = StormRecord {
            storms: 0,
            due: 0,
            ready: 0,
            failed: 0,
            unfinished: 0,
            latency: histogram(),
            start_lag: histogram(),
            timeline: vec![LoginBin::default(); bins.count()],
        };
        Self {
            bins,
            first: Mutex::new(histogram()),
            handshake: Mutex::new(histogram()),
            storms: Mutex::new(storms),
        }
    }

    /// Records a connection that became ready for the first time, `latency`
    /// after it was due.
    pub(crate) fn on_first(&self, latency: Duration) {
        lock(&self.first).saturating_record(nanoseconds(latency).max(1));
    }

    /// Records the duration of a TLS handshake.
    pub(crate) fn on_handshake(&self, duration: Duration) {
        lock(&self.handshake).saturating_record(nanoseconds(duration).max(1));
    }

    /// Records the beginning of a storm.
    pub(crate) fn on_storm(&self) {
        lock(&self.storms).storms += 1;
    }

    /// Records that a login of a storm begins, `lag` after it was due.
    pub(crate) fn on_storm_start(&self, lag: Duration) {
        let mut storms = lock(&self.storms);
        storms.due += 1;
        storms.start_lag.saturating_record(nanoseconds(lag).max(1));
    }

    /// Records the end of a login that was due at `due_ns` of the run.
    pub(crate) fn on_storm_end(&self, outcome: LoginOutcome, due_ns: u64, latency: Duration) {
        let latency_ns = nanoseconds(latency).max(1);
        let mut storms = lock(&self.storms);
        match outcome {
            LoginOutcome::Ready => storms.ready += 1,
            LoginOutcome::Failed => storms.failed += 1,
            LoginOutcome::Unfinished => storms.unfinished += 1,
        }
        storms.latency.saturating_record(latency_ns);
        let bin = &mut storms.timeline[self.bins.index(due_ns)];
        bin.due += 1;
        bin.longest_ns = bin.longest_ns.max(latency_ns);
    }

    /// Returns the times of the first logins.
    pub(crate) fn first(&self) -> Histogram<u64> {
        lock(&self.first).clone()
    }

    /// Returns the durations of all TLS handshakes.
    pub(crate) fn handshake(&self) -> Histogram<u64> {
        lock(&self.handshake).clone()
    }

    /// Returns whether each login of a storm that has begun is over.
    pub(crate) fn are_storms_over(&self) -> bool {
        let storms = lock(&self.storms);
        storms.due == storms.ready + storms.failed + storms.unfinished
    }

    /// Returns what happened in the storms.
    pub(crate) fn storms(&self) -> MutexGuard<'_, StormRecord> {
        lock(&self.storms)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
